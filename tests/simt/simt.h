// CUDA's language on the CPU: g++ compiles a .cu file, unchanged, after this header; every CUDA thread is a fiber.
//
// Covered: barriers, warp collectives, shared memory (static and dynamic), atomics, the usual intrinsics. Blocks run one
// after another, fibers switch only where CUDA threads can wait, and a seed shuffles both orders. Shared memory starts
// each block as NaN. Not covered: races inside a warp between two waits, the memory model, occupancy, speed.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <string>
#include <type_traits>
#include <utility>

#define VISAVIS_SIMT 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
// One section for all, so that the runtime can spoil it between blocks (see also -fsanitize-sections).
#define __shared__ __attribute__((section("simt_shared"))) static
// CUDA spells it `extern __shared__ T name[]`, which no macro can turn into C++.
#define DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(simt::dynamic_shared())

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct int2 { int x, y; };
struct int3 { int x, y, z; };
struct alignas(16) int4 { int x, y, z, w; };
struct uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

namespace simt {

struct Launch {
  unsigned grid[3], block[3], shared_bytes, seed;
};

// Runs `body` once per CUDA thread. Returns null, or what went wrong.
const char* run(const Launch& launch, void (*body)(void*), void* data);

void* dynamic_shared();
unsigned lane();
unsigned active_lanes();
// Waits for all threads of the block; the number of them that gave true.
int block_barrier(bool predicate, int line);
// Waits for the lanes of `mask`; what they gave, 0 for the others. Valid until this lane's next exchange.
struct Exchange {
  unsigned lanes;
  uint64_t values[32];
};
const Exchange& warp_exchange(unsigned mask, uint64_t value, int line);
[[noreturn]] void fail(const std::string& what);

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T shuffle(unsigned mask, T value, unsigned source, int line) {
  const Exchange& all = warp_exchange(mask, to_bits(value), line);
  if (!(all.lanes >> source & 1))
    fail("line " + std::to_string(line) + ": a shuffle reads lane " + std::to_string(source) + ", which takes no part");
  T result;
  memcpy(&result, &all.values[source], sizeof result);
  return result;
}

inline unsigned ballot(unsigned mask, bool predicate, int line) {
  const Exchange& all = warp_exchange(mask, predicate, line);
  unsigned bits = 0;
  for (unsigned l = 0; l < 32; l++) bits |= static_cast<unsigned>(all.values[l] != 0) << l;
  return bits;
}

// How the launcher sees a kernel: one letter per parameter, with * for pointers (float f, int i, unsigned u, ...).
template <class T>
std::string describe() {
  using Bare = std::remove_cv_t<std::remove_pointer_t<T>>;
  const char* letter = std::is_same_v<Bare, float>              ? "f"
                       : std::is_same_v<Bare, int>              ? "i"
                       : std::is_same_v<Bare, unsigned>         ? "u"
                       : std::is_same_v<Bare, unsigned char>    ? "b"
                       : std::is_same_v<Bare, signed char>      ? "c"
                       : std::is_same_v<Bare, unsigned short>   ? "h"
                       : std::is_same_v<Bare, double>           ? "d"
                       : std::is_same_v<Bare, long long>        ? "q"
                                                                : "?";
  return std::string(letter) + (std::is_pointer_v<T> ? "*" : "");
}

template <class... A>
std::string signature(void (*)(A...)) {
  std::string text;
  ((text += describe<A>() + " "), ...);
  return text;
}

template <class... A, size_t... I>
const char* call(void (*kernel)(A...), const Launch& launch, void** arguments, std::index_sequence<I...>) {
  struct Bound {
    void (*kernel)(A...);
    void** arguments;
  } bound{kernel, arguments};
  return run(
      launch,
      [](void* data) {
        const Bound& b = *static_cast<Bound*>(data);
        b.kernel(*static_cast<std::remove_cv_t<A>*>(b.arguments[I])...);
      },
      &bound);
}

template <class... A>
const char* launch(void (*kernel)(A...), const Launch& launch, void** arguments) {
  return call(kernel, launch, arguments, std::index_sequence_for<A...>());
}

}  // namespace simt

// The call's line names a barrier, so that threads waiting at different ones are told apart.
#define SIMT_LINE int line = __builtin_LINE()

inline void __syncthreads(SIMT_LINE) { simt::block_barrier(false, line); }
inline int __syncthreads_count(int p, SIMT_LINE) { return simt::block_barrier(p != 0, line); }
inline int __syncthreads_or(int p, SIMT_LINE) { return simt::block_barrier(p != 0, line) > 0; }
inline int __syncthreads_and(int p, SIMT_LINE) { return simt::block_barrier(p == 0, line) == 0; }
inline void __syncwarp(unsigned mask = ~0u, SIMT_LINE) { simt::warp_exchange(mask, 0, line); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T __shfl_sync(unsigned mask, T v, int source, int width = 32, SIMT_LINE) {
  return simt::shuffle(mask, v, (simt::lane() & ~(width - 1u)) + (source & (width - 1)), line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, SIMT_LINE) {
  const unsigned source = simt::lane() ^ bits;
  return simt::shuffle(mask, v, source / width > simt::lane() / width ? simt::lane() : source, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, SIMT_LINE) {
  const unsigned within = simt::lane() % width + delta;
  return simt::shuffle(mask, v, within < static_cast<unsigned>(width) ? simt::lane() + delta : simt::lane(), line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, SIMT_LINE) {
  return simt::shuffle(mask, v, simt::lane() % width >= delta ? simt::lane() - delta : simt::lane(), line);
}
inline unsigned __ballot_sync(unsigned mask, int p, SIMT_LINE) { return simt::ballot(mask, p != 0, line); }
inline int __any_sync(unsigned mask, int p, SIMT_LINE) { return simt::ballot(mask, p != 0, line) != 0; }
inline int __all_sync(unsigned mask, int p, SIMT_LINE) { return simt::ballot(mask, p == 0, line) == 0; }
template <class T>
unsigned __match_any_sync(unsigned mask, T v, SIMT_LINE) {
  const simt::Exchange& all = simt::warp_exchange(mask, simt::to_bits(v), line);
  unsigned equal = 0;
  for (unsigned l = 0; l < 32; l++)
    equal |= (all.lanes >> l & 1 & static_cast<unsigned>(all.values[l] == simt::to_bits(v))) << l;
  return equal;
}
inline unsigned __activemask() { return simt::active_lanes(); }

template <class T>
T simt_exchange(T* at, T next) {
  const T before = *at;
  *at = next;
  return before;
}
// The second parameter must convert like in CUDA, where these are overloads, not templates.
template <class T>
struct simt_identity { using type = T; };
template <class T>
using simt_value = typename simt_identity<T>::type;
template <class T>
T atomicAdd(T* at, simt_value<T> v) { return simt_exchange<T>(at, *at + v); }
template <class T>
T atomicSub(T* at, simt_value<T> v) { return simt_exchange<T>(at, *at - v); }
template <class T>
T atomicMax(T* at, simt_value<T> v) { return simt_exchange<T>(at, *at > v ? *at : v); }
template <class T>
T atomicMin(T* at, simt_value<T> v) { return simt_exchange<T>(at, *at < v ? *at : v); }
template <class T>
T atomicOr(T* at, simt_value<T> v) { return simt_exchange<T>(at, *at | v); }
template <class T>
T atomicAnd(T* at, simt_value<T> v) { return simt_exchange<T>(at, *at & v); }
template <class T>
T atomicExch(T* at, simt_value<T> v) { return simt_exchange<T>(at, v); }
template <class T>
T atomicCAS(T* at, simt_value<T> expected, simt_value<T> v) { return simt_exchange<T>(at, *at == expected ? v : *at); }

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class T>
T __ldg(const T* at) { return *at; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }
// glibc declares functions of these names, which nothing exports.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __float_as_uint(float x) { return static_cast<unsigned>(simt::to_bits(x)); }
inline int __float_as_int(float x) { return static_cast<int>(__float_as_uint(x)); }
inline float __uint_as_float(unsigned x) {
  float v;
  memcpy(&v, &x, sizeof v);
  return v;
}
inline float __int_as_float(int x) { return __uint_as_float(static_cast<unsigned>(x)); }
