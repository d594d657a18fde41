// Hash tri-plane encoder: bilinear look-ups in three planes at several resolutions, and back.
//
// points (n, 3); levels (l, 3): resolution, hash mask or 0, first row; table (3, rows, features);
// encoded (n, 3 l features). Gradients of the table are summed with atomics: their last bit may differ between runs.
#include "device.h"
#include "maths/triplane.h"

using visavis::maths::TriplaneLevel;

constexpr int kLevelNumbers = 3;

struct Cell {
  long long row[4];  // of the plane's table: corners 00, 10, 01, 11
  float weight[4];
  float u, v;
};

__device__ __forceinline__ TriplaneLevel level_of(const int* levels, int level) {
  const int* numbers = levels + level * kLevelNumbers;
  return {numbers[0], static_cast<unsigned>(numbers[1]), numbers[2]};
}

__device__ __forceinline__ float clamped(float x) { return fminf(fmaxf(x, 0.f), 1.f); }

__device__ __forceinline__ Cell cell_at(const TriplaneLevel& level, int plane, const float* point) {
  const float resolution = static_cast<float>(level.resolution);
  const float u = clamped(point[visavis::maths::plane_axis(plane, 0)]) * resolution;
  const float v = clamped(point[visavis::maths::plane_axis(plane, 1)]) * resolution;
  const unsigned column = static_cast<unsigned>(fminf(u, resolution - 1.f));
  const unsigned line = static_cast<unsigned>(fminf(v, resolution - 1.f));
  Cell cell;
  cell.u = u - static_cast<float>(column), cell.v = v - static_cast<float>(line);
#pragma unroll
  for (int c = 0; c < 4; c++) {
    cell.row[c] = level.first + visavis::maths::corner_row(level, column + (c & 1), line + (c >> 1));
    cell.weight[c] = (c & 1 ? cell.u : 1.f - cell.u) * (c >> 1 ? cell.v : 1.f - cell.v);
  }
  return cell;
}

// Grid (blocks of points, 3 * levels): a block stays in one table.
extern "C" __global__ void __launch_bounds__(256)
    triplane_forward(const float* points, const float* table, const int* levels, int n, int level_count, int rows,
                     int features, float* encoded) {
  const int point = blockIdx.x * blockDim.x + threadIdx.x, plane = blockIdx.y / level_count;
  if (point >= n) return;
  const Cell cell = cell_at(level_of(levels, blockIdx.y % level_count), plane, points + 3ll * point);
  const float* mine = table + static_cast<long long>(plane) * rows * features;
  float* out = encoded + (static_cast<long long>(point) * gridDim.y + blockIdx.y) * features;
  for (int f = 0; f < features; f++) {
    float value = 0.f;
#pragma unroll
    for (int c = 0; c < 4; c++) value = fmaf(cell.weight[c], mine[cell.row[c] * features + f], value);
    out[f] = value;
  }
}

// Adds to grad_table. Grid as above.
extern "C" __global__ void __launch_bounds__(256)
    triplane_backward(const float* points, const float* grad_encoded, const int* levels, int n, int level_count, int rows,
                      int features, float* grad_table) {
  const int point = blockIdx.x * blockDim.x + threadIdx.x, plane = blockIdx.y / level_count;
  if (point >= n) return;
  const Cell cell = cell_at(level_of(levels, blockIdx.y % level_count), plane, points + 3ll * point);
  float* mine = grad_table + static_cast<long long>(plane) * rows * features;
  const float* slopes = grad_encoded + (static_cast<long long>(point) * gridDim.y + blockIdx.y) * features;
  for (int f = 0; f < features; f++)
#pragma unroll
    for (int c = 0; c < 4; c++) atomicAdd(mine + cell.row[c] * features + f, cell.weight[c] * slopes[f]);
}

// One thread per point sums over all planes and levels. Grid (blocks of points).
extern "C" __global__ void __launch_bounds__(256)
    triplane_points_backward(const float* points, const float* table, const float* grad_encoded, const int* levels, int n,
                             int level_count, int rows, int features, float* grad_points) {
  const int point = blockIdx.x * blockDim.x + threadIdx.x;
  if (point >= n) return;
  const float* slopes = grad_encoded + static_cast<long long>(point) * 3 * level_count * features;
  float sums[3] = {};
#pragma unroll
  for (int plane = 0; plane < 3; plane++) {
    const float* mine = table + static_cast<long long>(plane) * rows * features;
    for (int l = 0; l < level_count; l++, slopes += features) {
      const TriplaneLevel level = level_of(levels, l);
      const Cell cell = cell_at(level, plane, points + 3ll * point);
      float dots[4] = {};
      for (int f = 0; f < features; f++)
#pragma unroll
        for (int c = 0; c < 4; c++) dots[c] = fmaf(slopes[f], mine[cell.row[c] * features + f], dots[c]);
      const float scale = static_cast<float>(level.resolution);
      const float by_u = (dots[1] - dots[0]) * (1.f - cell.v) + (dots[3] - dots[2]) * cell.v;
      const float by_v = (dots[2] - dots[0]) * (1.f - cell.u) + (dots[3] - dots[1]) * cell.u;
      sums[visavis::maths::plane_axis(plane, 0)] += scale * by_u;
      sums[visavis::maths::plane_axis(plane, 1)] += scale * by_v;
    }
  }
#pragma unroll
  for (int axis = 0; axis < 3; axis++) {
    const float x = points[3ll * point + axis];
    grad_points[3ll * point + axis] = x >= 0.f && x <= 1.f ? sums[axis] : 0.f;
  }
}
