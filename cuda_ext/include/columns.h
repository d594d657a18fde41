// Gaussians turned from rows (one per Gaussian) into columns (one per attribute), a block at a time.
#pragma once

#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

constexpr int kBlock = 64;  // Gaussians at a time: stays in the first-level cache
constexpr int kVectors = kBlock / kLanes;

template <int K>
struct Columns {
  alignas(64) float v[K][kBlock];

  VISAVIS_HD vf at(int k, int i) const { return load(v[k] + i); }
  VISAVIS_HD void put(int k, int i, vf x) { store(v[k] + i, x); }
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

enum Input { kMean = 0, kQuat = 3, kScale = 7, kOpacity = 10, kInputs = 11 };

VISAVIS_INLINE void read_inputs(const FrameView& f, int first, int count, Columns<kInputs>& in) {
  read_columns<3>(f.means, first, count, in.v + kMean);
  read_columns<4>(f.quats, first, count, in.v + kQuat);
  read_columns<3>(f.scales, first, count, in.v + kScale);
  read_columns<1>(f.opacities, first, count, in.v + kOpacity);
}

// What all cameras share of one vector of Gaussians.
struct World {
  vf mean[3];
  maths::Shape<vf> shape;
};

VISAVIS_INLINE World read_world(const Columns<kInputs>& in, int at) {
  const vf quat[4] = {in.at(kQuat, at), in.at(kQuat + 1, at), in.at(kQuat + 2, at), in.at(kQuat + 3, at)};
  const vf scale[3] = {in.at(kScale, at), in.at(kScale + 1, at), in.at(kScale + 2, at)};
  return {{in.at(kMean, at), in.at(kMean + 1, at), in.at(kMean + 2, at)}, {quat, scale}};
}

// call(Constant<model>) with the camera's model as a compile-time constant.
template <int V>
struct Constant {
  static constexpr int value = V;
};

template <class F>
VISAVIS_INLINE void with_model(maths::CameraModel model, const F& call) {
  if (model == maths::kPinhole) return call(Constant<maths::kPinhole>{});
  if (model == maths::kFisheye) return call(Constant<maths::kFisheye>{});
  call(Constant<maths::kOrthographic>{});
}

// Colours (n, 3), or spherical harmonics (n, harmonics, 3), of a block; black where there are none.
struct Colors {
  int harmonics;  // 0: plain
  Columns<3 * maths::kMaxHarmonics> c;
};

VISAVIS_INLINE void read_colors(const FrameView& f, int first, int count, Colors& colors) {
  colors.harmonics = f.harmonics;
  auto* c = colors.c.v;
  if (!f.colors) memset(c, 0, sizeof(float) * 3 * kBlock);
  else if (f.harmonics == 16) read_columns<48>(f.colors, first, count, c);
  else if (f.harmonics == 9) read_columns<27>(f.colors, first, count, c);
  else if (f.harmonics == 4) read_columns<12>(f.colors, first, count, c);
  else read_columns<3>(f.colors, first, count, c);
}

template <class F>
VISAVIS_INLINE void with_degree(int harmonics, const F& call) {
  if (harmonics == 1) return call(Constant<0>{});
  if (harmonics == 4) return call(Constant<1>{});
  if (harmonics == 9) return call(Constant<2>{});
  call(Constant<3>{});
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
