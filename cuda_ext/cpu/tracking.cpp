#include "tracking.h"

#include <algorithm>

#include "buffer.h"
#include "finite.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {
namespace {

void by_frame(const AlignmentView& view, void (*kernel)(const AlignmentView&, int, float*)) {
  const int64_t frames = view.frames, points = view.points;
  require_finite(view.head, frames * points * 3, "head");
  require_finite(view.rotation, frames * 9, "rotation");
  require_finite(view.translation, frames * 3, "translation");
  const int64_t floats = kernels().tracking.alignment_scratch(view);
  parallel(view.frames, [&](int frame) {
    thread_local Buffer<float> scratch;
    kernel(view, frame, scratch.reserve(floats));
  });
  // Everything else spoils the sums, which is cheaper to see than each picture's pixels.
  require_finite(view.value, view.frames, "pictures or surface");
}

}  // namespace

void normal_matrix(NormalView view, const float* basis, int actions) {
  require_finite(basis, (int64_t)view.points * 3 * actions, "basis");
  require_finite(view.head, (int64_t)view.frames * view.points * 3, "head");
  require_finite(view.rows, (int64_t)view.frames * view.points * 6, "rows");
  view.unknowns = kPoseUnknowns + actions;
  view.padded = (view.unknowns + kNormalPad - 1) / kNormalPad * kNormalPad;
  thread_local Buffer<float> columns;
  const int64_t floats = (int64_t)view.points * 3 * view.padded;
  float* padded = columns.reserve(floats);
  std::fill(padded, padded + floats, 0.f);
  for (int64_t row = 0; row < (int64_t)view.points * 3; row++)
    std::copy_n(basis + row * actions, actions, padded + row * view.padded + kPoseUnknowns);
  view.basis = padded;
  const TrackingKernels& k = kernels().tracking;
  parallel(view.frames, [&](int frame) {
    thread_local Buffer<float> scratch;
    k.normal_matrix(view, frame, scratch.reserve(k.normal_scratch(view)));
  });
}

void align(const AlignmentView& view) { by_frame(view, kernels().tracking.align); }
void alignment_cost(const AlignmentView& view) { by_frame(view, kernels().tracking.alignment_cost); }

}  // namespace visavis
