#include <algorithm>

#include "buffer.h"
#include "field_ops.h"
#include "finite.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {

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
  const FieldKernels& k = kernels().fields;
  parallel(view.frames, [&](int frame) {
    thread_local Buffer<float> scratch;
    k.normal_matrix(view, frame, scratch.reserve(k.normal_scratch(view)));
  });
}

}  // namespace visavis
