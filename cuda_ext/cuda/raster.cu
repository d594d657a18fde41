// Blends each tile's splats front to back, one thread per pixel, and the gradient of that.
//
// A pixel takes splats until its transmittance falls below 1e-4 (the splat that crosses the line is the last). The
// backward pass runs front to back as well: what remains of a pixel is its total minus what was blended so far, so
// nothing is divided by the transmittance and no last index is kept.
#include "splat.h"

enum Sum { kV, kVx, kVy, kVxx, kVxy, kVyy, kDepth };  // kGeometrySums of them

// What is drawn: Gaussians `n` per view with `channels` values each; if `shared`, all views take the same values.
struct Scene {
  const float *splats, *values;
  const int *lists, *offsets;
  int n, shared, channels, capacity, width, height;
};

// As many splats as fit beside several other blocks in a multiprocessor's shared memory; at most one per thread.
template <int C>
struct Batch {
  static constexpr int kSize = C > 16 ? 128 : kTilePixels;
  Splat splats[kSize];
  int indices[kSize];
  float values[kSize][C];
};

struct Pixel {
  int x, y;
  bool inside;
  long long at;  // in an image stack (views, height, width)
};

__device__ __forceinline__ Pixel my_pixel(const Scene& s) {
  // A warp takes 8 x 4 pixels: the rounder, the fewer splats touch it.
  const int lane = lane_index(), warp = threadIdx.x / 32;
  const int x = blockIdx.x * kTile + warp % 2 * 8 + lane % 8, y = blockIdx.y * kTile + warp / 2 * 4 + lane / 8;
  const bool inside = x < s.width && y < s.height;
  return {x, y, inside, inside ? (static_cast<long long>(blockIdx.z) * s.height + y) * s.width + x : 0};
}

__device__ __forceinline__ int2 my_range(const Scene& s) {
  const int* row = s.offsets + static_cast<long long>(blockIdx.z) * (gridDim.x * gridDim.y + 1);
  const int tile = blockIdx.y * gridDim.x + blockIdx.x;
  return make_int2(row[tile], row[tile + 1]);
}

// Every thread fetches one splat of the tile's list, from `start` on; those past `end` are left as they are.
template <int C>
__device__ __forceinline__ void fetch(const Scene& s, int start, int end, Batch<C>& batch) {
  const int position = start + threadIdx.x;
  if (threadIdx.x >= Batch<C>::kSize || position >= end) return;
  const long long row = static_cast<long long>(blockIdx.z) * s.n;
  const int index = s.lists[static_cast<long long>(blockIdx.z) * s.capacity + position];
  batch.indices[threadIdx.x] = index;
  batch.splats[threadIdx.x] = reinterpret_cast<const Splat*>(s.splats)[row + index];
  const float* from = s.values + ((s.shared ? 0 : row) + index) * s.channels;
#pragma unroll
  for (int c = 0; c < C; c++) batch.values[threadIdx.x][c] = c < s.channels ? from[c] : 0.f;
}

// Images without gradients; null where not asked for.
struct Picks {
  const int* labels;    // (n)
  float* median_depth;  // z of the splat that takes the transmittance to 1/2 or below, else 0
  int* label_image;     // label of the splat with the greatest weight, the nearest of equals, else -1
};

template <int C>
__device__ __forceinline__ void forward(const Scene& s, Batch<C>& batch, float* image, float* alpha, float* depth,
                                        const Picks& picks) {
  const Pixel pixel = my_pixel(s);
  const int2 range = my_range(s);
  const float px = pixel.x + 0.5f, py = pixel.y + 0.5f;
  float T = 1.f, weights = 0.f, depths = 0.f, sums[C] = {}, median = 0.f, best = 0.f;
  int label = -1;
  bool done = !pixel.inside;
  for (int start = range.x; start < range.y; start += Batch<C>::kSize) {
    if (__syncthreads_count(done) == kTilePixels) break;
    fetch(s, start, range.y, batch);
    __syncthreads();
    const int count = min(Batch<C>::kSize, range.y - start);
    for (int j = 0; j < count && !done; j++) {
      const Cover at = cover(batch.splats[j], px, py);
      if (at.alpha == 0.f) continue;
      const float weight = at.alpha * T;
#pragma unroll
      for (int c = 0; c < C; c++) sums[c] = fmaf(weight, batch.values[j][c], sums[c]);
      depths = fmaf(weight, batch.splats[j].z, depths);
      weights += weight;
      T = fmaf(-at.alpha, T, T);
      if (T <= 0.5f && median == 0.f) median = batch.splats[j].z;
      if (picks.labels && weight > best) best = weight, label = picks.labels[batch.indices[j]];
      done = T < kMinTransmittance;
    }
  }
  if (!pixel.inside) return;
#pragma unroll
  for (int c = 0; c < C; c++)
    if (c < s.channels) image[pixel.at * s.channels + c] = sums[c];
  alpha[pixel.at] = weights;
  depth[pixel.at] = depths / fmaxf(weights, kMinNorm);
  if (picks.median_depth) picks.median_depth[pixel.at] = median;
  if (picks.labels) picks.label_image[pixel.at] = label;
}

// Slopes of the loss at one pixel, and what remains of its sum.
template <int C>
struct Slopes {
  float values[C], weight, depth, rest;
};

template <int C>
__device__ __forceinline__ Slopes<C> read_slopes(const Scene& s, const Pixel& pixel, const float* image,
                                                 const float* alpha, const float* depth, const float* grad_image,
                                                 const float* grad_alpha, const float* grad_depth) {
  Slopes<C> o = {};
  if (!pixel.inside) return o;
  const float total = alpha[pixel.at];
  if (grad_alpha) o.weight = grad_alpha[pixel.at];
  if (grad_depth) {  // depth = sum(w z) / sum(w)
    o.depth = grad_depth[pixel.at] / fmaxf(total, kMinNorm);
    o.weight -= o.depth * depth[pixel.at];
    o.rest = o.depth * depth[pixel.at] * total;
  }
  o.rest += o.weight * total;
#pragma unroll
  for (int c = 0; c < C; c++) {
    if (c >= s.channels) continue;
    o.values[c] = grad_image[pixel.at * s.channels + c];
    o.rest += o.values[c] * image[pixel.at * s.channels + c];
  }
  return o;
}

// Adds `values[first ..]` of one splat, summed over the warp, to its row of gradients: one atomic per warp and value.
__device__ __forceinline__ void add_warp(float (&values)[16], int first, int count, float* row) {
  const float sum = warp_sums(values);
  const int lane = lane_index();
  if (lane < 16 && first + lane < count && sum != 0.f) atomicAdd(row + first + lane, sum);
}

template <int C>
__device__ __forceinline__ void backward(const Scene& s, Batch<C>& batch, const float* image, const float* alpha,
                                         const float* depth, const float* grad_image, const float* grad_alpha,
                                         const float* grad_depth, float* sums) {
  const Pixel pixel = my_pixel(s);
  const int2 range = my_range(s);
  const float px = pixel.x + 0.5f, py = pixel.y + 0.5f;
  const int row_floats = kGeometrySums + s.channels;
  Slopes<C> slopes = read_slopes<C>(s, pixel, image, alpha, depth, grad_image, grad_alpha, grad_depth);
  float T = 1.f;
  bool done = !pixel.inside;
  for (int start = range.x; start < range.y; start += Batch<C>::kSize) {
    if (__syncthreads_count(done) == kTilePixels) break;
    fetch(s, start, range.y, batch);
    __syncthreads();
    const int count = min(Batch<C>::kSize, range.y - start);
    for (int j = 0; j < count; j++) {
      if (__all_sync(WHOLE_WARP, done)) break;
      const Splat g = batch.splats[j];
      const Cover at = cover(g, px, py);
      const bool hit = !done && at.alpha != 0.f;
      if (!__any_sync(WHOLE_WARP, hit)) continue;
      float weight = 0.f, v = 0.f;
      if (hit) {
        weight = at.alpha * T;
        float value = fmaf(g.z, slopes.depth, slopes.weight);  // dL/dweight
#pragma unroll
        for (int c = 0; c < C; c++) value = fmaf(batch.values[j][c], slopes.values[c], value);
        slopes.rest = fmaf(-weight, value, slopes.rest);
        // dL/dalpha = T value - rest / (1 - alpha); none through the cap at 0.999
        if (at.raw <= kMaxAlpha) v = at.alpha * (T * value - slopes.rest / (1.f - at.alpha));
        T = fmaf(-at.alpha, T, T);
        done = T < kMinTransmittance;
      }
      float* row = sums + (static_cast<long long>(blockIdx.z) * s.n + batch.indices[j]) * row_floats;
#pragma unroll
      for (int first = 0; first < kGeometrySums + C; first += 16) {
        float values[16];
#pragma unroll
        for (int k = 0; k < 16; k++) {
          const int c = first + k - kGeometrySums;
          values[k] = c >= 0 && c < C ? weight * slopes.values[c < 0 || c >= C ? 0 : c] : 0.f;
        }
        if (first == 0) {
          values[kV] = v, values[kVx] = v * at.dx, values[kVy] = v * at.dy, values[kVxx] = v * at.dx * at.dx;
          values[kVxy] = v * at.dx * at.dy, values[kVyy] = v * at.dy * at.dy, values[kDepth] = weight * slopes.depth;
        }
        add_warp(values, first, row_floats, row);
      }
    }
  }
}

// Entries for up to 3, 8, 16 and 40 channels; grid (tiles across, tiles down, views), 256 threads.
//   values (n, channels), or (views, n, channels) unless `shared`; image (views, height, width, channels);
//   alpha, depth, median_depth and label_image (views, height, width); labels (n); sums (views, n, 7 + channels), added to.
//   May be null: labels (with label_image), median_depth, grad_alpha, grad_depth.
#define FORWARD_PARAMETERS                                                                                          \
  const float *splats, const float *values, const int *lists, const int *offsets, int n, int shared, int channels, \
      int capacity, int width, int height, float *image, float *alpha, float *depth, const int *labels,            \
      float *median_depth, int *label_image
#define BACKWARD_PARAMETERS                                                                                         \
  const float *splats, const float *values, const int *lists, const int *offsets, int n, int shared, int channels, \
      int capacity, int width, int height, const float *image, const float *alpha, const float *depth,             \
      const float *grad_image, const float *grad_alpha, const float *grad_depth, float *sums
#define SCENE {splats, values, lists, offsets, n, shared, channels, capacity, width, height}

extern "C" __global__ void __launch_bounds__(256) raster_forward_3(FORWARD_PARAMETERS) {
  __shared__ Batch<3> batch;
  forward<3>(SCENE, batch, image, alpha, depth, {labels, median_depth, label_image});
}
extern "C" __global__ void __launch_bounds__(256) raster_forward_8(FORWARD_PARAMETERS) {
  __shared__ Batch<8> batch;
  forward<8>(SCENE, batch, image, alpha, depth, {labels, median_depth, label_image});
}
extern "C" __global__ void __launch_bounds__(256) raster_forward_16(FORWARD_PARAMETERS) {
  __shared__ Batch<16> batch;
  forward<16>(SCENE, batch, image, alpha, depth, {labels, median_depth, label_image});
}
extern "C" __global__ void __launch_bounds__(256) raster_forward_40(FORWARD_PARAMETERS) {
  __shared__ Batch<40> batch;
  forward<40>(SCENE, batch, image, alpha, depth, {labels, median_depth, label_image});
}
extern "C" __global__ void __launch_bounds__(256) raster_backward_3(BACKWARD_PARAMETERS) {
  __shared__ Batch<3> batch;
  backward<3>(SCENE, batch, image, alpha, depth, grad_image, grad_alpha, grad_depth, sums);
}
extern "C" __global__ void __launch_bounds__(256) raster_backward_8(BACKWARD_PARAMETERS) {
  __shared__ Batch<8> batch;
  backward<8>(SCENE, batch, image, alpha, depth, grad_image, grad_alpha, grad_depth, sums);
}
extern "C" __global__ void __launch_bounds__(256) raster_backward_16(BACKWARD_PARAMETERS) {
  __shared__ Batch<16> batch;
  backward<16>(SCENE, batch, image, alpha, depth, grad_image, grad_alpha, grad_depth, sums);
}
extern "C" __global__ void __launch_bounds__(256) raster_backward_40(BACKWARD_PARAMETERS) {
  __shared__ Batch<40> batch;
  backward<40>(SCENE, batch, image, alpha, depth, grad_image, grad_alpha, grad_depth, sums);
}
