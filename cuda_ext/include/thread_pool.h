// A small blocking thread pool: idle workers sleep, so that a busy machine is never slowed by spinning ones.
#pragma once

#include <atomic>
#include <limits>

namespace visavis {

using TaskFunction = void (*)(void* context, int task);

// How long a task took when a place in the code ran some last.
using TaskSeconds = std::atomic<float>;

// Run fn(context, task) for every task in [0, tasks), in any order; returns when all are done.
// The first exception that a task throws is thrown again here. By `last`, work that ends before another thread would
// have woken up stays with the caller's; it is renewed.
void parallel_for(int tasks, TaskFunction fn, void* context, TaskSeconds& last);

int get_threads();
void set_threads(int threads);

template <class F>
void parallel(int tasks, const F& body) {
  auto call = [](void* context, int task) { (*static_cast<const F*>(context))(task); };
  static TaskSeconds last{std::numeric_limits<float>::infinity()};  // of this very F: each lambda has a type of its own
  parallel_for(tasks, call, const_cast<F*>(&body), last);
}

}  // namespace visavis
