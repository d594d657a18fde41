// From posed vertices to Gaussians in the world, or straight to splats, for a batch of frames; and back.
#include "rider.h"
#include "splat.h"

using visavis::maths::GaussianGradient;
using visavis::maths::Moments;

// One thread per Gaussian of the set and frame (grid y). The outputs hold `total` Gaussians per frame.
extern "C" __global__ void __launch_bounds__(128)
    rig_gaussians(RIDER_PARAMETERS, float* world_means, float* world_quats, float* world_scales, float* world_opacities) {
  const Rider r = RIDER;
  const int i = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  if (i >= n) return;
  const Posed o = pose(r, i, frame);
  const long long to = static_cast<long long>(frame) * total + first + i;
#pragma unroll
  for (int c = 0; c < 3; c++) world_means[3 * to + c] = o.mean[c], world_scales[3 * to + c] = o.scale[c];
#pragma unroll
  for (int c = 0; c < 4; c++) world_quats[4 * to + c] = o.quat[c];
  world_opacities[to] = o.opacity;
}

// One thread per Gaussian of the set; it adds up all frames.
extern "C" __global__ void __launch_bounds__(128)
    rig_gaussians_backward(RIDER_PARAMETERS, int frames, const float* by_means, const float* by_quats,
                           const float* by_scales, const float* by_opacities, RIDER_GRADIENT_PARAMETERS) {
  const Rider r = RIDER;
  const RiderGradients out = RIDER_GRADIENTS;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int frame = 0; frame < frames; frame++) {
    PosedGradient g = {};
    Posed o = {};
    if (i < n) {
      const long long from = static_cast<long long>(frame) * total + first + i;
      o = pose(r, i, frame);
#pragma unroll
      for (int c = 0; c < 3; c++) g.mean[c] = by_means[3 * from + c], g.scale[c] = by_scales[3 * from + c];
#pragma unroll
      for (int c = 0; c < 4; c++) g.quat[c] = by_quats[4 * from + c];
      g.opacity = by_opacities[from];
    }
    pose_backward(r, out, o, g, i, frame, i < n, frame > 0);
  }
}

// The set's part of world_colors (frames, total, 3): colors, moved by map_colors (n, 3, k) unless that is null.
// One thread per Gaussian and frame (grid y).
extern "C" __global__ void __launch_bounds__(128)
    rig_colors(const float* colors, const float* map_colors, const float* features, int n, int k, int first, int total,
               float* world_colors) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  if (i >= n) return;
  const long long to = 3 * (static_cast<long long>(frame) * total + first + i), row = 3LL * i;
#pragma unroll
  for (int c = 0; c < 3; c++) {
    world_colors[to + c] = colors[row + c];
    if (map_colors)
      world_colors[to + c] += dot_features(map_colors + (row + c) * k, features + static_cast<long long>(frame) * k, k);
  }
}

// One thread per Gaussian of the set; it adds up all frames. Without a map, grad_colors alone is written; with one,
// grad_features (frames, k) is added to.
extern "C" __global__ void __launch_bounds__(128)
    rig_colors_backward(const float* map_colors, const float* features, int n, int k, int first, int total, int frames,
                        const float* by_colors, float* grad_colors, float* grad_map_colors, float* grad_features) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const bool inside = i < n;
  const float* map = map_colors + 3LL * i * k;
  for (int frame = 0; frame < frames; frame++) {
    float g[3] = {};
    for (int c = 0; inside && c < 3; c++) {
      g[c] = by_colors[3 * (static_cast<long long>(frame) * total + first + i) + c];
      put(grad_colors + 3LL * i + c, g[c], frame > 0);
    }
    if (!map_colors) continue;
    const float* driving = features + frame * k;
    for (int j = 0; inside && j < k; j++)
      for (int c = 0; c < 3; c++) put(grad_map_colors + (3LL * i + c) * k + j, g[c] * driving[j], frame > 0);
    add_over_warp(grad_features + frame * k, k, [&](int j) {
      return inside ? g[0] * map[j] + g[1] * map[k + j] + g[2] * map[2 * k + j] : 0.f;
    });
  }
}

// rig_gaussians and project_count in one: frame and view are the same. Outputs as there, `total` Gaussians per frame.
extern "C" __global__ void __launch_bounds__(128)
    rig_project_count(RIDER_PARAMETERS, const float* cameras, int width, int height, int model, float* splats, int* rects,
                      int* keys, int* tile_counts, int* bad) {
  const Rider r = RIDER;
  const int i = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  if (i >= n) return;
  const Posed o = pose(r, i, frame);
  const Camera<float> cam = read_camera(cameras + frame * kCameraFloats, width, height, model);
  count_splat(cam, o.mean, o.quat, o.scale, o.opacity, static_cast<long long>(frame) * total + first + i, frame, splats,
              rects, keys, tile_counts, bad);
}

// Back from the raster pass's sums (frames, total, 7 + channels) to the set's parameters, in one.
// One block per multiprocessor is promised, since with fewer registers it would spill.
extern "C" __global__ void __launch_bounds__(128, 1)
    rig_project_backward(RIDER_PARAMETERS, int frames, const float* cameras, int width, int height, int model,
                         const int* rects, const float* sums, int channels, RIDER_GRADIENT_PARAMETERS,
                         float* grad_cameras) {
  const Rider r = RIDER;
  const RiderGradients out = RIDER_GRADIENTS;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int frame = 0; frame < frames; frame++) {
    PosedGradient g = {};
    Posed o = {};
    float gview[16] = {};
    const long long from = static_cast<long long>(frame) * total + first + i;
    if (i < n) o = pose(r, i, frame);
    if (i < n && !reinterpret_cast<const TileRect*>(rects)[from].none()) {
      const Camera<float> cam = read_camera(cameras + frame * kCameraFloats, width, height, model);
      const Shape<float> shape(o.quat, o.scale);
      const float* s = sums + from * (kGeometrySums + channels);
      const Moments<float> moments = {s[1], s[2], s[3], s[4], s[5]};
      GaussianGradient<float> by = {};
      see_backward(cam, o.mean, shape, see(cam, o.mean, shape), moments, s[6], by, gview);
      const float none[3][3] = {};
      visavis::maths::shape_backward(shape, by.M, none, g.quat, g.scale);
#pragma unroll
      for (int c = 0; c < 3; c++) g.mean[c] = by.mean[c];
      g.opacity = s[0] / fmaxf(o.opacity, kMinNorm);
    }
    if (grad_cameras != nullptr) {
      const float sum = warp_sums(gview);
      const int lane = lane_index();
      if (lane < 12) atomicAdd(grad_cameras + frame * 12 + lane, sum);
    }
    pose_backward(r, out, o, g, i, frame, i < n, frame > 0);
  }
}
