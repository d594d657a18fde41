// A tile of one camera's image and the blocks of one vector of pixels that it is cut into.
#pragma once

#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

constexpr int kBlockW = kLanes >= 8 ? 4 : 2;
constexpr int kBlockH = kLanes / kBlockW;
constexpr int kBlocksX = kTile / kBlockW, kBlocksY = kTile / kBlockH, kBlocks = kBlocksX * kBlocksY;
constexpr int kAhead = 16;  // splats are fetched this many before their turn: they lie all over the memory

struct Tile {
  int x0, y0, width, height;  // pixels; narrower at the right and lower border
  int stride;                 // pixels from one row to the next
  int64_t first_pixel;        // the camera's, in a stack of images
  int64_t first_splat;        // the camera's
};

VISAVIS_INLINE Tile tile_at(const FrameView& f, int tile) {
  const int camera = tile / f.tiles(), local = tile % f.tiles();
  const int x0 = local % f.tiles_x * kTile, y0 = local / f.tiles_x * kTile;
  return {x0,      y0,      imin(kTile, f.width - x0), imin(kTile, f.height - y0),
          f.width, (int64_t)camera * f.width * f.height, (int64_t)camera * f.n};
}

struct BlockRange {
  int x0, x1, y0, y1;
};

VISAVIS_INLINE BlockRange blocks_of(const Splat& s, const Tile& t) {
  return {imax(s.px0 - t.x0, 0) / kBlockW, imin(s.px1 - t.x0, kTile - 1) / kBlockW, imax(s.py0 - t.y0, 0) / kBlockH,
          imin(s.py1 - t.y0, kTile - 1) / kBlockH};
}

// Pixel centres of the tile's blocks, relative to the tile.
struct Centres {
  vf x[kBlocksX], y[kBlocksY];
  Centres() {
    vf lx, ly;
    for (int l = 0; l < kLanes; l++) lx[l] = l % kBlockW + 0.5f, ly[l] = l / kBlockW + 0.5f;
    for (int b = 0; b < kBlocksX; b++) x[b] = lx + (float)(b * kBlockW);
    for (int b = 0; b < kBlocksY; b++) y[b] = ly + (float)(b * kBlockH);
  }
};

// One channel of a stack of images (cameras, h, w, channels); image null: not given.
template <class V>
struct Channel {
  V* image;
  int channels, c;

  VISAVIS_HD V& at(const Tile& t, int x, int y) const {
    return image[(t.first_pixel + (int64_t)(t.y0 + y) * t.stride + t.x0 + x) * channels + c];
  }
};

// Every pixel of block (bx, by); 0 outside the image and without an image.
VISAVIS_INLINE vf read_block(Channel<const float> from, const Tile& t, int bx, int by) {
  if (!from.image) return vf{};
  float lanes[kLanes];
  for (int l = 0; l < kLanes; l++) {
    const int x = bx * kBlockW + l % kBlockW, y = by * kBlockH + l / kBlockW;
    lanes[l] = x < t.width && y < t.height ? from.at(t, x, y) : 0.f;
  }
  return load(lanes);
}

template <class V>
VISAVIS_INLINE void write_block(Channel<V> to, const Tile& t, int bx, int by, vf v) {
  if (!to.image) return;
  float lanes[kLanes];
  store(lanes, v);
  for (int l = 0; l < kLanes; l++) {
    const int x = bx * kBlockW + l % kBlockW, y = by * kBlockH + l / kBlockW;
    if (x < t.width && y < t.height) to.at(t, x, y) = (V)lanes[l];
  }
}

template <class V>
VISAVIS_INLINE void fill_tile(V* image, int channels, V value, const Tile& t) {
  if (!image) return;
  for (int y = 0; y < t.height; y++) {
    V* row = &Channel<V>{image, channels, 0}.at(t, 0, y);
    for (int i = 0; i < t.width * channels; i++) row[i] = value;
  }
}

// 1 inside the image, 0 outside: there a block is done before it starts.
VISAVIS_INLINE vf start_transmittance(const Tile& t, int bx, int by) {
  vf v;
  for (int l = 0; l < kLanes; l++)
    v[l] = bx * kBlockW + l % kBlockW < t.width && by * kBlockH + l / kBlockW < t.height ? 1.f : 0.f;
  return v;
}

// Which gradient slot belongs to a splat in this tile.
VISAVIS_INLINE int64_t slot_of(const Splat& s, const Tile& t) {
  return s.first_slot + (int64_t)(t.y0 / kTile - s.ty0()) * s.tiles_x() + (t.x0 / kTile - s.tx0());
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
