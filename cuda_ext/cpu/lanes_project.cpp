// 3D Gaussians to image-plane splats: maths/projection.h for a vector of Gaussians at a time.
#include "columns.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

enum Output { kX, kY, kZ, kA, kB, kC, kPx0, kPx1, kPy0, kPy1, kNormal, kOutputs = kNormal + 3 };

// The first and last pixel whose centre lies within `extent` of `centre`, as floats clipped to [0, size).
VISAVIS_INLINE void pixel_range(vf centre, vf extent, int size, float* first, float* last) {
  const vf reach = extent * 1.0001f + 0.001f;  // never lose a pixel to rounding: the alpha test decides
  store(first, max(centre - reach - 0.5f, broadcast(-0.5f)));
  store(last, min(centre + reach - 0.5f, broadcast((float)size - 1.f)));
}

template <maths::CameraModel M>
VISAVIS_OWN_FRAME void project_block(const Camera& cam, const World* worlds, const float* log2_opacity, bool with_normals,
                                  Columns<kOutputs>& out) {
  for (int j = 0; j < kVectors; j++) {
    const World& world = worlds[j];
    const int at = j * kLanes;
    const auto o = maths::project_gaussian<M>(cam, world.mean, world.shape);
    const vf reach = maths::squared_reach(load(log2_opacity + at));
    pixel_range(o.at.u, sqrt(reach * o.aa), cam.width, out.v[kPx0] + at, out.v[kPx1] + at);
    pixel_range(o.at.v, sqrt(reach * o.bb), cam.height, out.v[kPy0] + at, out.v[kPy1] + at);
    out.put(kX, at, o.at.u), out.put(kY, at, o.at.v), out.put(kZ, at, o.point[2]);
    out.put(kA, at, 0.5f * kLog2E * o.A), out.put(kB, at, kLog2E * o.B), out.put(kC, at, 0.5f * kLog2E * o.C);
    if (!with_normals) continue;
    vf normal[3], weight[3];
    maths::gaussian_normal<M>(cam, world.shape, o.point, normal, weight);
    for (int k = 0; k < 3; k++) out.put(kNormal + k, at, normal[k]);
  }
}

// Spherical harmonics as this camera sees them.
template <maths::CameraModel M, int kDegree>
VISAVIS_OWN_FRAME void shade_block(const Camera& cam, const World* worlds, const Colors& colors, Columns<3>& rgb) {
  float centre[3];
  maths::camera_centre(cam, centre);
  for (int j = 0; j < kVectors; j++) {
    const int at = j * kLanes;
    vf towards[3], basis[maths::kMaxHarmonics];
    maths::view_vector<M>(cam, centre, worlds[j].mean, towards);
    maths::sh_basis<kDegree>(maths::Direction<vf>(towards).unit, basis);
    for (int c = 0; c < 3; c++) {
      vf value = broadcast(0.5f);
      for (int k = 0; k < (kDegree + 1) * (kDegree + 1); k++) value = fma(basis[k], colors.c.at(3 * k + c, at), value);
      rgb.put(c, at, max(value, vf{}));
    }
  }
}

VISAVIS_INLINE void write_splat(const float (*rgb)[kBlock], const Columns<kOutputs>& out, const float* log2_opacity,
                                int i, Splat& s) {
  s.x = out.v[kX][i], s.y = out.v[kY][i], s.z = out.v[kZ][i];
  s.a = out.v[kA][i], s.b = out.v[kB][i], s.c = out.v[kC][i], s.l2o = log2_opacity[i];
  s.red = rgb[0][i], s.green = rgb[1][i], s.blue = rgb[2][i];
  // Truncation after +1 is the ceiling for values in [-0.5, size); comparisons are false for NaN: culled.
  const float x0 = out.v[kPx0][i], x1 = out.v[kPx1][i], y0 = out.v[kPy0][i], y1 = out.v[kPy1][i];
  const bool seen = s.z > kNear && s.l2o >= kLog2MinAlpha && x1 >= 0.f && y1 >= 0.f && x0 <= x1 && y0 <= y1;
  s.px0 = 1, s.px1 = 0, s.py0 = 1, s.py1 = 0;
  if (!seen) return;
  const int px0 = (int)__builtin_ceilf(x0), px1 = (int)x1, py0 = (int)__builtin_ceilf(y0), py1 = (int)y1;
  if (px0 > px1 || py0 > py1) return;
  s.px0 = px0, s.px1 = px1, s.py0 = py0, s.py1 = py1;
}

// How many Gaussians of a block hold a NaN or infinity in any input.
VISAVIS_INLINE int count_bad(const FrameView& f, const Columns<kInputs>& in, const Colors& colors, int first, int count) {
  alignas(64) float total[kBlock] = {};
  const auto add = [&](const float (*columns)[kBlock], int k) {
    for (int i = 0; i < kBlock; i++) total[i] += columns[k][i] * 1e-3f;
  };
  for (int k = 0; k < kInputs; k++) add(in.v, k);
  for (int k = 0; k < 3 * imax(1, colors.harmonics); k++) add(colors.c.v, k);
  int bad = 0;
  for (int i = 0; i < count; i++) {
    const float* features = f.features + (int64_t)(first + i) * f.channels;
    for (int k = 0; k < f.channels; k++) total[i] += features[k] * 1e-3f;
    bad += !__builtin_isfinite(total[i]);
  }
  return bad;
}

// One camera's splats of a block; counts their tiles and numbers their slots from `pairs` on.
VISAVIS_INLINE uint64_t emit(const FrameView& f, int camera, int first, int count, const float (*rgb)[kBlock],
                             const Columns<kOutputs>& out, const float* log2_opacity, uint32_t* tiles, uint64_t pairs) {
  const int64_t at = (int64_t)camera * f.n + first;
  for (int i = 0; i < count; i++) {
    Splat& s = f.splats[at + i];
    write_splat(rgb, out, log2_opacity, i, s);
    s.first_slot = (uint32_t)pairs;
    if (!s.visible()) continue;
    const int tx0 = s.px0 / kTile, tx1 = s.px1 / kTile, ty1 = s.py1 / kTile;
    for (int ty = s.py0 / kTile; ty <= ty1; ty++)
      for (int tx = tx0; tx <= tx1; tx++) tiles[ty * f.tiles_x + tx]++;
    pairs += s.tiles();
  }
  if (f.splat_normals) write_rows<3>(f.splat_normals, at, count, out.v + kNormal);
  return pairs;
}

}  // namespace

void project(const FrameView& f, int chunk) {
  const int begin = chunk * f.chunk, end = imin(begin + f.chunk, f.n);
  uint32_t* tiles = f.chunk_tiles + (int64_t)chunk * f.all_tiles();
  memset(tiles, 0, sizeof(uint32_t) * f.all_tiles());
  uint64_t pairs = 0;
  uint32_t bad = 0;
  Columns<kInputs> in;
  Columns<kOutputs> out;
  Columns<3> shaded;
  Colors colors;
  World worlds[kVectors];
  alignas(64) float log2_opacity[kBlock];
  for (int first = begin; first < end; first += kBlock) {
    const int count = imin(kBlock, end - first);
    read_inputs(f, first, count, in);
    read_colors(f, first, count, colors);
    bad += count_bad(f, in, colors, first, count);
    for (int i = 0; i < count; i++) log2_opacity[i] = __builtin_log2f(in.v[kOpacity][i]);
    for (int i = count; i < kBlock; i++) log2_opacity[i] = -100.f;
    for (int j = 0; j < kVectors; j++) worlds[j] = read_world(in, j * kLanes);
    for (int c = 0; c < f.cameras; c++) {
      const Camera& cam = f.camera[c];
      with_model(cam.model, [&](auto model) {
        constexpr auto M = (maths::CameraModel)decltype(model)::value;
        project_block<M>(cam, worlds, log2_opacity, f.splat_normals, out);
        if (!colors.harmonics) return;
        with_degree(colors.harmonics,
                    [&](auto degree) { shade_block<M, decltype(degree)::value>(cam, worlds, colors, shaded); });
      });
      const auto* rgb = colors.harmonics ? shaded.v : colors.c.v;
      pairs = emit(f, c, first, count, rgb, out, log2_opacity, tiles + (int64_t)c * f.tiles(), pairs);
    }
  }
  f.chunk_pairs[chunk] = pairs;
  f.chunk_bad[chunk] = bad;
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
