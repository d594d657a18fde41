// Mean |image - target| and SSIM with zero padding, and the gradient: two passes of separable 11-tap windows.
//
// Images are (images, height, width, channels); grid (tiles across, tiles down, images * channels), 16 x 16 threads.
#include "device.h"
#include "maths/ssim.h"

using namespace visavis::maths;

constexpr int kSide = 16;
constexpr int kThreads = kSide * kSide;
constexpr int kPatch = kSide + 2 * kSsimRadius;
constexpr int kPatchPixels = kPatch * kPatch;

struct Plane {
  int height, width, channels, x0, y0;
  long long base;  // of this channel of this image

  __device__ bool inside(int x, int y) const { return x >= 0 && x < width && y >= 0 && y < height; }
  __device__ long long at(int x, int y) const { return base + (static_cast<long long>(y) * width + x) * channels; }
};

__device__ __forceinline__ Plane my_plane(int height, int width, int channels) {
  const int image = blockIdx.z / channels, channel = blockIdx.z % channels;
  const int x0 = blockIdx.x * kSide, y0 = blockIdx.y * kSide;
  return {height, width, channels, x0, y0, static_cast<long long>(image) * height * width * channels + channel};
}

// The values that the windows of this block's pixels reach; 0 outside the image.
__device__ __forceinline__ void read_patch(const Plane& plane, const float* from, float (*patch)[kPatch]) {
  for (int i = threadIdx.x; i < kPatchPixels; i += kThreads) {
    const int x = plane.x0 + i % kPatch - kSsimRadius, y = plane.y0 + i / kPatch - kSsimRadius;
    patch[i / kPatch][i % kPatch] = plane.inside(x, y) ? from[plane.at(x, y)] : 0.f;
  }
}

__device__ __forceinline__ float blur_column(const float (*rows)[kSide], int x, int y) {
  float sum = 0.f;
#pragma unroll
  for (int k = -kSsimRadius; k <= kSsimRadius; k++)
    sum = fmaf(ssim_tap(k < 0 ? -k : k), rows[y + kSsimRadius + k][x], sum);
  return sum;
}

__device__ __forceinline__ float block_sum(float value, float* scratch) {
  const float sum = warp_sum(value);
  if (lane_index() == 0) scratch[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0.f;
#pragma unroll
  for (int w = 0; w < kThreads / 32; w++) total += scratch[w];
  __syncthreads();
  return total;
}

// partials (images * channels, blocks, 2): sums of |image - target| and of SSIM over each block's pixels.
// maps (3, images, height, width, channels): SSIM's derivatives by the blurred image, energy and product; or null.
extern "C" __global__ void __launch_bounds__(256)
    photometric_forward(const float* image, const float* target, int height, int width, int channels, float* partials,
                        float* maps) {
  __shared__ float first[kPatch][kPatch], second[kPatch][kPatch];
  __shared__ float rows[4][kPatch][kSide];
  __shared__ float scratch[kThreads / 32];
  const Plane plane = my_plane(height, width, channels);
  read_patch(plane, image, first);
  read_patch(plane, target, second);
  __syncthreads();
  for (int i = threadIdx.x; i < kPatch * kSide; i += kThreads) {
    const int y = i / kSide, x = i % kSide;
    float sums[4] = {};
#pragma unroll
    for (int k = 0; k < kSsimTaps; k++) {
      const float tap = ssim_tap(k < kSsimRadius ? kSsimRadius - k : k - kSsimRadius);
      const float p = first[y][x + k], q = second[y][x + k];
      sums[0] = fmaf(tap, p, sums[0]), sums[1] = fmaf(tap, q, sums[1]);
      sums[2] = fmaf(tap, fmaf(p, p, q * q), sums[2]), sums[3] = fmaf(tap, p * q, sums[3]);
    }
#pragma unroll
    for (int m = 0; m < 4; m++) rows[m][y][x] = sums[m];
  }
  __syncthreads();
  const int x = threadIdx.x % kSide, y = threadIdx.x / kSide;
  const bool inside = plane.inside(plane.x0 + x, plane.y0 + y);
  const Ssim<float> s = ssim(blur_column(rows[0], x, y), blur_column(rows[1], x, y), blur_column(rows[2], x, y),
                             blur_column(rows[3], x, y));
  if (maps != nullptr && inside) {
    const long long at = plane.at(plane.x0 + x, plane.y0 + y);
    const long long all = static_cast<long long>(gridDim.z) * height * width;
    maps[at] = s.d_mean, maps[all + at] = s.d_energy, maps[2 * all + at] = s.d_cross;
  }
  const float difference = fabsf(first[y + kSsimRadius][x + kSsimRadius] - second[y + kSsimRadius][x + kSsimRadius]);
  const float l1_sum = block_sum(inside ? difference : 0.f, scratch);
  const float ssim_sum = block_sum(inside ? s.value : 0.f, scratch);
  if (threadIdx.x != 0) return;
  float* out = partials + 2 * ((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
  out[0] = l1_sum, out[1] = ssim_sum;
}

// grad = slopes[image] * (l1_weight sign(image - target) - ssim_weight dSSIM/dimage), the sums' derivatives.
extern "C" __global__ void __launch_bounds__(256)
    photometric_backward(const float* image, const float* target, const float* maps, const float* slopes, int height,
                         int width, int channels, float l1_weight, float ssim_weight, float* grad) {
  __shared__ float patch[kPatch][kPatch];
  __shared__ float rows[kPatch][kSide];
  const Plane plane = my_plane(height, width, channels);
  const long long all = static_cast<long long>(gridDim.z) * height * width;
  const int x = threadIdx.x % kSide, y = threadIdx.x / kSide;
  float blurred[3];
#pragma unroll
  for (int m = 0; m < 3; m++) {
    read_patch(plane, maps + m * all, patch);
    __syncthreads();
    for (int i = threadIdx.x; i < kPatch * kSide; i += kThreads) {
      float sum = 0.f;
#pragma unroll
      for (int k = 0; k < kSsimTaps; k++)
        sum = fmaf(ssim_tap(k < kSsimRadius ? kSsimRadius - k : k - kSsimRadius), patch[i / kSide][i % kSide + k], sum);
      rows[i / kSide][i % kSide] = sum;
    }
    __syncthreads();
    blurred[m] = blur_column(rows, x, y);
  }
  if (!plane.inside(plane.x0 + x, plane.y0 + y)) return;
  const long long at = plane.at(plane.x0 + x, plane.y0 + y);
  const float p = image[at], q = target[at], difference = p - q;
  const float sign = difference > 0.f ? 1.f : difference < 0.f ? -1.f : 0.f;
  const float slope = blurred[0] + 2.f * p * blurred[1] + q * blurred[2];
  grad[at] = slopes[blockIdx.z / channels] * (l1_weight * sign - ssim_weight * slope);
}
