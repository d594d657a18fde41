// Which splats each tile draws, nearest first: a stable counting sort of the depth-ordered splats into tiles.
//
// Splats go in chunks of 256. Within a chunk every tile belongs to one thread, which walks through the splats in order:
// stable without any sorting of (tile, splat) pairs.
#include "splat.h"

constexpr int kChunk = 256;
constexpr int kScanThreads = 1024;

// From tile counts (views, tiles) to offsets (views, tiles + 1) into lists of `capacity` entries. What does not fit is
// cut off; `needed` (views) tells how many entries there should be.
extern "C" __global__ void __launch_bounds__(1024)
    tile_offsets(const int* counts, int tiles, int capacity, int* offsets, int* needed) {
  __shared__ int scratch[32];
  const int view = blockIdx.x;
  const int* row = counts + static_cast<long long>(view) * tiles;
  int* out = offsets + static_cast<long long>(view) * (tiles + 1);
  int before = 0;
  for (int start = 0; start < tiles; start += kScanThreads) {
    const int i = start + threadIdx.x;
    int total;
    const int sum = block_scan<kScanThreads>(i < tiles ? row[i] : 0, scratch, total);
    if (i < tiles) out[i] = min(before + sum, capacity);
    before += total;
  }
  if (threadIdx.x == 0) out[tiles] = min(before, capacity), needed[view] = before;
}

__device__ __forceinline__ TileRect rect_in_order(const int* rects, const int* order, int n, int view, int rank,
                                                  int& index) {
  const long long row = static_cast<long long>(view) * n;
  index = rank < n ? order[row + rank] : 0;
  return rank < n ? reinterpret_cast<const TileRect*>(rects)[row + index] : TileRect{-1, -1};
}

// chunk_counts (views, chunks, tiles), added to: splats of each chunk (grid x) on each tile.
extern "C" __global__ void __launch_bounds__(256)
    chunk_count(const int* rects, const int* order, int n, int tiles_x, int tiles, int* chunk_counts) {
  const int view = blockIdx.y;
  int index;
  const TileRect rect = rect_in_order(rects, order, n, view, blockIdx.x * kChunk + threadIdx.x, index);
  if (rect.none()) return;
  int* counts = chunk_counts + (static_cast<long long>(view) * gridDim.x + blockIdx.x) * tiles;
  for (int ty = rect.y0(); ty <= rect.y1(); ty++)
    for (int tx = rect.x0(); tx <= rect.x1(); tx++) atomicAdd(counts + ty * tiles_x + tx, 1);
}

// From chunk counts to where each chunk's entries of each tile start. One thread per tile.
extern "C" __global__ void __launch_bounds__(256)
    chunk_offsets(const int* offsets, int tiles, int chunks, int* chunk_counts) {
  const int tile = blockIdx.x * blockDim.x + threadIdx.x, view = blockIdx.y;
  if (tile >= tiles) return;
  int place = offsets[static_cast<long long>(view) * (tiles + 1) + tile];
  for (int chunk = 0; chunk < chunks; chunk++) {
    int* at = chunk_counts + (static_cast<long long>(view) * chunks + chunk) * tiles + tile;
    const int count = *at;
    *at = place;
    place += count;
  }
}

// lists (views, capacity): the splats of each tile, nearest first. `next` is what chunk_offsets left.
extern "C" __global__ void __launch_bounds__(256)
    tile_scatter(const int* rects, const int* order, int n, int tiles_x, int tiles, int capacity, int* next, int* lists) {
  __shared__ TileRect chunk_rects[kChunk];
  __shared__ int chunk_indices[kChunk];
  const int view = blockIdx.y;
  chunk_rects[threadIdx.x] =
      rect_in_order(rects, order, n, view, blockIdx.x * kChunk + threadIdx.x, chunk_indices[threadIdx.x]);
  __syncthreads();
  const int my_x = threadIdx.x % 16, my_y = threadIdx.x / 16;
  int* const mine = next + (static_cast<long long>(view) * gridDim.x + blockIdx.x) * tiles;
  int* const list = lists + static_cast<long long>(view) * capacity;
  for (int j = 0; j < kChunk; j++) {
    const TileRect rect = chunk_rects[j];
    if (rect.none()) break;  // they come last
    for (int ty = rect.y0() + ((my_y - rect.y0()) & 15); ty <= rect.y1(); ty += 16)
      for (int tx = rect.x0() + ((my_x - rect.x0()) & 15); tx <= rect.x1(); tx += 16) {
        const int place = mine[ty * tiles_x + tx]++;
        if (place < capacity) list[place] = chunk_indices[j];
      }
  }
}
