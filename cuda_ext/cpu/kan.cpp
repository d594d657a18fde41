#include <algorithm>
#include <cstring>

#include "buffer.h"
#include "field_ops.h"
#include "finite.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {
namespace {

constexpr int kForwardChunk = 512;           // points per task
constexpr int kMaxBackwardChunks = 16;       // each has weight gradients of its own
constexpr int64_t kMaxPartialFloats = 1 << 23;  // 32 MB for all of them

struct Workspace {
  Buffer<float> weights, gradients;
};

Workspace& workspace() {
  thread_local Workspace w;
  return w;
}

// Puts the outputs of each basis function side by side.
void arrange(KanView& v, const KanWeights& w) {
  const int lanes = kernels().lanes;
  v.padded = (v.outputs + lanes - 1) / lanes * lanes;
  float* to = workspace().weights.reserve(v.weight_floats());
  std::memset(to, 0, sizeof(float) * v.weight_floats());
  for (int i = 0; i < v.inputs; i++, to += (int64_t)v.rows() * v.padded)
    for (int o = 0; o < v.outputs; o++) {
      const int64_t edge = (int64_t)o * v.inputs + i;
      for (int b = 0; b < v.bases; b++) to[(b + kSplineRim) * v.padded + o] = w.spline[edge * v.bases + b];
      to[(v.rows() - 1) * v.padded + o] = w.base[edge];
    }
  v.weights = to - v.weight_floats();
}

// Sums the chunks in their order, input by input, back into the public layout.
void collect(const KanView& v, const float* partials, int chunks, const KanGradients& g) {
  const int64_t row = v.padded, per_input = v.rows() * row, per_chunk = v.weight_floats();
  parallel(v.inputs, [&](int i) {
    for (int b = 0; b <= v.bases; b++) {
      const bool base = b == v.bases;
      const float* first = partials + i * per_input + (base ? v.rows() - 1 : b + kSplineRim) * row;
      for (int o = 0; o < v.outputs; o++) {
        double sum = 0;
        for (int c = 0; c < chunks; c++) sum += first[c * per_chunk + o];
        const int64_t edge = (int64_t)o * v.inputs + i;
        (base ? g.base[edge] : g.spline[edge * v.bases + b]) = (float)sum;
      }
    }
  });
}

float* thread_scratch(const KanView& v) {
  thread_local Buffer<float> scratch;
  return scratch.reserve(kernels().fields.kan_scratch(v));
}

}  // namespace

void kan(KanView view, const KanWeights& weights) {
  const int64_t edges = (int64_t)view.inputs * view.outputs;
  require_finite(view.x, (int64_t)view.n * view.inputs, "x");
  require_finite(weights.spline, edges * view.bases, "spline_weight");
  require_finite(weights.base, edges, "base_weight");
  arrange(view, weights);
  const FieldKernels& k = kernels().fields;
  parallel((view.n + kForwardChunk - 1) / kForwardChunk, [&](int i) {
    k.kan(view, i * kForwardChunk, std::min((i + 1) * kForwardChunk, view.n), thread_scratch(view));
  });
}

void kan_backward(KanView view, const KanWeights& weights, const KanGradients& gradients) {
  arrange(view, weights);
  const int64_t floats = view.weight_floats();
  // By the shape alone, so that the sums come out the same with any number of threads.
  const int most = (int)std::clamp<int64_t>(kMaxPartialFloats / std::max<int64_t>(floats, 1), 1, kMaxBackwardChunks);
  const int chunks = std::clamp((view.n + kForwardChunk - 1) / kForwardChunk, 1, most);
  const int points = (view.n + chunks - 1) / chunks;
  float* partials = workspace().gradients.reserve(chunks * floats);
  const FieldKernels& k = kernels().fields;
  parallel(chunks, [&](int i) {
    KanView mine = view;
    mine.grad_weights = partials + i * floats;
    std::memset(mine.grad_weights, 0, sizeof(float) * floats);
    k.kan_backward(mine, std::min(i * points, view.n), std::min((i + 1) * points, view.n), thread_scratch(view));
  });
  collect(view, partials, chunks, gradients);
}

}  // namespace visavis
