// Stable radix sort of depth keys, 8 bits a pass, all views of a batch at once: count, scan, scatter.
#include "device.h"

constexpr int kThreads = 256;
constexpr int kDigits = 256;  // = kThreads: one thread per digit
constexpr int kWarps = kThreads / 32;
constexpr int kRounds = 8;    // keys per thread
constexpr int kKeys = kThreads * kRounds;
constexpr int kScanThreads = 1024;

__device__ __forceinline__ int digit_of(int key, int shift) { return (static_cast<unsigned>(key) >> shift) & 255; }

// How often each digit occurs in each block's keys: histogram (views, 256, blocks).
extern "C" __global__ void __launch_bounds__(256) sort_count(const int* keys, int n, int shift, int* histogram) {
  __shared__ int counts[kDigits];
  const int view = blockIdx.y;
  counts[threadIdx.x] = 0;
  __syncthreads();
  for (int r = 0; r < kRounds; r++) {
    const int i = blockIdx.x * kKeys + r * kThreads + threadIdx.x;
    if (i < n) atomicAdd(counts + digit_of(keys[static_cast<long long>(view) * n + i], shift), 1);
  }
  __syncthreads();
  histogram[(view * kDigits + threadIdx.x) * gridDim.x + blockIdx.x] = counts[threadIdx.x];
}

// Exclusive prefix sums in place, one block per row of `count` values.
extern "C" __global__ void __launch_bounds__(1024) scan_rows(int* values, int count) {
  __shared__ int scratch[32];
  int* row = values + static_cast<long long>(blockIdx.x) * count;
  int before = 0;
  for (int start = 0; start < count; start += kScanThreads) {
    const int i = start + threadIdx.x;
    int total;
    const int sum = block_scan<kScanThreads>(i < count ? row[i] : 0, scratch, total);
    if (i < count) row[i] = before + sum;
    before += total;
  }
}

// Moves keys, and the values beside them, to where the scanned histogram says. Without values, their indices are moved.
extern "C" __global__ void __launch_bounds__(256)
    sort_scatter(const int* keys, const int* values, int n, int shift, const int* histogram, int* keys_out,
                 int* values_out) {
  __shared__ int next[kWarps][kDigits];  // at first: how many of a digit the warp has had
  const int view = blockIdx.y, lane = lane_index(), warp = threadIdx.x / 32;
  const long long row = static_cast<long long>(view) * n;
  for (int w = 0; w < kWarps; w++) next[w][threadIdx.x] = 0;
  __syncthreads();
  // A warp's keys are consecutive, so that ranks follow the input's order.
  const int start = blockIdx.x * kKeys + warp * 32 * kRounds;
  int key[kRounds], rank[kRounds];
#pragma unroll
  for (int r = 0; r < kRounds; r++) {
    const int i = start + 32 * r + lane;
    key[r] = i < n ? keys[row + i] : 0;
    const int digit = i < n ? digit_of(key[r], shift) : kDigits;
    const unsigned equals = __match_any_sync(WHOLE_WARP, digit);
    const int before = __popc(equals & ((1u << lane) - 1));
    rank[r] = i < n ? next[warp][digit] + before : 0;
    __syncwarp();
    if (i < n && before == 0) next[warp][digit] += __popc(equals);
    __syncwarp();
  }
  __syncthreads();
  int place = histogram[(view * kDigits + threadIdx.x) * gridDim.x + blockIdx.x];
  for (int w = 0; w < kWarps; w++) {
    const int count = next[w][threadIdx.x];
    next[w][threadIdx.x] = place;
    place += count;
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kRounds; r++) {
    const int i = start + 32 * r + lane;
    if (i >= n) continue;
    const int to = next[warp][digit_of(key[r], shift)] + rank[r];
    keys_out[row + to] = key[r];
    values_out[row + to] = values == nullptr ? i : values[row + i];
  }
}
