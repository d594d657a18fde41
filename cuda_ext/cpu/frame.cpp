#include <algorithm>
#include <atomic>
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
std::atomic<size_t> memory_limit{size_t{512} << 20};

// Work below these takes about 0.1 ms at most: another thread takes 10 to 50 us to wake up, or longer on a busy machine.
constexpr size_t kFewGaussians = 3072, kFewPairs = 4096;  // in all views; pairs of a Gaussian and a tile

bool few_gaussians(const FrameView& v) { return (size_t)v.n * v.cameras < kFewGaussians; }

// About ten pixels make as much work as a pair.
bool few_pairs(const FrameView& v) {
  return v.tile_offsets[v.all_tiles()] + (size_t)v.cameras * v.width * v.height / 10 < kFewPairs;
}

}  // namespace

int64_t FrameState::forward() {
  FrameView& v = view;
  v.camera = cameras.data(), v.cameras = (int)cameras.size();
  v.width = cameras[0].width, v.height = cameras[0].height;
  v.tiles_x = (v.width + kTile - 1) / kTile;
  v.tiles_y = (v.height + kTile - 1) / kTile;
  v.chunk = std::max(kSmallestChunk, ((v.n + kMostChunks - 1) / kMostChunks + 63) / 64 * 64);
  v.chunks = (v.n + v.chunk - 1) / v.chunk;
  const size_t all = (size_t)v.n * v.cameras, tiles = v.all_tiles();
  needed_ = all * (sizeof(Splat) + (v.normals ? 3 * sizeof(float) : 0)) + tiles * v.chunks * sizeof(uint32_t);
  check_memory(needed_);
  v.splats = splats_.reserve(all);
  v.splat_normals = v.normals ? splat_normals_.reserve(3 * all) : nullptr;
  v.chunk_tiles = chunk_tiles_.reserve(v.chunks * tiles);
  v.chunk_pairs = chunk_pairs_.reserve(v.chunks);
  v.chunk_bad = chunk_bad_.reserve(v.chunks);
  v.tile_offsets = tile_offsets_.reserve(tiles + 1);

  const Kernels& k = kernels();
  parallel_unless(few_gaussians(v), v.chunks, [&](int chunk) { k.project(v, chunk); });
  int64_t bad = 0;
  for (int c = 0; c < v.chunks; c++) bad += v.chunk_bad[c];
  if (bad) return bad;
  scatter_pairs();
  parallel_unless(few_pairs(v), (int)tiles, [&](int tile) { k.raster(v, tile); });
  return 0;
}

// A counting sort of (tile, Gaussian) pairs by tile that keeps the Gaussians' order within a tile.
void FrameState::scatter_pairs() {
  FrameView& v = view;
  const int tiles = v.all_tiles();
  uint64_t slots = 0;
  for (int c = 0; c < v.chunks; c++) {
    const uint64_t count = v.chunk_pairs[c];
    v.chunk_pairs[c] = slots;
    slots += count;
  }
  needed_ += slots * 2 * sizeof(Pair);
  check_memory(needed_);
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

  parallel_unless(few_gaussians(v), v.chunks, [&](int chunk) {
    const int begin = chunk * v.chunk, end = std::min(begin + v.chunk, v.n);
    for (int camera = 0; camera < v.cameras; camera++) {
      uint32_t* next = v.chunk_tiles + (size_t)chunk * tiles + (size_t)camera * v.tiles();
      const uint32_t base = (uint32_t)camera * v.n;
      for (uint32_t i = base + begin; i < base + end; i++) {
        Splat& s = v.splats[i];
        if (!s.visible()) continue;
        s.first_slot += (uint32_t)v.chunk_pairs[chunk];
        Pair pair{0, i};
        static_assert(sizeof pair.key == sizeof s.z, "depth bits are the key");
        std::memcpy(&pair.key, &s.z, sizeof pair.key);
        for (int ty = s.py0 / kTile; ty <= s.py1 / kTile; ty++)
          for (int tx = s.px0 / kTile; tx <= s.px1 / kTile; tx++) v.pairs[next[ty * v.tiles_x + tx]++] = pair;
      }
    }
  });
}

void FrameState::backward() {
  FrameView& v = view;
  const bool extras = v.grad_feature_image || v.grad_normals;
  const size_t pairs = v.tile_offsets[v.all_tiles()], views = (size_t)v.cameras * 12;
  check_memory(needed_ + pairs * (kSlot + (extras ? v.extra_stride() : 0)) * sizeof(float));
  v.slots = slots_.reserve(pairs * kSlot);
  v.extra_slots = extras ? extra_slots_.reserve(pairs * v.extra_stride()) : nullptr;
  v.chunk_views = v.grad_views ? chunk_views_.reserve(v.chunks * views) : nullptr;
  const Kernels& k = kernels();
  parallel_unless(few_pairs(v), v.all_tiles(), [&](int tile) { k.raster_backward(v, tile); });
  parallel_unless(few_gaussians(v), v.chunks, [&](int chunk) { k.project_backward(v, chunk); });
  for (size_t i = 0; v.grad_views && i < views; i++) {
    double total = 0;
    for (int c = 0; c < v.chunks; c++) total += v.chunk_views[c * views + i];
    v.grad_views[i] = (float)total;
  }
}

void FrameState::check_memory(size_t bytes) const {
  const size_t limit = memory_limit.load();
  if (bytes > limit) throw OverLimit(bytes, limit);
}

OverLimit::OverLimit(size_t needed, size_t limit)
    : text_("rasterising needs " + std::to_string(needed >> 20) + " MB of working memory, more than the limit of " +
            std::to_string(limit >> 20) + " MB") {}

size_t get_memory_limit() { return memory_limit.load(); }
void set_memory_limit(size_t bytes) { memory_limit.store(bytes); }

size_t FrameState::bytes() const {
  return splats_.bytes() + chunk_tiles_.bytes() + chunk_pairs_.bytes() + chunk_bad_.bytes() + tile_offsets_.bytes() +
         pairs_.bytes() + scratch_.bytes() + splat_normals_.bytes() + slots_.bytes() + extra_slots_.bytes() +
         chunk_views_.bytes();
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
