// 3D Gaussians to splats for a batch of views, and back.
#include "splat.h"

using visavis::maths::GaussianGradient;
using visavis::maths::Moments;

// One thread per Gaussian and view (grid y). `shared` tells that all views draw the same Gaussians.
//   cameras (views, 16); splats (views, n, 8); rects (views, n, 2); keys (views, n); tile_counts (views, tiles), added to;
//   bad (views): how many Gaussians hold a NaN or infinity, added to
extern "C" __global__ void __launch_bounds__(128)
    project_count(const float* means, const float* quats, const float* scales, const float* opacities,
                  const float* cameras, int n, int shared, int width, int height, int model, float* splats, int* rects,
                  int* keys, int* tile_counts, int* bad) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, view = blockIdx.y;
  if (i >= n) return;
  const long long from = shared ? i : static_cast<long long>(view) * n + i, to = static_cast<long long>(view) * n + i;
  const Camera<float> cam = read_camera(cameras + view * kCameraFloats, width, height, model);
  count_splat(cam, means + 3 * from, quats + 4 * from, scales + 3 * from, opacities[from], to, view, splats, rects, keys,
              tile_counts, bad);
}

// Gradients of the Gaussians (written) and of the views (added to; may be null) from the sums of the raster pass.
// One thread per Gaussian; if `shared`, it adds up all views, else there is one row of blocks per view.
//   sums (views, n, 7 + channels)
extern "C" __global__ void __launch_bounds__(128)
    project_backward(const float* means, const float* quats, const float* scales, const float* opacities,
                     const float* cameras, const int* rects, const float* sums, int n, int views, int shared, int width,
                     int height, int model, int channels, float* grad_means, float* grad_quats, float* grad_scales,
                     float* grad_opacities, float* grad_cameras) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int first = shared ? 0 : blockIdx.y, last = shared ? views : first + 1;
  const long long at = shared ? i : static_cast<long long>(first) * n + i;
  const bool inside = i < n;
  const long long read = inside ? at : 0;
  const Shape<float> shape(quats + 4 * read, scales + 3 * read);
  GaussianGradient<float> total = {};
  float opacity_sum = 0.f;
  for (int view = first; view < last; view++) {
    const long long row = static_cast<long long>(view) * n + i;
    float gview[16] = {};
    if (inside && !reinterpret_cast<const TileRect*>(rects)[row].none()) {
      const Camera<float> cam = read_camera(cameras + view * kCameraFloats, width, height, model);
      const float* s = sums + row * (kGeometrySums + channels);
      const Moments<float> moments = {s[1], s[2], s[3], s[4], s[5]};
      const Ellipse<float> seen = see(cam, means + 3 * at, shape);
      see_backward(cam, means + 3 * at, shape, seen, moments, s[6], total, gview);
      opacity_sum += s[0];
    }
    if (grad_cameras == nullptr) continue;  // the same for all threads
    const float lane_sum = warp_sums(gview);
    const int lane = lane_index();
    if (lane < 12) atomicAdd(grad_cameras + view * 12 + lane, lane_sum);
  }
  if (!inside) return;
  const float none[3][3] = {};
  visavis::maths::shape_backward(shape, total.M, none, grad_quats + 4 * at, grad_scales + 3 * at);
#pragma unroll
  for (int k = 0; k < 3; k++) grad_means[3 * at + k] = total.mean[k];
  grad_opacities[at] = opacity_sum / fmaxf(opacities[at], kMinNorm);
}

// Gradients of the channels (written): the sums past the geometry's, over all views if `shared`.
extern "C" __global__ void __launch_bounds__(256)
    channels_backward(const float* sums, int n, int views, int shared, int channels, float* grad_channels) {
  const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= static_cast<long long>(n) * channels) return;
  const long long gaussian = i / channels;
  const int channel = i % channels, first = shared ? 0 : blockIdx.y, last = shared ? views : first + 1;
  float total = 0.f;
  for (int view = first; view < last; view++)
    total += sums[(static_cast<long long>(view) * n + gaussian) * (kGeometrySums + channels) + kGeometrySums + channel];
  grad_channels[shared ? i : static_cast<long long>(first) * n * channels + i] = total;
}
