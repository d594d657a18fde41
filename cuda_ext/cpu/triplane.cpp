#include <algorithm>
#include <cstring>

#include "buffer.h"
#include "field_ops.h"
#include "finite.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {
namespace {

constexpr int kChunk = 2048;  // points per task, where tasks are points

template <class F>
void over_points(int n, const F& body) {
  parallel((n + kChunk - 1) / kChunk, [&](int i) { body(i * kChunk, std::min((i + 1) * kChunk, n)); });
}

// Memory of the caller's thread, for one call; kept, since the next call needs as much.
struct Workspace {
  Buffer<float> coords, columns;

  void fill(TriplaneView& v, const float* points) {
    require_finite(points, (int64_t)v.n * 3, "points");
    v.padded = (v.n + kPointPad - 1) / kPointPad * kPointPad;
    float* to = coords.reserve((size_t)3 * v.padded);
    std::memset(to, 0, sizeof(float) * 3 * v.padded);
    for (int i = 0; i < v.n; i++)
      for (int a = 0; a < 3; a++) to[(int64_t)a * v.padded + i] = std::min(std::max(points[3 * (int64_t)i + a], 0.f), 1.f);
    v.points = points, v.coords = to;
    v.columns = columns.reserve((size_t)3 * v.levels * v.stride());
  }
};

Workspace& workspace() {
  thread_local Workspace w;
  return w;
}

}  // namespace

void triplane(TriplaneView view, const float* points, float* out) {
  workspace().fill(view, points);
  require_finite(view.table, 3 * view.rows * view.features, "table");
  view.out = out;
  const FieldKernels& k = kernels().fields;
  parallel(3 * view.levels, [&](int plane_level) { k.triplane_level(view, plane_level); });
  over_points(view.n, [&](int begin, int end) { k.triplane_to_rows(view, begin, end); });
}

void triplane_backward(TriplaneView view, const float* points, const float* grad_out, float* grad_table,
                       float* grad_points) {
  workspace().fill(view, points);
  view.out = const_cast<float*>(grad_out);  // only read
  view.grad_table = grad_table, view.grad_points = grad_points;
  const FieldKernels& k = kernels().fields;
  over_points(view.n, [&](int begin, int end) { k.triplane_to_columns(view, begin, end); });
  parallel(3 * view.levels, [&](int plane_level) { k.triplane_level_backward(view, plane_level); });
  if (grad_points) over_points(view.n, [&](int begin, int end) { k.triplane_points_backward(view, begin, end); });
}

}  // namespace visavis
