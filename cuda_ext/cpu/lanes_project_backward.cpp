// From the sums of the tile pass to gradients of the Gaussians and of the cameras' poses.
#include "columns.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

enum Gradient { kGradMean = 0, kGradQuat = 3, kGradScale = 7, kGradOpacity = 10, kGradients = 11 };

constexpr int kView = 12;
constexpr int kSeen = kSums;  // column beside the sums: 1 or 0
using Sums = Columns<kSums + 1>;

// What one block of Gaussians gathers over its cameras.
struct Gathered {
  maths::GaussianGradient<vf> shape[kVectors];
  vf R[kVectors][3][3];
  vf v[kVectors];
  Columns<3 * maths::kMaxHarmonics> colors;
  Columns<kMaxExtras> features;
};

// Sums of one camera over the tiles of each splat; zero where it is not seen.
VISAVIS_INLINE void sum_slots(const FrameView& f, int64_t at, int count, Sums& sums,
                              Columns<kMaxExtras>& extras) {
  const int stride = f.extra_stride(), wanted = f.extra_slots ? f.extras() : 0;
  for (int i = 0; i < kBlock; i++) {
    float total[kSums] = {}, extra[kMaxExtras];
    for (int k = 0; k < wanted; k++) extra[k] = 0.f;
    if (i < count && f.splats[at + i].visible()) {
      const Splat& s = f.splats[at + i];
      const float* slot = f.slots + (int64_t)s.first_slot * kSlot;
      const float* extra_slot = f.extra_slots + (int64_t)s.first_slot * stride;
      for (int t = s.tiles(); t > 0; t--, slot += kSlot, extra_slot += stride) {
        for (int k = 0; k < kSums; k++) total[k] += slot[k];
        for (int k = 0; k < wanted; k++) extra[k] += extra_slot[k];
      }
    }
    for (int k = 0; k < kSums; k++) sums.v[k][i] = total[k];
    sums.v[kSeen][i] = i < count && f.splats[at + i].visible();
    for (int k = 0; k < wanted; k++) extras.v[k][i] = extra[k];
  }
}

// Adds to the gradients of the coefficients, the means and the view (by way of the camera's centre or axis).
template <maths::CameraModel M, int kDegree>
VISAVIS_OWN_FRAME void shade_backward(const Camera& cam, const World& world, const Colors& colors,
                                   const Sums& sums, int at, Columns<3 * maths::kMaxHarmonics>& gcolors,
                                   vf* gmean, vf* gview) {
  constexpr int kTerms = (kDegree + 1) * (kDegree + 1);
  float centre[3];
  maths::camera_centre(cam, centre);
  vf towards[3], basis[maths::kMaxHarmonics], slope[maths::kMaxHarmonics] = {}, gunit[3], gtowards[3];
  maths::view_vector<M>(cam, centre, world.mean, towards);
  const maths::Direction<vf> direction(towards);
  maths::sh_basis<kDegree>(direction.unit, basis);
  for (int c = 0; c < 3; c++) {
    vf value = broadcast(0.5f);
    for (int k = 0; k < kTerms; k++) value = fma(basis[k], colors.c.at(3 * k + c, at), value);
    const vf g = select(ge(value, vf{}), sums.at(kRed + c, at), vf{});
    for (int k = 0; k < kTerms; k++) {
      gcolors.put(3 * k + c, at, fma(g, basis[k], gcolors.at(3 * k + c, at)));
      slope[k] = fma(g, colors.c.at(3 * k + c, at), slope[k]);
    }
  }
  maths::sh_slope<kDegree>(direction.unit, slope, gunit);
  direction.backward(gunit, gtowards);
  if constexpr (M == maths::kOrthographic) {
    for (int k = 0; k < 3; k++) gview[8 + k] += gtowards[k];
  } else {
    vf gcentre[3];
    for (int k = 0; k < 3; k++) gmean[k] += gtowards[k], gcentre[k] = -gtowards[k];
    maths::camera_centre_backward(cam, gcentre, gview);
  }
}

// One camera's share of one vector of Gaussians; `views` (12, or null) gathers the gradient of its pose.
template <maths::CameraModel M>
VISAVIS_INLINE void camera_backward(const FrameView& f, const Camera& cam, const World& world, const Colors& colors,
                                    const Sums& sums, const Columns<kMaxExtras>& extras, int j, Gathered& out,
                                    vf* views) {
  const int at = j * kLanes;
  const auto o = maths::project_gaussian<M>(cam, world.mean, world.shape);
  const maths::Moments<vf> moments = {sums.at(kVx, at), sums.at(kVy, at), sums.at(kVxx, at), sums.at(kVxy, at),
                                      sums.at(kVyy, at)};
  maths::GaussianGradient<vf> g{};
  vf gview[kView], gR[3][3] = {};
  maths::project_gaussian_backward<M>(cam, world.mean, world.shape, o, moments, sums.at(kDepth, at), g, gview);
  out.v[j] += sums.at(kV, at);
  if (colors.harmonics) {
    with_degree(colors.harmonics, [&](auto degree) {
      shade_backward<M, decltype(degree)::value>(cam, world, colors, sums, at, out.colors, g.mean, gview);
    });
  } else {
    for (int c = 0; c < 3; c++) out.colors.put(c, at, out.colors.at(c, at) + sums.at(kRed + c, at));
  }
  if (f.extra_slots) {
    const int channels = f.feature_image ? f.channels : 0;
    for (int k = 0; k < channels; k++) out.features.put(k, at, out.features.at(k, at) + extras.at(k, at));
    if (f.normals) {
      vf normal[3], weight[3];
      const vf gnormal[3] = {extras.at(channels, at), extras.at(channels + 1, at), extras.at(channels + 2, at)};
      maths::gaussian_normal<M>(cam, world.shape, o.point, normal, weight);
      maths::gaussian_normal_backward(cam, world.shape, weight, gnormal, gR, gview);
    }
  }
  // What is not seen may overflow on the way.
  const auto seen = ge(sums.at(kSeen, at), broadcast(0.5f));
  for (int k = 0; views && k < kView; k++) views[k] += select(seen, gview[k], vf{});
  for (int i = 0; i < 3; i++) {
    out.shape[j].mean[i] += select(seen, g.mean[i], vf{});
    for (int k = 0; k < 3; k++) {
      out.shape[j].M[i][k] += select(seen, g.M[i][k], vf{});
      out.R[j][i][k] += select(seen, gR[i][k], vf{});
    }
  }
}

template <maths::CameraModel M>
VISAVIS_OWN_FRAME void block_backward(const FrameView& f, const Camera& cam, const World* worlds, const Colors& colors,
                                      const Sums& sums, const Columns<kMaxExtras>& extras, Gathered& out, vf* views) {
  for (int j = 0; j < kVectors; j++) camera_backward<M>(f, cam, worlds[j], colors, sums, extras, j, out, views);
}

VISAVIS_INLINE void write_block(const FrameView& f, const Columns<kInputs>& in, const World* worlds, Gathered& g,
                                int first, int count) {
  Columns<kGradients> out;
  for (int j = 0; j < kVectors; j++) {
    const int at = j * kLanes;
    vf gquat[4], gscale[3];
    maths::shape_backward(worlds[j].shape, g.shape[j].M, g.R[j], gquat, gscale);
    for (int k = 0; k < 3; k++) out.put(kGradMean + k, at, g.shape[j].mean[k]), out.put(kGradScale + k, at, gscale[k]);
    for (int k = 0; k < 4; k++) out.put(kGradQuat + k, at, gquat[k]);
    out.put(kGradOpacity, at, g.v[j] / max(in.at(kOpacity, at), broadcast(kMinNorm)));
  }
  write_rows<3>(f.grad_means, first, count, out.v + kGradMean);
  write_rows<4>(f.grad_quats, first, count, out.v + kGradQuat);
  write_rows<3>(f.grad_scales, first, count, out.v + kGradScale);
  write_rows<1>(f.grad_opacities, first, count, out.v + kGradOpacity);
  const auto write = [&](float* rows, int values, const float (*columns)[kBlock]) {
    for (int i = 0; i < count; i++)
      for (int k = 0; k < values; k++) rows[(int64_t)(first + i) * values + k] = columns[k][i];
  };
  if (f.grad_colors && f.harmonics <= 1) write_rows<3>(f.grad_colors, first, count, g.colors.v);
  if (f.grad_colors && f.harmonics > 1) write(f.grad_colors, 3 * f.harmonics, g.colors.v);
  if (f.grad_features) write(f.grad_features, f.channels, g.features.v);
}

VISAVIS_INLINE void clear(const FrameView& f, Gathered& g) {
  memset(g.shape, 0, sizeof g.shape), memset(g.R, 0, sizeof g.R), memset(g.v, 0, sizeof g.v);
  memset(g.colors.v, 0, sizeof(float) * kBlock * 3 * imax(1, f.harmonics));
  if (f.grad_features) memset(g.features.v, 0, sizeof(float) * kBlock * f.channels);
}

}  // namespace

void project_backward(const FrameView& f, int chunk) {
  const int begin = chunk * f.chunk, end = imin(begin + f.chunk, f.n);
  float* const views = f.grad_views ? f.chunk_views + (int64_t)chunk * f.cameras * kView : nullptr;
  if (views) memset(views, 0, sizeof(float) * f.cameras * kView);
  Columns<kInputs> in;
  Sums sums;
  Columns<kMaxExtras> extras;
  Colors colors;
  World worlds[kVectors];
  Gathered out;
  for (int first = begin; first < end; first += kBlock) {
    const int count = imin(kBlock, end - first);
    read_inputs(f, first, count, in);
    if (f.harmonics) read_colors(f, first, count, colors);
    colors.harmonics = f.harmonics;
    for (int j = 0; j < kVectors; j++) worlds[j] = read_world(in, j * kLanes);
    clear(f, out);
    for (int c = 0; c < f.cameras; c++) {
      const Camera& cam = f.camera[c];
      vf gviews[kView] = {};
      sum_slots(f, (int64_t)c * f.n + first, count, sums, extras);
      with_model(cam.model, [&](auto model) {
        constexpr auto M = (maths::CameraModel)decltype(model)::value;
        block_backward<M>(f, cam, worlds, colors, sums, extras, out, views ? gviews : nullptr);
      });
      for (int k = 0; views && k < kView; k++) views[c * kView + k] += sum(gviews[k]);
    }
    write_block(f, in, worlds, out, first, count);
  }
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
