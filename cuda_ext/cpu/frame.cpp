#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "frame_state.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {
namespace {

constexpr int kSmallestChunk = 512, kMostChunks = 64;
constexpr size_t kPooledFrames = 8;

}  // namespace

int64_t FrameState::forward() {
  FrameView& v = view;
  v.tiles_x = (v.camera.width + kTile - 1) / kTile;
  v.tiles_y = (v.camera.height + kTile - 1) / kTile;
  v.chunk = std::max(kSmallestChunk, ((v.n + kMostChunks - 1) / kMostChunks + 63) / 64 * 64);
  v.chunks = (v.n + v.chunk - 1) / v.chunk;
  v.splats = splats_.reserve(v.n);
  v.chunk_tiles = chunk_tiles_.reserve((size_t)v.chunks * v.tiles());
  v.chunk_pairs = chunk_pairs_.reserve(v.chunks);
  v.chunk_bad = chunk_bad_.reserve(v.chunks);
  v.tile_offsets = tile_offsets_.reserve(v.tiles() + 1);

  const Kernels& k = kernels();
  parallel(v.chunks, [&](int chunk) { k.project(v, chunk); });
  int64_t bad = 0;
  for (int c = 0; c < v.chunks; c++) bad += v.chunk_bad[c];
  if (bad) return bad;
  scatter_pairs();
  parallel(v.tiles(), [&](int tile) { k.raster(v, tile); });
  return 0;
}

// A counting sort of (tile, Gaussian) pairs by tile that keeps the Gaussians' order within a tile.
void FrameState::scatter_pairs() {
  FrameView& v = view;
  const int tiles = v.tiles();
  uint64_t slots = 0;
  for (int c = 0; c < v.chunks; c++) {
    const uint32_t count = v.chunk_pairs[c];
    v.chunk_pairs[c] = (uint32_t)slots;
    slots += count;
  }
  if (slots > UINT32_MAX) throw std::length_error("the Gaussians cover more than 2^32 tiles");
  uint32_t total = 0;
  for (int t = 0; t < tiles; t++) {
    v.tile_offsets[t] = total;
    for (int c = 0; c < v.chunks; c++) {
      uint32_t& entry = v.chunk_tiles[(size_t)c * tiles + t];
      const uint32_t count = entry;
      entry = total;
      total += count;
    }
  }
  v.tile_offsets[tiles] = total;
  v.pairs = pairs_.reserve(total);
  v.scratch = scratch_.reserve(total);

  parallel(v.chunks, [&](int chunk) {
    uint32_t* next = v.chunk_tiles + (size_t)chunk * tiles;
    const int end = std::min((chunk + 1) * v.chunk, v.n);
    for (int i = chunk * v.chunk; i < end; i++) {
      Splat& s = v.splats[i];
      if (!s.visible()) continue;
      s.first_slot += v.chunk_pairs[chunk];
      Pair pair{0, (uint32_t)i};
      static_assert(sizeof pair.key == sizeof s.z, "depth bits are the key");
      std::memcpy(&pair.key, &s.z, sizeof pair.key);
      for (int ty = s.py0 / kTile; ty <= s.py1 / kTile; ty++)
        for (int tx = s.px0 / kTile; tx <= s.px1 / kTile; tx++) v.pairs[next[ty * v.tiles_x + tx]++] = pair;
    }
  });
}

void FrameState::backward() {
  FrameView& v = view;
  v.slots = slots_.reserve((size_t)v.tile_offsets[v.tiles()] * kSlot);
  const Kernels& k = kernels();
  parallel(v.tiles(), [&](int tile) { k.raster_backward(v, tile); });
  parallel(v.chunks, [&](int chunk) { k.project_backward(v, chunk); });
}

size_t FrameState::bytes() const {
  return splats_.bytes() + chunk_tiles_.bytes() + chunk_pairs_.bytes() + chunk_bad_.bytes() + tile_offsets_.bytes() +
         pairs_.bytes() + scratch_.bytes() + slots_.bytes();
}

namespace {

struct FramePool {
  std::mutex mutex;
  std::vector<FrameState*> free;
};

FramePool& frame_pool() {
  static FramePool* const pool = new FramePool;  // never destroyed: frames may be given back while Python shuts down
  return *pool;
}

}  // namespace

FramePointer take_frame() {
  FramePool& pool = frame_pool();
  {
    std::lock_guard<std::mutex> lock(pool.mutex);
    if (!pool.free.empty()) {
      FrameState* frame = pool.free.back();
      pool.free.pop_back();
      return FramePointer(frame);
    }
  }
  return FramePointer(new FrameState);
}

void Recycle::operator()(FrameState* frame) const {
  FramePool& pool = frame_pool();
  {
    std::lock_guard<std::mutex> lock(pool.mutex);
    if (pool.free.size() < kPooledFrames) return pool.free.push_back(frame);
  }
  delete frame;
}

}  // namespace visavis
