// The scheduler behind simt.h: one fiber per CUDA thread, entered by ucontext, switched by _setjmp / _longjmp (cheap: no
// system call). A fiber runs until it waits; the last to arrive wakes the others.
#include "simt.h"

#include <setjmp.h>
#include <ucontext.h>

#include <memory>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define SIMT_BEFORE_SWITCH(save, stack, bytes) __sanitizer_start_switch_fiber(save, stack, bytes)
#define SIMT_AFTER_SWITCH(saved, stack, bytes) __sanitizer_finish_switch_fiber(saved, stack, bytes)
#else
#define SIMT_BEFORE_SWITCH(save, stack, bytes) (void)(save), (void)(stack), (void)(bytes)
#define SIMT_AFTER_SWITCH(saved, stack, bytes) (void)(saved), (void)(stack), (void)(bytes)
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

extern "C" {
// Bounds of the shared variables; a kernel file without any has no such section.
extern char __start_simt_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_simt_shared[] __attribute__((weak, visibility("hidden")));
}

namespace simt {

static void leave();

namespace {

constexpr size_t kStack = 256 << 10;
constexpr unsigned kMaxThreads = 1024;

enum class State { ready, at_barrier, in_warp, exited };

struct Fiber {
  ucontext_t start;
  jmp_buf point;
  std::unique_ptr<char[]> stack{new char[kStack]};
  void* fake_stack = nullptr;
  bool started = false;
  State state = State::exited;
  int line = 0;
  dim3 index;
  unsigned mask = 0;
  uint64_t given = 0;   // to the exchange that it waits in
  Exchange* got = nullptr;
  Exchange own;         // where `got` points after an exchange among some lanes only
};

std::vector<std::unique_ptr<Fiber>> fibers;
struct Queue {
  unsigned lanes[32], count = 0;
};
std::vector<Queue> ready;         // per warp
std::vector<unsigned> warp_order;
bool one_warp_first;              // the first ready warp of `warp_order` runs on as far as it can; else any one does
unsigned count, current, exited;
Exchange shared[kMaxThreads / 32];  // of whole warps: nobody arrives before it has read the last one
unsigned waiting;      // threads at the block barrier
int collected, agreed; // true predicates at this barrier, and at the last
jmp_buf scheduler;
void* scheduler_fake_stack;
const void* scheduler_stack;
size_t scheduler_stack_bytes;
void (*body)(void*);
void* body_data;
std::vector<char> dynamic_memory;
uint64_t random_state;
bool shuffled;
std::string error;

unsigned random_below(unsigned n) {  // xorshift64*, Vigna 2016
  random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
  return static_cast<unsigned>((random_state * 2685821657736338717ull) >> 33) % n;
}

void wake(unsigned k) {
  fibers[k]->state = State::ready;
  Queue& q = ready[k / 32];
  q.lanes[q.count++] = k;
}

// Takes the fiber that runs next from its queue; false if none is ready. In order unless shuffled.
bool next_ready(unsigned& k) {
  const unsigned warps = static_cast<unsigned>(ready.size());
  const unsigned start = one_warp_first ? 0 : random_below(warps);
  for (unsigned w = 0; w < warps; w++) {
    Queue& q = ready[warp_order[(start + w) % warps]];
    if (!q.count) continue;
    const unsigned pick = shuffled ? random_below(q.count) : 0;
    k = q.lanes[pick];
    q.count--;
    for (unsigned i = pick; i < q.count; i++) q.lanes[i] = q.lanes[i + 1];
    return true;
  }
  return false;
}

void to_scheduler(bool forever) {
  SIMT_BEFORE_SWITCH(forever ? nullptr : &fibers[current]->fake_stack, scheduler_stack, scheduler_stack_bytes);
  _longjmp(scheduler, 1);
}

void entry() {
  SIMT_AFTER_SWITCH(nullptr, &scheduler_stack, &scheduler_stack_bytes);
  for (;;) {
    body(body_data);
    leave();
  }
}

void enter(unsigned k) {
  Fiber& f = *fibers[k];
  current = k;
  threadIdx = f.index;
  SIMT_BEFORE_SWITCH(&scheduler_fake_stack, f.stack.get(), kStack);
  if (f.started) _longjmp(f.point, 1);
  f.started = true;
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = f.stack.get();
  f.start.uc_stack.ss_size = kStack;
  f.start.uc_link = nullptr;
  makecontext(&f.start, entry, 0);
  setcontext(&f.start);
}

// Back to the scheduler until someone wakes this fiber.
void suspend() {
  Fiber& me = *fibers[current];
  if (!_setjmp(me.point)) to_scheduler(false);
  SIMT_AFTER_SWITCH(me.fake_stack, &scheduler_stack, &scheduler_stack_bytes);
}

std::string thread_name(unsigned k) {
  const dim3& t = fibers[k]->index;
  return "thread (" + std::to_string(t.x) + ", " + std::to_string(t.y) + ", " + std::to_string(t.z) + ")";
}

// Ends the exchange of the group of `k` if all of its lanes that still run have arrived; wakes all but `k` itself.
bool release_warp(unsigned k) {
  const unsigned base = k & ~31u, mask = fibers[k]->mask, lanes = count - base < 32 ? count - base : 32;
  bool whole = true;
  Exchange result{0, {}};
  for (unsigned l = 0; l < lanes; l++) {
    const Fiber& f = *fibers[base + l];
    if (f.state == State::exited) continue;
    if (!(mask >> l & 1)) {
      whole = false;
      continue;
    }
    if (f.state != State::in_warp || f.mask != mask) return false;
    if (f.line != fibers[k]->line)
      fail("lanes of one warp meet at line " + std::to_string(f.line) + " and line " + std::to_string(fibers[k]->line));
    result.lanes |= 1u << l;
    result.values[l] = f.given;
  }
  if (whole) shared[base / 32] = result;
  for (unsigned l = 0; l < lanes; l++) {
    if (!(result.lanes >> l & 1)) continue;
    Fiber& f = *fibers[base + l];
    if (!whole) f.own = result;
    f.got = whole ? &shared[base / 32] : &f.own;
    if (base + l != k) wake(base + l);
  }
  return true;
}

void leave_block() {
  exited++;
  fibers[current]->state = State::exited;
  const unsigned base = current & ~31u;
  for (unsigned l = 0; l < 32 && base + l < count; l++)
    if (fibers[base + l]->state == State::in_warp && release_warp(base + l)) wake(base + l);
}

void describe_deadlock() {
  for (unsigned k = 0; k < count; k++) {
    const Fiber& f = *fibers[k];
    if (f.state == State::in_warp) {
      error = "deadlock: " + thread_name(k) + " waits at line " + std::to_string(f.line) +
              " for lanes of its warp that never come there";
      return;
    }
  }
  for (unsigned k = 0; k < count; k++)
    if (fibers[k]->state == State::at_barrier) {
      error = "deadlock: " + thread_name(k) + " waits at the barrier in line " + std::to_string(fibers[k]->line) +
              ", which only " + std::to_string(waiting) + " of " + std::to_string(count) + " threads reach";
      return;
    }
}

// Not for the sanitizer to see: it writes between the variables as well.
__attribute__((noinline, no_sanitize_address)) void spoil_shared_memory() {
  for (volatile char* p = __start_simt_shared; p != __stop_simt_shared; p = p + 1) *p = static_cast<char>(0xff);
  std::fill(dynamic_memory.begin(), dynamic_memory.end(), static_cast<char>(0xff));
}

bool run_block() {
  spoil_shared_memory();
  exited = waiting = 0, collected = 0;
  ready.assign((count + 31) / 32, Queue());
  warp_order.resize(ready.size());
  for (unsigned w = 0; w < warp_order.size(); w++) warp_order[w] = w;
  for (size_t w = warp_order.size(); shuffled && w > 1; w--)
    std::swap(warp_order[w - 1], warp_order[random_below(static_cast<unsigned>(w))]);
  one_warp_first = !shuffled || random_below(2);
  for (unsigned k = 0; k < count; k++) wake(k);
  if (_setjmp(scheduler)) SIMT_AFTER_SWITCH(scheduler_fake_stack, nullptr, nullptr);
  if (!error.empty()) return false;
  unsigned next;
  if (next_ready(next)) enter(next);
  if (exited < count) describe_deadlock();
  return error.empty();
}

}  // namespace

static void leave() {
  leave_block();
  suspend();
}

void fail(const std::string& what) {
  if (error.empty()) error = what;
  to_scheduler(true);
  __builtin_unreachable();
}

void* dynamic_shared() { return dynamic_memory.data(); }
unsigned lane() { return current & 31; }

unsigned active_lanes() {
  unsigned mask = 0;
  for (unsigned l = 0, base = current & ~31u; l < 32 && base + l < count; l++)
    mask |= static_cast<unsigned>(fibers[base + l]->state != State::exited) << l;
  return mask;
}

int block_barrier(bool predicate, int line) {
  Fiber& me = *fibers[current];
  me.state = State::at_barrier, me.line = line;
  collected += predicate;
  if (++waiting == count) {
    for (unsigned k = 0; k < count; k++) {
      if (fibers[k]->line != line)
        fail("threads of one block meet at the barriers in line " + std::to_string(line) + " and line " +
             std::to_string(fibers[k]->line));
      wake(k);
    }
    agreed = collected, collected = 0, waiting = 0;
  }
  suspend();
  return agreed;
}

const Exchange& warp_exchange(unsigned mask, uint64_t value, int line) {
  Fiber& me = *fibers[current];
  if (!(mask >> lane() & 1)) fail("line " + std::to_string(line) + ": " + thread_name(current) + " is not in its own mask");
  me.mask = mask, me.line = line, me.given = value, me.state = State::in_warp;
  if (release_warp(current))
    me.state = State::ready;
  else
    suspend();
  return *me.got;
}

const char* run(const Launch& launch, void (*kernel)(void*), void* data) {
  gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
  blockDim = {launch.block[0], launch.block[1], launch.block[2]};
  const uint64_t blocks = uint64_t{gridDim.x} * gridDim.y * gridDim.z;
  const uint64_t threads = uint64_t{blockDim.x} * blockDim.y * blockDim.z;
  error.clear();
  if (!blocks || !threads || threads > kMaxThreads || gridDim.y > 65535 || gridDim.z > 65535)
    error = "bad launch: " + std::to_string(blocks) + " blocks of " + std::to_string(threads) + " threads";
  count = static_cast<unsigned>(threads), body = kernel, body_data = data;
  shuffled = launch.seed != 0, random_state = launch.seed * 0x9e3779b97f4a7c15ull + 1;
  std::vector<char>(launch.shared_bytes).swap(dynamic_memory);  // exactly as large: a sanitizer sees its end
  while (fibers.size() < threads && error.empty()) fibers.push_back(std::make_unique<Fiber>());
  for (unsigned k = 0; k < count && error.empty(); k++)
    fibers[k]->index = {k % blockDim.x, k / blockDim.x % blockDim.y, k / (blockDim.x * blockDim.y)};
  std::vector<uint64_t> order(error.empty() ? blocks : 0);
  for (uint64_t i = 0; i < order.size(); i++) order[i] = i;
  for (size_t i = order.size(); shuffled && i > 1; i--) std::swap(order[i - 1], order[random_below(static_cast<unsigned>(i))]);
  for (const uint64_t b : order) {
    blockIdx = {static_cast<unsigned>(b % gridDim.x), static_cast<unsigned>(b / gridDim.x % gridDim.y),
                static_cast<unsigned>(b / (uint64_t{gridDim.x} * gridDim.y))};
    if (run_block()) continue;
    error = "block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
            std::to_string(blockIdx.z) + "): " + error;
    for (auto& f : fibers) f->started = false, f->state = State::exited;  // their stacks are lost
    break;
  }
  return error.empty() ? nullptr : error.c_str();
}

}  // namespace simt
