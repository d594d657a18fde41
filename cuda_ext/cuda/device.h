// What all kernels share. Included by NVRTC, and by g++ after the tests' harness: no standard headers.
#pragma once

// CUDA's own spelling; the tests' harness brings another.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(T, name) extern __shared__ T name[]
#endif

#define WHOLE_WARP 0xffffffffu

__device__ __forceinline__ int lane_index() { return threadIdx.x & 31; }

// The sum over the warp, in every lane.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int d = 16; d; d >>= 1) value += __shfl_xor_sync(WHOLE_WARP, value, d);
  return value;
}

// Sums K = 2, 4, 8, 16 or 32 values over the warp with K - 1 + log2(32 / K) shuffles: each step halves the values that a
// lane still holds. Lane l gets the sum of values[l % K].
template <int K>
__device__ __forceinline__ float warp_sums(float (&values)[K]) {
  const int lane = lane_index();
#pragma unroll
  for (int half = K / 2; half; half >>= 1) {
    const bool upper = lane & half;
#pragma unroll
    for (int i = 0; i < half; i++) {
      const float mine = upper ? values[i + half] : values[i], others = upper ? values[i] : values[i + half];
      values[i] = mine + __shfl_xor_sync(WHOLE_WARP, others, half);
    }
  }
  float total = values[0];
#pragma unroll
  for (int d = K; d < 32; d <<= 1) total += __shfl_xor_sync(WHOLE_WARP, total, d);
  return total;
}

// Exclusive prefix sum over a block of `kThreads` (a multiple of 32, at most 1024); `total` is the whole sum. `scratch`
// is shared memory for 32 values. Every thread must come here.
template <int kThreads>
__device__ __forceinline__ int block_scan(int value, int* scratch, int& total) {
  const int lane = lane_index(), warp = threadIdx.x / 32;
  int inclusive = value;
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    const int left = __shfl_up_sync(WHOLE_WARP, inclusive, d);
    if (lane >= d) inclusive += left;
  }
  if (lane == 31) scratch[warp] = inclusive;
  __syncthreads();
  int before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < kThreads / 32; w++) {
    before += w < warp ? scratch[w] : 0;
    total += scratch[w];
  }
  __syncthreads();  // `scratch` may be used again at once
  return before + inclusive - value;
}
