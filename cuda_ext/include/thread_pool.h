// A small blocking thread pool: idle workers sleep, so that a busy machine is never slowed by spinning ones.
#pragma once

namespace visavis {

using TaskFunction = void (*)(void* context, int task);

// Run fn(context, task) for every task in [0, tasks), in any order; returns when all are done.
// The first exception that a task throws is thrown again here.
void parallel_for(int tasks, TaskFunction fn, void* context);

int get_threads();
void set_threads(int threads);

template <class F>
void parallel(int tasks, const F& body) {
  auto call = [](void* context, int task) { (*static_cast<const F*>(context))(task); };
  parallel_for(tasks, call, const_cast<F*>(&body));
}

// The same, but by the calling thread alone where the work is `small`: over before another thread has woken up.
template <class F>
void parallel_unless(bool small, int tasks, const F& body) {
  if (!small) return parallel(tasks, body);
  for (int task = 0; task < tasks; task++) body(task);
}

}  // namespace visavis
