#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace visavis {
namespace {

int default_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

class Pool {
 public:
  int threads = default_threads();

  void run(int tasks, TaskFunction fn, void* context) {
    std::unique_lock<std::mutex> exclusive(run_mutex_, std::try_to_lock);
    if (threads == 1 || tasks <= 1 || !exclusive.owns_lock()) {
      for (int i = 0; i < tasks; i++) fn(context, i);
      return;
    }
    if (workers_.empty()) spawn();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      fn_ = fn, context_ = context, tasks_ = tasks, error_ = nullptr, open_ = true;
      next_.store(0, std::memory_order_relaxed);
      generation_++;
    }
    wake_.notify_all();
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    open_ = false;  // a worker that wakes only now finds nothing to do: nobody waits for it
    done_.wait(lock, [this] { return active_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

  void resize(int count) {
    std::lock_guard<std::mutex> exclusive(run_mutex_);
    if (count == threads) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
    workers_.clear();
    stop_ = false;
    threads = count;
  }

 private:
  void spawn() {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this, seen = generation_] { serve(seen); });
  }

  void serve(unsigned long seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stop_ || (open_ && generation_ != seen); });
      if (stop_) return;
      seen = generation_;
      active_++;
      lock.unlock();
      work();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  void work() {
    for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
      try {
        fn_(context_, i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_.store(tasks_, std::memory_order_relaxed);
      }
    }
  }

  std::mutex run_mutex_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  std::atomic<int> next_{0};
  TaskFunction fn_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  unsigned long generation_ = 0;
  int tasks_ = 0, active_ = 0;
  bool open_ = false, stop_ = false;
};

// Never destroyed: sleeping workers simply end with the process. After a fork the child has no workers and may have
// inherited a locked mutex, so it gets a fresh pool of the same size and the old one is left alone.
Pool* g_pool = nullptr;

Pool& pool() {
  static const bool once = [] {
    g_pool = new Pool;
    pthread_atfork(nullptr, nullptr, [] {
      const int threads = g_pool->threads;
      g_pool = new Pool;
      g_pool->threads = threads;
    });
    return true;
  }();
  (void)once;
  return *g_pool;
}

}  // namespace

void parallel_for(int tasks, TaskFunction fn, void* context) { pool().run(tasks, fn, context); }
int get_threads() { return pool().threads; }
void set_threads(int threads) { pool().resize(std::max(1, threads)); }

}  // namespace visavis
