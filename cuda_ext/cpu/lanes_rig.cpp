// The Gaussians on a posed mesh, and the gradient of that. They are rows in memory and stay rows: what is long (maps of
// driving features, activations) goes through vectors, the few products of a frame do not.
#include "lanes.h"
#include "lanes_fields.h"
#include "maths/rig.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kGroup = kLanes >= 8 ? kLanes : 4;  // rows of a map that are summed together
constexpr float kMaxPower = 126.f;

// e^x; NaN where x is not finite, for the rasteriser to refuse.
VISAVIS_INLINE vf exp_or_nan(vf x) {
  const vf power = max(broadcast(-kMaxPower), min(broadcast(kMaxPower), x * kLog2E));
  return fma(x, vf{}, exp2(power));
}

VISAVIS_INLINE vf sigmoid_or_nan(vf x) { return 1.f / (1.f + exp_or_nan(-x)); }

// out[r] = rows[r] . features for `count` rows of k; `reach` floats may be read from `rows` on. `features` is padded
// with zeros, so that a vector may reach into the next row. Rows of a group are summed in one order wherever they lie.
VISAVIS_INLINE void dot_rows(const float* rows, int64_t reach, int count, int k, const float* features, float* out) {
  for (int first = 0; first < count; first += kGroup) {
    const int group = imin(kGroup, count - first);
    vf sums[kGroup] = {};
    for (int r = 0; r < group; r++) {
      const int64_t row = (int64_t)(first + r) * k;
      for (int j = 0; j < k; j += kLanes) {
        if (row + j + kLanes <= reach) {
          sums[r] = fma(load(rows + row + j), load(features + j), sums[r]);
        } else {
          float part[kLanes] = {};
          memcpy(part, rows + row + j, sizeof(float) * imin(kLanes, k - j));
          sums[r] = fma(load(part), load(features + j), sums[r]);
        }
      }
    }
    float totals[16];
    sum_each<kGroup>(sums, totals);
    memcpy(out + first, totals, sizeof(float) * group);
  }
}

// A block of one set's Gaussians: where they are and their local offsets and opacity logits in this frame.
struct Block {
  int first, count;
  float local[3 * kRigBlock], logits[kRigBlock];
};

VISAVIS_INLINE void read_block(const RigSet& s, int first, int end, Block& b) {
  b.first = first, b.count = imin(kRigBlock, end - first);
  const int64_t row = first;
  dot_rows(s.tensors.map_means + 3 * row * s.k, 3 * (s.n - row) * s.k, 3 * b.count, s.k, s.features, b.local);
  for (int i = 0; i < 3 * b.count; i++) b.local[i] += s.tensors.means[3 * row + i];
  if (s.tensors.map_opacities) {
    dot_rows(s.tensors.map_opacities + row * s.k, (s.n - row) * s.k, b.count, s.k, s.features, b.logits);
    for (int i = 0; i < b.count; i++) b.logits[i] += s.tensors.opacity_logits[row + i];
  } else {
    memcpy(b.logits, s.tensors.opacity_logits + row, sizeof(float) * b.count);
  }
}

VISAVIS_INLINE void write_colors(const RigSet& s, const Block& b, float* out) {
  const int64_t row = b.first;
  const int values = 3 * b.count;
  const float* colors = s.tensors.colors + 3 * row;
  if (!s.tensors.map_colors) {
    memcpy(out, colors, sizeof(float) * values);
    return;
  }
  dot_rows(s.tensors.map_colors + 3 * row * s.k, 3 * (s.n - row) * s.k, values, s.k, s.features, out);
  for (int i = 0; i < values; i++) out[i] += colors[i];
}

VISAVIS_INLINE const RigTriangle& frame_of(const RigSet& s, int i) {
  return s.frames[s.triangles ? s.triangles[i] : 0];
}

// The part of an offset that turns with the triangle, in the world.
VISAVIS_INLINE void turned_offset(const RigTriangle& t, const float* u, float share, float* out) {
  const float x = u[0] * share, y = u[1] * share, z = u[2] * share;
  for (int j = 0; j < 3; j++) out[j] = t.axes[0][j] * x + t.axes[1][j] * y + t.axes[2][j] * z;
}

VISAVIS_INLINE void place(const RigSet& s, int i, const float* u, float* mean, float* quat) {
  const RigTriangle& t = frame_of(s, i);
  const float hang = s.hang ? s.hang[i] : 0.f;
  turned_offset(t, u, 1.f - hang, mean);
  if (hang != 0.f) {
    const float* a = s.hang_axes + 9 * (int64_t)i;
    for (int j = 0; j < 3; j++) mean[j] += hang * (a[3 * j] * u[0] + a[3 * j + 1] * u[1] + a[3 * j + 2] * u[2]);
  }
  if (s.barycentrics) {
    const float* w = s.barycentrics + 3 * (int64_t)i;
    for (int j = 0; j < 3; j++) mean[j] += w[0] * t.corners[0][j] + w[1] * t.corners[1][j] + w[2] * t.corners[2][j];
  } else {
    for (int j = 0; j < 3; j++) mean[j] += t.corners[0][j];
  }
  maths::multiply_quats(t.quat, s.tensors.quats + 4 * (int64_t)i, quat);
}

template <class F>
VISAVIS_INLINE void apply(const float* in, int count, float* out, const F& f) {
  for (int i = 0; i < count; i += kLanes) {
    const int part = imin(kLanes, count - i);
    float tail[kLanes] = {};
    memcpy(tail, in + i, sizeof(float) * part);
    store(tail, f(load(tail)));
    memcpy(out + i, tail, sizeof(float) * part);
  }
}

VISAVIS_INLINE const RigSet& set_of(const RigView& f, int chunk, int& begin, int& end) {
  const RigSet& s = f.sets[chunk >= f.sets[1].first_chunk];
  begin = (chunk - s.first_chunk) * kRigChunk;
  end = imin(begin + kRigChunk, s.n);
  return s;
}

// How many of `count` Gaussians from `at` on hold a NaN or infinity.
VISAVIS_INLINE int count_bad(const RigWorld& w, int64_t at, int count) {
  const auto fine = [&w](int64_t i, int64_t many) {
    return all_finite(w.means + 3 * i, 3 * many) && all_finite(w.quats + 4 * i, 4 * many) &&
           all_finite(w.scales + 3 * i, 3 * many) && all_finite(w.opacities + i, many) &&
           all_finite(w.colors + 3 * i, 3 * many);
  };
  if (fine(at, count)) return 0;
  int bad = 0;
  for (int i = 0; i < count; i++) bad += !fine(at + i, 1);
  return bad;
}

}  // namespace

int rig_gaussians(const RigView& f, int chunk) {
  int begin, end, bad = 0;
  const RigSet& s = set_of(f, chunk, begin, end);
  Block b;
  for (int first = begin; first < end; first += kRigBlock) {
    read_block(s, first, end, b);
    const int64_t at = s.first + first;
    for (int i = 0; i < b.count; i++)
      place(s, first + i, b.local + 3 * i, f.world.means + 3 * (at + i), f.world.quats + 4 * (at + i));
    apply(s.tensors.log_scales + 3 * (int64_t)first, 3 * b.count, f.world.scales + 3 * at,
          [](vf x) { return exp_or_nan(x); });
    apply(b.logits, b.count, f.world.opacities + at, [](vf x) { return sigmoid_or_nan(x); });
    write_colors(s, b, f.world.colors + 3 * at);
    bad += count_bad(f.world, at, b.count);
  }
  return bad;
}

namespace {

// From dL/d(mean, quat) of one Gaussian to its local offset and quaternion, and to its frame.
VISAVIS_INLINE void place_backward(const RigView& f, const RigSet& s, int i, const float* u, float* g_local,
                                   float* g_quat) {
  const RigTriangle& t = frame_of(s, i);
  const int64_t at = s.first + i;
  const float *g = f.world_gradients.means + 3 * at, *gq = f.world_gradients.quats + 4 * at;
  const float hang = s.hang ? s.hang[i] : 0.f;
  for (int k = 0; k < 3; k++) g_local[k] = (1.f - hang) * maths::dot3(t.axes[k], g);
  if (hang != 0.f) {
    const float* a = s.hang_axes + 9 * (int64_t)i;
    for (int k = 0; k < 3; k++) g_local[k] += hang * (a[k] * g[0] + a[3 + k] * g[1] + a[6 + k] * g[2]);
  }
  maths::multiply_quats_backward(t.quat, gq, g_quat);
  if (!f.pull) return;
  float* pull = f.pull + kPull * at;
  float arm[3], torque[3], twist[3];
  turned_offset(t, u, 1.f - hang, arm);
  maths::cross3(arm, g, torque);
  maths::quat_torque(f.world.quats + 4 * at, gq, twist);
  for (int j = 0; j < 3; j++) pull[j] = g[j], pull[4 + j] = torque[j] + twist[j];
  pull[3] = pull[7] = 0.f;
}

// rows[r] = values[r] * features: the gradient of a linear map.
VISAVIS_INLINE void outer_rows(const float* values, int count, int k, const float* features, float* rows) {
  for (int r = 0; r < count; r++) {
    float* row = rows + (int64_t)r * k;
    int j = 0;
    for (; j + kLanes <= k; j += kLanes) store(row + j, values[r] * load(features + j));
    for (; j < k; j++) row[j] = values[r] * features[j];
  }
}

// sums += rows^T values: the gradient of the features.
VISAVIS_INLINE void add_rows(const float* rows, const float* values, int count, int k, float* sums) {
  for (int r = 0; r < count; r++) {
    const float* row = rows + (int64_t)r * k;
    int j = 0;
    for (; j + kLanes <= k; j += kLanes) store(sums + j, fma(broadcast(values[r]), load(row + j), load(sums + j)));
    for (; j < k; j++) sums[j] += values[r] * row[j];
  }
}

// The tensors from row `row` on; none where there is none.
VISAVIS_INLINE RigTensors rows_from(const RigTensors& t, int64_t row, int k) {
  return {t.means + 3 * row,     t.quats + 4 * row,         t.log_scales + 3 * row,
          t.opacity_logits + row, t.colors + 3 * row,       t.map_means + 3 * row * k,
          t.map_opacities ? t.map_opacities + row * k : nullptr,
          t.map_colors ? t.map_colors + 3 * row * k : nullptr};
}

// Room for the gradients of one block.
VISAVIS_INLINE RigTensors scratch_tensors(float* p, int k) {
  const int n = kRigBlock;
  return {p,          p + 3 * n,  p + 7 * n,           p + 10 * n,
          p + 11 * n, p + 14 * n, p + (14 + 3 * k) * n, p + (14 + 4 * k) * n};
}

// Moves a block's parameters.
VISAVIS_INLINE void optimise(const RigSet& s, int64_t row, int count, const RigTensors& gradients) {
  const RigTensors p = rows_from(s.tensors, row, s.k), first = rows_from(s.first_moments, row, s.k),
                   second = rows_from(s.second_moments, row, s.k);
  const auto move = [&](float* RigTensors::*t, int width, const maths::AdamRates<float>& rates) {
    const int64_t values = (int64_t)width * count;
    if (p.*t) adam({p.*t, gradients.*t, first.*t, second.*t, values, rates}, 0, values);
  };
  move(&RigTensors::means, 3, s.rates->means);
  move(&RigTensors::quats, 4, s.rates->quats);
  move(&RigTensors::log_scales, 3, s.rates->log_scales);
  move(&RigTensors::opacity_logits, 1, s.rates->opacity_logits);
  move(&RigTensors::colors, 3, s.rates->colors);
  move(&RigTensors::map_means, 3 * s.k, s.rates->map_means);
  move(&RigTensors::map_opacities, s.k, s.rates->map_opacities);
  move(&RigTensors::map_colors, 3 * s.k, s.rates->map_colors);
}

// All gradients of a block's tensors.
VISAVIS_INLINE void block_backward(const RigView& f, const RigSet& s, const Block& b, const RigTensors& out) {
  const int64_t at = s.first + b.first;
  for (int i = 0; i < b.count; i++) {
    place_backward(f, s, b.first + i, b.local + 3 * i, out.means + 3 * i, out.quats + 4 * i);
    const float o = f.world.opacities[at + i];
    out.opacity_logits[i] = f.world_gradients.opacities[at + i] * o * (1.f - o);
  }
  for (int i = 0; i < 3 * b.count; i++)
    out.log_scales[i] = f.world_gradients.scales[3 * at + i] * f.world.scales[3 * at + i];
  memcpy(out.colors, f.world_gradients.colors + 3 * at, sizeof(float) * 3 * b.count);
  outer_rows(out.means, 3 * b.count, s.k, s.features, out.map_means);
  if (s.tensors.map_opacities) outer_rows(out.opacity_logits, b.count, s.k, s.features, out.map_opacities);
  if (s.tensors.map_colors) outer_rows(out.colors, 3 * b.count, s.k, s.features, out.map_colors);
}

}  // namespace

int64_t rig_scratch(const RigView& f) {
  return (int64_t)kRigBlock * (14 + 7 * imax(f.sets[0].k, f.sets[1].k));
}

void rig_gaussians_backward(const RigView& f, int chunk, float* scratch) {
  int begin, end;
  const RigSet& s = set_of(f, chunk, begin, end);
  float* sums = f.feature_partials ? f.feature_partials + (int64_t)chunk * f.feature_stride : nullptr;
  if (sums) memset(sums, 0, sizeof(float) * f.feature_stride);
  Block b;
  for (int first = begin; first < end; first += kRigBlock) {
    read_block(s, first, end, b);
    const RigTensors out = s.rates ? scratch_tensors(scratch, s.k) : rows_from(s.gradients, first, s.k);
    block_backward(f, s, b, out);
    if (sums) {
      const RigTensors rows = rows_from(s.tensors, first, s.k);
      add_rows(rows.map_means, out.means, 3 * b.count, s.k, sums);
      if (rows.map_opacities) add_rows(rows.map_opacities, out.opacity_logits, b.count, s.k, sums);
      if (rows.map_colors) add_rows(rows.map_colors, out.colors, 3 * b.count, s.k, sums);
    }
    if (s.gradient_norms)
      for (int i = 0; i < b.count; i++) {
        const float* g = f.world_gradients.means + 3 * ((int64_t)s.first + first + i);
        s.gradient_norms[first + i] += __builtin_sqrtf(maths::dot3(g, g));
      }
    if (s.rates) optimise(s, first, b.count, out);
  }
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
