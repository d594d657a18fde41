// 3D Gaussians to image-plane splats and back: maths/projection.h for a vector of Gaussians at a time.
#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kBlock = 64;  // Gaussians turned from rows into columns at a time: stays in the first-level cache

// One attribute per row, one Gaussian per column.
template <int K>
struct Columns {
  alignas(64) float v[K][kBlock];
};

template <int K>
VISAVIS_INLINE void read_columns(const float* rows, int first, int count, float (*columns)[kBlock]) {
  for (int i = 0; i < count; i++)
    for (int k = 0; k < K; k++) columns[k][i] = rows[(int64_t)(first + i) * K + k];
  for (int k = 0; k < K; k++)
    for (int i = count; i < kBlock; i++) columns[k][i] = 0.f;
}

template <int K>
VISAVIS_INLINE void write_rows(float* rows, int first, int count, const float (*columns)[kBlock]) {
  for (int i = 0; i < count; i++)
    for (int k = 0; k < K; k++) rows[(int64_t)(first + i) * K + k] = columns[k][i];
}

enum Input { kMean = 0, kQuat = 3, kScale = 7, kOpacity = 10, kColor = 11, kInputs = 14 };

VISAVIS_INLINE void read_inputs(const FrameView& f, int first, int count, Columns<kInputs>& in) {
  read_columns<3>(f.means, first, count, in.v + kMean);
  read_columns<4>(f.quats, first, count, in.v + kQuat);
  read_columns<3>(f.scales, first, count, in.v + kScale);
  read_columns<1>(f.opacities, first, count, in.v + kOpacity);
  read_columns<3>(f.colors, first, count, in.v + kColor);
}

struct World {
  vf mean[3];
  maths::Shape<vf> shape;
};

VISAVIS_INLINE World read_world(const Columns<kInputs>& in, int at) {
  const auto column = [&](int k) { return load(in.v[k] + at); };
  const vf quat[4] = {column(kQuat), column(kQuat + 1), column(kQuat + 2), column(kQuat + 3)};
  const vf scale[3] = {column(kScale), column(kScale + 1), column(kScale + 2)};
  return {{column(kMean), column(kMean + 1), column(kMean + 2)}, {quat, scale}};
}

enum Output { kX, kY, kZ, kA, kB, kC, kPx0, kPx1, kPy0, kPy1, kOutputs };

// The first and last pixel whose centre lies within `extent` of `centre`, as floats clipped to [0, size).
VISAVIS_INLINE void pixel_range(vf centre, vf extent, int size, float* first, float* last) {
  const vf reach = extent * 1.0001f + 0.001f;  // never lose a pixel to rounding: the alpha test decides
  store(first, max(centre - reach - 0.5f, broadcast(-0.5f)));
  store(last, min(centre + reach - 0.5f, broadcast((float)size - 1.f)));
}

template <maths::CameraModel M>
VISAVIS_INLINE void project_block(const FrameView& f, const Columns<kInputs>& in, const float* log2_opacity,
                                  Columns<kOutputs>& out) {
  const auto put = [&](int k, int at, vf v) { store(out.v[k] + at, v); };
  for (int at = 0; at < kBlock; at += kLanes) {
    const World world = read_world(in, at);
    const auto o = maths::project_gaussian<M>(f.camera, world.mean, world.shape);
    const vf reach = maths::squared_reach(load(log2_opacity + at));
    pixel_range(o.at.u, sqrt(reach * o.aa), f.camera.width, out.v[kPx0] + at, out.v[kPx1] + at);
    pixel_range(o.at.v, sqrt(reach * o.bb), f.camera.height, out.v[kPy0] + at, out.v[kPy1] + at);
    put(kX, at, o.at.u), put(kY, at, o.at.v), put(kZ, at, o.point[2]);
    put(kA, at, 0.5f * kLog2E * o.A), put(kB, at, kLog2E * o.B), put(kC, at, 0.5f * kLog2E * o.C);
  }
}

VISAVIS_INLINE void write_splat(const Columns<kInputs>& in, const Columns<kOutputs>& out, const float* log2_opacity,
                                int i, Splat& s) {
  s.x = out.v[kX][i], s.y = out.v[kY][i], s.z = out.v[kZ][i];
  s.a = out.v[kA][i], s.b = out.v[kB][i], s.c = out.v[kC][i], s.l2o = log2_opacity[i];
  s.red = in.v[kColor][i], s.green = in.v[kColor + 1][i], s.blue = in.v[kColor + 2][i];
  // Truncation after +1 is the ceiling for values in [-0.5, size); comparisons are false for NaN: culled.
  const float x0 = out.v[kPx0][i], x1 = out.v[kPx1][i], y0 = out.v[kPy0][i], y1 = out.v[kPy1][i];
  const bool seen = s.z > kNear && s.l2o >= kLog2MinAlpha && x1 >= 0.f && y1 >= 0.f && x0 <= x1 && y0 <= y1;
  s.px0 = 1, s.px1 = 0, s.py0 = 1, s.py1 = 0;
  if (!seen) return;
  const int px0 = (int)__builtin_ceilf(x0), px1 = (int)x1, py0 = (int)__builtin_ceilf(y0), py1 = (int)y1;
  if (px0 > px1 || py0 > py1) return;
  s.px0 = px0, s.px1 = px1, s.py0 = py0, s.py1 = py1;
}

}  // namespace

void project(const FrameView& f, int chunk) {
  const int begin = chunk * f.chunk, end = imin(begin + f.chunk, f.n);
  uint32_t* tiles = f.chunk_tiles + (int64_t)chunk * f.tiles();
  memset(tiles, 0, sizeof(uint32_t) * f.tiles());
  uint32_t pairs = 0, bad = 0;
  Columns<kInputs> in;
  Columns<kOutputs> out;
  alignas(64) float log2_opacity[kBlock], total[kBlock];
  for (int first = begin; first < end; first += kBlock) {
    const int count = imin(kBlock, end - first);
    read_inputs(f, first, count, in);
    for (int i = 0; i < kBlock; i++) total[i] = 0.f;
    for (int k = 0; k < kInputs; k++)
      for (int i = 0; i < kBlock; i++) total[i] += in.v[k][i] * 1e-3f;
    for (int i = 0; i < count; i++) log2_opacity[i] = __builtin_log2f(in.v[kOpacity][i]);
    for (int i = count; i < kBlock; i++) log2_opacity[i] = -100.f;
    project_block<maths::kPinhole>(f, in, log2_opacity, out);
    for (int i = 0; i < count; i++) {
      Splat& s = f.splats[first + i];
      write_splat(in, out, log2_opacity, i, s);
      bad += !__builtin_isfinite(total[i]);
      s.first_slot = pairs;
      if (!s.visible()) continue;
      const int tx0 = s.px0 / kTile, tx1 = s.px1 / kTile, ty1 = s.py1 / kTile;
      for (int ty = s.py0 / kTile; ty <= ty1; ty++)
        for (int tx = tx0; tx <= tx1; tx++) tiles[ty * f.tiles_x + tx]++;
      pairs += s.tiles();
    }
  }
  f.chunk_pairs[chunk] = pairs;
  f.chunk_bad[chunk] = bad;
}

namespace {

enum Gradient { kGradMean = 0, kGradQuat = 3, kGradScale = 7, kGradOpacity = 10, kGradColor = 11, kGradients = 14 };

// From the sums of the tile pass to gradients of one vector of Gaussians.
template <maths::CameraModel M>
VISAVIS_INLINE void project_lanes_backward(const Camera& cam, const Columns<kInputs>& in, const Columns<kSums>& sums,
                                           int at, Columns<kGradients>& out) {
  const World world = read_world(in, at);
  const auto o = maths::project_gaussian<M>(cam, world.mean, world.shape);
  const auto S = [&](int k) { return load(sums.v[k] + at); };
  const auto put = [&](int k, vf v) { store(out.v[k] + at, v); };
  put(kGradOpacity, S(kV) / max(load(in.v[kOpacity] + at), broadcast(kMinNorm)));
  for (int k = 0; k < 3; k++) put(kGradColor + k, S(kRed + k));
  maths::GaussianGradient<vf> g{};
  vf gview[12], gR[3][3] = {}, gquat[4], gscale[3];
  const maths::Moments<vf> moments = {S(kVx), S(kVy), S(kVxx), S(kVxy), S(kVyy)};
  maths::project_gaussian_backward<M>(cam, world.mean, world.shape, o, moments, S(kDepth), g, gview);
  maths::shape_backward(world.shape, g.M, gR, gquat, gscale);
  for (int k = 0; k < 3; k++) put(kGradMean + k, g.mean[k]), put(kGradScale + k, gscale[k]);
  for (int k = 0; k < 4; k++) put(kGradQuat + k, gquat[k]);
}

}  // namespace

void project_backward(const FrameView& f, int chunk) {
  const int begin = chunk * f.chunk, end = imin(begin + f.chunk, f.n);
  Columns<kInputs> in;
  Columns<kSums> sums;
  Columns<kGradients> out;
  for (int first = begin; first < end; first += kBlock) {
    const int count = imin(kBlock, end - first);
    read_inputs(f, first, count, in);
    for (int i = 0; i < kBlock; i++) {
      float total[kSums] = {};
      if (i < count && f.splats[first + i].visible()) {
        const Splat& s = f.splats[first + i];
        const float* slot = f.slots + (int64_t)s.first_slot * kSlot;
        for (int t = s.tiles(); t > 0; t--, slot += kSlot)
          for (int k = 0; k < kSums; k++) total[k] += slot[k];
      }
      for (int k = 0; k < kSums; k++) sums.v[k][i] = total[k];
    }
    for (int at = 0; at < kBlock; at += kLanes) project_lanes_backward<maths::kPinhole>(f.camera, in, sums, at, out);
    for (int i = 0; i < count; i++)
      if (!f.splats[first + i].visible())
        for (int k = 0; k < kGradients; k++) out.v[k][i] = 0.f;
    write_rows<3>(f.grad_means, first, count, out.v + kGradMean);
    write_rows<4>(f.grad_quats, first, count, out.v + kGradQuat);
    write_rows<3>(f.grad_scales, first, count, out.v + kGradScale);
    write_rows<1>(f.grad_opacities, first, count, out.v + kGradOpacity);
    write_rows<3>(f.grad_colors, first, count, out.v + kGradColor);
  }
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
