// What a Gaussian shows to each camera: spherical harmonics as colour, features as they are, its normal; and back.
//
// A row of values holds the colour (3, unless there is none), the features, and the normal (3, if asked for). `harmonics`
// is the number of coefficients per colour channel, 0 for plain colours, -1 for none.
#include "splat.h"

#include "maths/sh.h"
#include "maths/view.h"

using namespace visavis::maths;

constexpr int kCoefficients = kMaxHarmonics;

struct Layout {
  int harmonics, features, normals;

  __device__ int colors() const { return harmonics >= 0 ? 3 : 0; }
  __device__ int channels() const { return colors() + features + (normals ? 3 : 0); }
};

// The direction in which the camera sees a Gaussian, unnormalised.
__device__ __forceinline__ void seen_along(const Camera<float>& cam, const float* mean, float* out) {
  float centre[3];
  camera_centre(cam, centre);
  if (cam.model == kOrthographic)
    view_vector<kOrthographic>(cam, centre, mean, out);
  else
    view_vector<kPinhole>(cam, centre, mean, out);
}

__device__ __forceinline__ void normal_of(const Camera<float>& cam, const float* mean, const Shape<float>& shape,
                                          float* normal, float* weight) {
  float point[3];
  to_camera(cam, mean, point);
  if (cam.model == kOrthographic)
    gaussian_normal<kOrthographic>(cam, shape, point, normal, weight);
  else
    gaussian_normal<kPinhole>(cam, shape, point, normal, weight);
}

// Colour channel c before it is cut off at 0.
__device__ __forceinline__ float shade(const float* coefficients, const float* basis, int harmonics, int c) {
  float sum = 0.5f;
#pragma unroll
  for (int k = 0; k < kCoefficients; k++)
    if (k < harmonics) sum = fmaf(basis[k], coefficients[3 * k + c], sum);
  return sum;
}

// values (views, n, channels). One thread per Gaussian and view (grid y).
extern "C" __global__ void __launch_bounds__(128, 1)
    view_values(const float* means, const float* quats, const float* scales, const float* colors, const float* features,
                const float* cameras, int n, int width, int height, int model, int harmonics, int feature_count,
                int normals, float* values) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, view = blockIdx.y;
  if (i >= n) return;
  const Layout layout = {harmonics, feature_count, normals};
  const Camera<float> cam = read_camera(cameras + view * kCameraFloats, width, height, model);
  const float* mean = means + 3 * i;
  float* row = values + (static_cast<long long>(view) * n + i) * layout.channels();
  if (harmonics > 0) {
    float along[3], basis[kCoefficients];
    seen_along(cam, mean, along);
    sh_basis<3>(Direction<float>(along).unit, basis);
    const float* coefficients = colors + 3LL * harmonics * i;
    for (int c = 0; c < 3; c++) row[c] = fmaxf(shade(coefficients, basis, harmonics, c), 0.f);
  } else {
    for (int c = 0; c < layout.colors(); c++) row[c] = colors[3 * i + c];
  }
  for (int f = 0; f < feature_count; f++) row[layout.colors() + f] = features[static_cast<long long>(i) * feature_count + f];
  if (!normals) return;
  float normal[3], weight[3];
  normal_of(cam, mean, Shape<float>(quats + 4 * i, scales + 3 * i), normal, weight);
  for (int c = 0; c < 3; c++) row[layout.colors() + feature_count + c] = normal[c];
}

// One thread per Gaussian, all views. Writes grad_colors (n, harmonics, 3) or (n, 3) and grad_features; adds to
// grad_means, grad_quats and (atomically; may be null) grad_cameras (views, 12).
extern "C" __global__ void __launch_bounds__(128, 1)
    view_values_backward(const float* means, const float* quats, const float* scales, const float* colors,
                         const float* cameras, const float* sums, int n, int views, int width, int height, int model,
                         int harmonics, int feature_count, int normals, float* grad_colors, float* grad_features,
                         float* grad_means, float* grad_quats, float* grad_cameras) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const bool inside = i < n;
  const Layout layout = {harmonics, feature_count, normals};
  const int at = inside ? i : 0;
  const Shape<float> shape(quats + 4 * at, scales + 3 * at);
  const float* coefficients = colors + 3LL * harmonics * at;
  float* grad_coefficients = grad_colors + 3LL * harmonics * at;
  float gmean[3] = {}, gR[3][3] = {};
  for (int view = 0; view < views; view++) {
    float gview[16] = {};
    const Camera<float> cam = read_camera(cameras + view * kCameraFloats, width, height, model);
    const float* g = sums + (static_cast<long long>(view) * n + at) * (kGeometrySums + layout.channels()) + kGeometrySums;
    if (inside && harmonics > 0) {
      float along[3], basis[kCoefficients], weights[kCoefficients] = {}, by_unit[3], by_along[3];
      seen_along(cam, means + 3 * at, along);
      const Direction<float> direction(along);
      sh_basis<3>(direction.unit, basis);
      for (int c = 0; c < 3; c++) {
        const float slope = shade(coefficients, basis, harmonics, c) > 0.f ? g[c] : 0.f;
#pragma unroll
        for (int k = 0; k < kCoefficients; k++) {
          if (k >= harmonics) continue;
          weights[k] = fmaf(coefficients[3 * k + c], slope, weights[k]);
          float* to = grad_coefficients + 3 * k + c;
          *to = view ? *to + basis[k] * slope : basis[k] * slope;
        }
      }
      sh_slope<3>(direction.unit, weights, by_unit);
      direction.backward(by_unit, by_along);
      if (cam.model == kOrthographic) {
        for (int k = 0; k < 3; k++) gview[8 + k] += by_along[k];
      } else {
        const float by_centre[3] = {-by_along[0], -by_along[1], -by_along[2]};
        for (int k = 0; k < 3; k++) gmean[k] += by_along[k];
        camera_centre_backward(cam, by_centre, gview);
      }
    }
    if (inside && normals) {
      float normal[3], weight[3];
      normal_of(cam, means + 3 * at, shape, normal, weight);
      gaussian_normal_backward(cam, shape, weight, g + layout.colors() + feature_count, gR, gview);
    }
    if (inside) {
      for (int c = 0; c < layout.colors() && harmonics == 0; c++)
        grad_colors[3 * at + c] = view ? grad_colors[3 * at + c] + g[c] : g[c];
      for (int f = 0; f < feature_count; f++) {
        float* to = grad_features + static_cast<long long>(at) * feature_count + f;
        *to = view ? *to + g[layout.colors() + f] : g[layout.colors() + f];
      }
    }
    if (grad_cameras == nullptr) continue;  // the same for all threads
    const float sum = warp_sums(gview);
    const int lane = lane_index();
    if (lane < 12) atomicAdd(grad_cameras + view * 12 + lane, sum);
  }
  if (!inside) return;
  const float none[3][3] = {};
  float gquat[4], gscale[3];
  shape_backward(shape, none, gR, gquat, gscale);
  for (int k = 0; k < 3; k++) grad_means[3 * at + k] += gmean[k];
  for (int k = 0; k < 4; k++) grad_quats[4 * at + k] += gquat[k];
}
