// Gaussians that ride on a mesh, as one thread poses one of them in one frame, and the gradient of that.
#pragma once

#include "device.h"
#include "maths/rig.h"

// A set of n Gaussians, of `total` per frame starting at `first`. Without triangles all ride on one frame that slides
// and rolls (the torso). Shapes: rig_types.py; what changes has a leading axis of frames.
struct Rider {
  const int* triangles;
  const float *barycentrics, *hang, *hang_axes;
  const float *means, *quats, *log_scales, *opacity_logits, *map_means, *map_opacities;
  const float *features, *vertices;
  const int* faces;
  const float* torso_moves;
  int n, k, first, total, vertex_count;
};

#define RIDER_PARAMETERS                                                                                              \
  const int *triangles, const float *barycentrics, const float *hang, const float *hang_axes, const float *means,     \
      const float *quats, const float *log_scales, const float *opacity_logits, const float *map_means,               \
      const float *map_opacities, const float *features, const float *vertices, const int *faces,                     \
      const float *torso_moves, int n, int k, int first, int total, int vertex_count
#define RIDER                                                                                                         \
  {triangles,  barycentrics, hang,     hang_axes, means,       quats, log_scales, opacity_logits, map_means,          \
   map_opacities, features,  vertices, faces,     torso_moves, n,     k,          first,          total, vertex_count}

struct RiderFrame {
  int corner[3];
  float corners[3][3], axes[3][3], quat[4];  // axes[k] is the k-th axis in the world
};

struct Posed {
  RiderFrame frame;
  float local[3], arm[3];  // offset in the frame; the part of it that turns with the frame, in the world
  float mean[3], quat[4], scale[3], opacity;
};

// e^x; NaN where x is not finite, so that it is noticed.
__device__ __forceinline__ float exp_or_nan(float x) {
  return fmaf(x, 0.f, exp2f(fminf(fmaxf(x * 1.44269504f, -126.f), 126.f)));
}

__device__ __forceinline__ RiderFrame rider_frame(const Rider& r, int i, int frame) {
  RiderFrame o = {};
  if (r.triangles == nullptr) {
    const float* move = r.torso_moves + 3 * frame;
    const float c = cosf(move[2]), s = sinf(move[2]);
    o.corners[0][0] = move[0], o.corners[0][1] = move[1];
    o.axes[0][0] = c, o.axes[0][1] = s, o.axes[1][0] = -s, o.axes[1][1] = c, o.axes[2][2] = 1.f;
    o.quat[0] = cosf(0.5f * move[2]), o.quat[3] = sinf(0.5f * move[2]);
    return o;
  }
  const int* face = r.faces + 3 * r.triangles[i];
#pragma unroll
  for (int c = 0; c < 3; c++) {
    o.corner[c] = face[c];
    const float* v = r.vertices + 3 * (static_cast<long long>(frame) * r.vertex_count + face[c]);
    for (int j = 0; j < 3; j++) o.corners[c][j] = v[j];
  }
  visavis::maths::triangle_frame(o.corners[0], o.corners[1], o.corners[2], o.axes, o.quat);
  return o;
}

__device__ __forceinline__ float dot_features(const float* row, const float* features, int k) {
  float sum = 0.f;
  for (int j = 0; j < k; j++) sum = fmaf(row[j], features[j], sum);
  return sum;
}

__device__ __forceinline__ Posed pose(const Rider& r, int i, int frame) {
  Posed o;
  const long long at = i;
  const float* features = r.features + static_cast<long long>(frame) * r.k;
  o.frame = rider_frame(r, i, frame);
  const auto& axes = o.frame.axes;
  const float hang = r.hang ? r.hang[i] : 0.f;
#pragma unroll
  for (int c = 0; c < 3; c++) o.local[c] = r.means[3 * at + c] + dot_features(r.map_means + (3 * at + c) * r.k, features, r.k);
#pragma unroll
  for (int j = 0; j < 3; j++) {
    o.arm[j] = (1.f - hang) * (axes[0][j] * o.local[0] + axes[1][j] * o.local[1] + axes[2][j] * o.local[2]);
    o.mean[j] = o.arm[j];
    if (r.hang) o.mean[j] += hang * visavis::maths::dot3(r.hang_axes + 9 * at + 3 * j, o.local);
    if (r.barycentrics) {
      for (int c = 0; c < 3; c++) o.mean[j] += r.barycentrics[3 * at + c] * o.frame.corners[c][j];
    } else {
      o.mean[j] += o.frame.corners[0][j];
    }
    o.scale[j] = exp_or_nan(r.log_scales[3 * at + j]);
  }
  const float own[4] = {r.quats[4 * at], r.quats[4 * at + 1], r.quats[4 * at + 2], r.quats[4 * at + 3]};
  visavis::maths::multiply_quats(o.frame.quat, own, o.quat);
  float logit = r.opacity_logits[i];
  if (r.map_opacities) logit += dot_features(r.map_opacities + at * r.k, features, r.k);
  o.opacity = 1.f / (1.f + exp_or_nan(-logit));
  return o;
}

// dL/d(posed Gaussian), by the world.
struct PosedGradient {
  float mean[3], quat[4], scale[3], opacity;
};

// Gradients of a set, written by the first frame and added to by the others; those of what moves, added to atomically
// (null: not wanted): features (frames, k), vertices (frames, v, 3), torso moves (frames, 3).
struct RiderGradients {
  float *means, *quats, *log_scales, *opacity_logits, *map_means, *map_opacities;
  float *features, *vertices, *torso_moves;
};

#define RIDER_GRADIENT_PARAMETERS                                                                                     \
  float *grad_means, float *grad_quats, float *grad_log_scales, float *grad_opacity_logits, float *grad_map_means,    \
      float *grad_map_opacities, float *grad_features, float *grad_vertices, float *grad_torso_moves
#define RIDER_GRADIENTS                                                                                               \
  {grad_means,         grad_quats,    grad_log_scales, grad_opacity_logits, grad_map_means,                           \
   grad_map_opacities, grad_features, grad_vertices,   grad_torso_moves}

__device__ __forceinline__ void put(float* at, float value, bool add) { *at = add ? *at + value : value; }

// Adds each lane's value(j) to sums[j], for all j < k.
template <class F>
__device__ __forceinline__ void add_over_warp(float* sums, int k, const F& value) {
  const int lane = lane_index();
  for (int start = 0; start < k; start += 16) {
    float values[16];
#pragma unroll
    for (int l = 0; l < 16; l++) values[l] = start + l < k ? value(start + l) : 0.f;
    const float sum = warp_sums(values);
    if (lane < 16 && start + lane < k) atomicAdd(sums + start + lane, sum);
  }
}

__device__ __forceinline__ void frame_backward(const Rider& r, const RiderGradients& out, const Posed& o,
                                               const PosedGradient& g, int i, int frame, bool inside) {
  float torque[3], twist[3];
  visavis::maths::cross3(o.arm, g.mean, torque);
  visavis::maths::quat_torque(o.quat, g.quat, twist);
#pragma unroll
  for (int j = 0; j < 3; j++) torque[j] += twist[j];
  if (r.triangles == nullptr) {
    float sums[4] = {inside ? g.mean[0] : 0.f, inside ? g.mean[1] : 0.f, inside ? torque[2] : 0.f, 0.f};
    const float sum = warp_sums(sums);
    const int lane = lane_index();
    if (out.torso_moves && lane < 3) atomicAdd(out.torso_moves + 3 * frame + lane, sum);
    return;
  }
  if (out.vertices == nullptr || !inside) return;
  float by[3][3];
  const auto& f = o.frame;
  visavis::maths::triangle_frame_backward(f.corners[0], f.corners[1], f.corners[2], f.axes, torque, by[1], by[2]);
#pragma unroll
  for (int j = 0; j < 3; j++) by[0][j] = -by[1][j] - by[2][j];
#pragma unroll
  for (int c = 0; c < 3; c++) {
    float* v = out.vertices + 3 * (static_cast<long long>(frame) * r.vertex_count + f.corner[c]);
    const float weight = r.barycentrics[3 * static_cast<long long>(i) + c];
    for (int j = 0; j < 3; j++) atomicAdd(v + j, by[c][j] + weight * g.mean[j]);
  }
}

// All threads of a warp must come here; those not `inside` count for nothing.
__device__ __forceinline__ void pose_backward(const Rider& r, const RiderGradients& out, const Posed& o,
                                              const PosedGradient& g, int i, int frame, bool inside, bool add) {
  const long long at = i;
  const float* features = r.features + static_cast<long long>(frame) * r.k;
  const float g_logit = inside ? g.opacity * o.opacity * (1.f - o.opacity) : 0.f;
  float g_local[3] = {}, g_quat[4];
  if (inside) {
    const float hang = r.hang ? r.hang[i] : 0.f;
#pragma unroll
    for (int c = 0; c < 3; c++) {
      g_local[c] = (1.f - hang) * visavis::maths::dot3(o.frame.axes[c], g.mean);
      if (r.hang) {
        const float* a = r.hang_axes + 9 * at + c;
        g_local[c] += hang * (a[0] * g.mean[0] + a[3] * g.mean[1] + a[6] * g.mean[2]);
      }
      put(out.means + 3 * at + c, g_local[c], add);
      put(out.log_scales + 3 * at + c, g.scale[c] * o.scale[c], add);
      for (int j = 0; j < r.k; j++) put(out.map_means + (3 * at + c) * r.k + j, g_local[c] * features[j], add);
    }
    visavis::maths::multiply_quats_backward(o.frame.quat, g.quat, g_quat);
#pragma unroll
    for (int c = 0; c < 4; c++) put(out.quats + 4 * at + c, g_quat[c], add);
    put(out.opacity_logits + i, g_logit, add);
    if (r.map_opacities)
      for (int j = 0; j < r.k; j++) put(out.map_opacities + at * r.k + j, g_logit * features[j], add);
  }
  frame_backward(r, out, o, g, i, frame, inside);
  if (out.features == nullptr) return;
  add_over_warp(out.features + static_cast<long long>(frame) * r.k, r.k, [&](int j) {
    float sum = 0.f;
    if (!inside) return sum;
    for (int c = 0; c < 3; c++) sum = fmaf(r.map_means[(3 * at + c) * r.k + j], g_local[c], sum);
    return r.map_opacities ? fmaf(r.map_opacities[at * r.k + j], g_logit, sum) : sum;
  });
}
