// A layer of a Kolmogorov-Arnold network (Liu et al. 2024): every edge is a cubic B-spline plus a weighted SiLU.
//
// x (n, inputs). weights (inputs, rows, outputs): per input three zero rows, one row per basis function, three zero rows,
// the base branch; a cell at the rim then reads four rows without a test. A lane is an output.
#include "device.h"
#include "maths/kan.h"

constexpr int kRim = 3;    // zero rows on either side
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kPointsPerWarp = 4;
constexpr int kBlockPoints = kWarps * kPointsPerWarp;
constexpr int kTile = 32;  // inputs whose activations are in shared memory at a time
constexpr int kGroup = 8;  // inputs whose gradients a warp sums together
constexpr int kTerms = 5;  // four basis functions and the base branch
constexpr int kBase = 4;

struct Grid {
  float low, inverse_step;
  int bases;
};

// What depends on x alone.
struct Activation {
  int cell;  // first of the four rows
  float term[kTerms];
};

// Values (kSlope = false) or derivatives by x of the functions that live at x.
template <bool kSlope>
__device__ __forceinline__ Activation activation(const Grid& grid, float x) {
  using namespace visavis::maths;
  const float place = (x - grid.low) * grid.inverse_step + static_cast<float>(kRim);
  const int cells = grid.bases + kRim;
  const float inside = fminf(fmaxf(place, 0.f), static_cast<float>(cells));
  Activation a;
  a.cell = min(static_cast<int>(inside), cells - 1);
  const float u = inside - static_cast<float>(a.cell), gate = 1.f / (1.f + __expf(-x));
  if (kSlope)
    cubic_basis_slope(u, a.term);
  else
    cubic_basis(u, a.term);
  const float factor = place >= 0.f && place < static_cast<float>(cells) ? (kSlope ? grid.inverse_step : 1.f) : 0.f;
#pragma unroll
  for (int k = 0; k < kBase; k++) a.term[k] *= factor;
  a.term[kBase] = kSlope ? silu_slope(x, gate) : x * gate;
  return a;
}

__device__ __forceinline__ int row_count(const Grid& grid) { return grid.bases + 2 * kRim + 1; }

// Activations of a block's points at inputs [first, first + kTile).
template <bool kSlope>
__device__ __forceinline__ void read_tile(const Grid& grid, const float* x, int n, int inputs, int first,
                                          Activation (*tile)[kTile]) {
  for (int i = threadIdx.x; i < kBlockPoints * kTile; i += kThreads) {
    const int point = blockIdx.x * kBlockPoints + i / kTile, input = first + i % kTile;
    if (point < n && input < inputs)
      tile[i / kTile][i % kTile] = activation<kSlope>(grid, x[static_cast<long long>(point) * inputs + input]);
  }
}

// Grid (blocks of kBlockPoints points, blocks of 32 outputs).
extern "C" __global__ void __launch_bounds__(128)
    kan_forward(const float* x, const float* weights, int n, int inputs, int outputs, int bases, float low,
                float inverse_step, float* y) {
  __shared__ Activation tile[kBlockPoints][kTile];
  const Grid grid{low, inverse_step, bases};
  const int output = blockIdx.y * 32 + lane_index(), warp = threadIdx.x / 32, rows = row_count(grid);
  const int mine = min(output, outputs - 1);  // a lane beyond the last output works along and is not written
  float sums[kPointsPerWarp] = {};
  for (int first = 0; first < inputs; first += kTile) {
    __syncthreads();
    read_tile<false>(grid, x, n, inputs, first, tile);
    __syncthreads();
    const int count = min(kTile, inputs - first);
    for (int i = 0; i < count; i++) {
      const float* edge = weights + static_cast<long long>(first + i) * rows * outputs + mine;
#pragma unroll
      for (int p = 0; p < kPointsPerWarp; p++) {
        const int point = warp * kPointsPerWarp + p;
        if (blockIdx.x * kBlockPoints + point >= static_cast<unsigned>(n)) break;
        const Activation& a = tile[point][i];
#pragma unroll
        for (int k = 0; k < kBase; k++) sums[p] = fmaf(a.term[k], edge[(a.cell + k) * outputs], sums[p]);
        sums[p] = fmaf(a.term[kBase], edge[(rows - 1) * outputs], sums[p]);
      }
    }
  }
  if (output >= outputs) return;
#pragma unroll
  for (int p = 0; p < kPointsPerWarp; p++) {
    const int point = blockIdx.x * kBlockPoints + warp * kPointsPerWarp + p;
    if (point < n) y[static_cast<long long>(point) * outputs + output] = sums[p];
  }
}

// grad_x. Grid (blocks of kBlockPoints points, tiles of kTile inputs); a warp takes one point after the other.
extern "C" __global__ void __launch_bounds__(128)
    kan_backward_inputs(const float* x, const float* weights, const float* grad_y, int n, int inputs, int outputs,
                        int bases, float low, float inverse_step, float* grad_x) {
  __shared__ Activation tile[kBlockPoints][kTile];
  const Grid grid{low, inverse_step, bases};
  const int first = blockIdx.y * kTile, warp = threadIdx.x / 32, rows = row_count(grid);
  read_tile<true>(grid, x, n, inputs, first, tile);
  __syncthreads();
  for (int p = 0; p < kPointsPerWarp; p++) {
    const int in_block = warp * kPointsPerWarp + p, point = blockIdx.x * kBlockPoints + in_block;
    if (point >= n) return;  // the whole warp
    const float* slopes = grad_y + static_cast<long long>(point) * outputs;
#pragma unroll 1
    for (int group = 0; group < kTile && first + group < inputs; group += kGroup) {
      float dots[kGroup] = {};
      for (int o = lane_index(); o < outputs; o += 32) {
        const float slope = slopes[o];
#pragma unroll
        for (int i = 0; i < kGroup; i++) {
          if (first + group + i >= inputs) continue;
          const Activation& a = tile[in_block][group + i];
          const float* edge = weights + static_cast<long long>(first + group + i) * rows * outputs + o;
          float total = a.term[kBase] * edge[(rows - 1) * outputs];
#pragma unroll
          for (int k = 0; k < kBase; k++) total = fmaf(a.term[k], edge[(a.cell + k) * outputs], total);
          dots[i] = fmaf(total, slope, dots[i]);
        }
      }
      const float sum = warp_sums(dots);
      const int input = first + group + lane_index();
      if (lane_index() < kGroup && input < inputs) grad_x[static_cast<long long>(point) * inputs + input] = sum;
    }
  }
}

// Gradients of one input's weights, of 32 outputs, over one chunk of points: partials (chunks, inputs, rows, outputs).
// Grid (inputs, chunks, blocks of 32 outputs); dynamic shared memory for kWarps * rows * 32 floats. No atomics: a lane owns
// a column of its warp's sums, and those are added in the order of the warps.
extern "C" __global__ void __launch_bounds__(128)
    kan_backward_weights(const float* x, const float* grad_y, int n, int inputs, int outputs, int bases, float low,
                         float inverse_step, int chunk_points, float* partials) {
  DYNAMIC_SHARED(float, sums);
  const Grid grid{low, inverse_step, bases};
  const int rows = row_count(grid), warp = threadIdx.x / 32, lane = lane_index();
  const int input = blockIdx.x, output = blockIdx.z * 32 + lane;
  float* mine = sums + warp * rows * 32 + lane;
  for (int r = 0; r < rows; r++) mine[r * 32] = 0.f;
  const int begin = blockIdx.y * chunk_points, end = min(n, begin + chunk_points);
  for (int first = begin + warp * 32; first < end; first += kThreads) {
    const int count = min(32, end - first);
    Activation a{};
    if (lane < count) a = activation<false>(grid, x[static_cast<long long>(first + lane) * inputs + input]);
    for (int p = 0; p < count; p++) {
      const int cell = __shfl_sync(WHOLE_WARP, a.cell, p);
      const float slope = output < outputs ? grad_y[static_cast<long long>(first + p) * outputs + output] : 0.f;
#pragma unroll
      for (int k = 0; k < kTerms; k++) {
        float* at = mine + (k < kBase ? cell + k : rows - 1) * 32;
        *at = fmaf(__shfl_sync(WHOLE_WARP, a.term[k], p), slope, *at);
      }
    }
  }
  __syncthreads();
  float* out = partials + (static_cast<long long>(blockIdx.y) * inputs + input) * rows * outputs;
  for (int i = threadIdx.x; i < rows * 32; i += kThreads) {
    const int to = blockIdx.z * 32 + i % 32;
    if (to >= outputs) continue;
    float total = 0.f;
#pragma unroll
    for (int w = 0; w < kWarps; w++) total += sums[w * rows * 32 + i];
    out[static_cast<long long>(i / 32) * outputs + to] = total;
  }
}
