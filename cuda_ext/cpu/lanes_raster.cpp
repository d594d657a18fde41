// One tile of the image: sort its splats by depth, blend them front to back, and the gradient of that.
//
// A tile is cut into blocks of one vector of pixels. A pixel takes splats until its transmittance falls below 1e-4 (the
// splat that crosses the line is the last). Ties in depth go by the splat's index.
#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kBlockW = kLanes >= 8 ? 4 : 2;
constexpr int kBlockH = kLanes / kBlockW;
constexpr int kBlocksX = kTile / kBlockW, kBlocksY = kTile / kBlockH, kBlocks = kBlocksX * kBlocksY;
constexpr int kBatch = 128;  // splats handed out to the blocks at a time
constexpr int kAhead = 16;   // splats are fetched this many before their turn: they lie all over the memory

// Stable radix sort, 8 bits per pass, of keys relative to the tile's nearest; the result ends in `pairs`.
void sort_pairs(Pair* pairs, Pair* scratch, uint32_t count) {
  if (count < 2) return;
  uint32_t lowest = pairs[0].key, highest = lowest;
  for (uint32_t i = 1; i < count; i++) {
    const uint32_t key = pairs[i].key;
    lowest = key < lowest ? key : lowest;
    highest = key > highest ? key : highest;
  }
  Pair *from = pairs, *to = scratch;
  for (int shift = 0; shift < 32 && ((highest - lowest) >> shift) != 0; shift += 8) {
    uint32_t start[256] = {};
    for (uint32_t i = 0; i < count; i++) start[((from[i].key - lowest) >> shift) & 255]++;
    for (uint32_t d = 0, total = 0; d < 256; d++) {
      const uint32_t c = start[d];
      start[d] = total, total += c;
    }
    for (uint32_t i = 0; i < count; i++) to[start[((from[i].key - lowest) >> shift) & 255]++] = from[i];
    Pair* swap = from;
    from = to, to = swap;
  }
  if (from != pairs) memcpy(pairs, from, sizeof(Pair) * count);
}

struct Tile {
  int x0, y0, width, height;  // pixels; narrower at the right and lower border
};

VISAVIS_INLINE Tile tile_at(const FrameView& f, int tile) {
  const int x0 = tile % f.tiles_x * kTile, y0 = tile / f.tiles_x * kTile;
  return {x0, y0, imin(kTile, f.camera.width - x0), imin(kTile, f.camera.height - y0)};
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

// Read channel c of a (h, w, channels) image for every pixel of block (bx, by); 0 outside the image.
VISAVIS_INLINE vf read_block(const float* image, int channels, int c, const Tile& t, int stride, int bx, int by) {
  float lanes[kLanes];
  for (int l = 0; l < kLanes; l++) {
    const int x = bx * kBlockW + l % kBlockW, y = by * kBlockH + l / kBlockW;
    const bool inside = x < t.width && y < t.height;
    lanes[l] = inside ? image[((int64_t)(t.y0 + y) * stride + t.x0 + x) * channels + c] : 0.f;
  }
  return load(lanes);
}

VISAVIS_INLINE void write_block(float* image, int channels, int c, const Tile& t, int stride, int bx, int by, vf v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int l = 0; l < kLanes; l++) {
    const int x = bx * kBlockW + l % kBlockW, y = by * kBlockH + l / kBlockW;
    if (x < t.width && y < t.height)
      image[((int64_t)(t.y0 + y) * stride + t.x0 + x) * channels + c] = lanes[l];
  }
}

// 1 inside the image, 0 outside: there a block is done before it starts.
VISAVIS_INLINE vf start_transmittance(const Tile& t, int bx, int by) {
  vf v;
  for (int l = 0; l < kLanes; l++)
    v[l] = bx * kBlockW + l % kBlockW < t.width && by * kBlockH + l / kBlockW < t.height ? 1.f : 0.f;
  return v;
}

struct BlockLists {
  Splat local[kBatch];  // centres relative to the tile
  uint8_t members[kBlocks][kBatch];
  int count[kBlocks];
};

struct BlockState {
  vf T, red, green, blue, weight, depth;
};

// `end` bounds the tile's pairs.
VISAVIS_INLINE void hand_out(const FrameView& f, const Tile& t, const Pair* pairs, int count, const Pair* end,
                             BlockLists& lists) {
  memset(lists.count, 0, sizeof lists.count);
  for (int i = 0; i < count; i++) {
    if (pairs + i + kAhead < end) __builtin_prefetch(f.splats + pairs[i + kAhead].splat);
    Splat& s = lists.local[i];
    s = f.splats[pairs[i].splat];
    s.x -= t.x0, s.y -= t.y0;
    const BlockRange r = blocks_of(s, t);
    for (int by = r.y0; by <= r.y1; by++)
      for (int bx = r.x0; bx <= r.x1; bx++) {
        const int b = by * kBlocksX + bx;
        lists.members[b][lists.count[b]++] = i;
      }
  }
}

// Blend the batch's splats into one block; true when all its pixels are opaque.
VISAVIS_INLINE bool blend_block(const BlockLists& lists, int block, vf px, vf py, BlockState& state) {
  const uint8_t* members = lists.members[block];
  BlockState s = state;
  vm alive = ge(s.T, broadcast(kMinTransmittance));
  for (int j = 0, n = lists.count[block]; j < n; j++) {
    const Splat& g = lists.local[members[j]];
    const vf dx = g.x - px, dy = g.y - py;
    const vf constant = maths::row_constant(dy, broadcast(g.c), broadcast(g.l2o));
    const vf l2a = maths::log2_alpha(dx, broadcast(g.a), g.b * dy, constant);
    const vm hit = ge(l2a, broadcast(kLog2MinAlpha));
    const vf alpha = select(hit, min(exp2(l2a), broadcast(kMaxAlpha)), vf{});
    const vf weight = select(alive, alpha * s.T, vf{});
    s.red = fma(weight, broadcast(g.red), s.red);
    s.green = fma(weight, broadcast(g.green), s.green);
    s.blue = fma(weight, broadcast(g.blue), s.blue);
    s.depth = fma(weight, broadcast(g.z), s.depth);
    s.weight += weight;
    s.T = s.T * (1.f - alpha);
    alive = ge(s.T, broadcast(kMinTransmittance));
    if (!any(alive)) break;
  }
  state = s;
  return !any(alive);
}

void write_tile(const FrameView& f, const Tile& t, const BlockState* states) {
  const int stride = f.camera.width;
  for (int b = 0; b < kBlocks; b++) {
    const int bx = b % kBlocksX, by = b / kBlocksX;
    if (bx * kBlockW >= t.width || by * kBlockH >= t.height) continue;
    const BlockState& s = states[b];
    write_block(f.rgb, 3, 0, t, stride, bx, by, s.red);
    write_block(f.rgb, 3, 1, t, stride, bx, by, s.green);
    write_block(f.rgb, 3, 2, t, stride, bx, by, s.blue);
    write_block(f.alpha, 1, 0, t, stride, bx, by, s.weight);
    write_block(f.depth, 1, 0, t, stride, bx, by, s.depth / max(s.weight, broadcast(kMinNorm)));
  }
}

void clear_tile(const FrameView& f, const Tile& t) {
  for (int y = t.y0; y < t.y0 + t.height; y++) {
    const int64_t at = (int64_t)y * f.camera.width + t.x0;
    memset(f.rgb + 3 * at, 0, sizeof(float) * 3 * t.width);
    memset(f.alpha + at, 0, sizeof(float) * t.width);
    memset(f.depth + at, 0, sizeof(float) * t.width);
  }
}

}  // namespace

void raster(const FrameView& f, int tile) {
  const Tile t = tile_at(f, tile);
  Pair* pairs = f.pairs + f.tile_offsets[tile];
  const int count = f.tile_offsets[tile + 1] - f.tile_offsets[tile];
  if (count == 0) return clear_tile(f, t);
  sort_pairs(pairs, f.scratch + f.tile_offsets[tile], count);
  const Centres centres;
  BlockLists lists;
  BlockState states[kBlocks];
  bool done[kBlocks];
  int remaining = 0;
  for (int b = 0; b < kBlocks; b++) {
    states[b] = BlockState();
    states[b].T = start_transmittance(t, b % kBlocksX, b / kBlocksX);
    done[b] = !any(ge(states[b].T, broadcast(kMinTransmittance)));
    remaining += !done[b];
  }
  for (int start = 0; start < count && remaining; start += kBatch) {
    hand_out(f, t, pairs + start, imin(kBatch, count - start), pairs + count, lists);
    for (int b = 0; b < kBlocks; b++) {
      if (done[b] || lists.count[b] == 0) continue;
      done[b] = blend_block(lists, b, centres.x[b % kBlocksX], centres.y[b / kBlocksX], states[b]);
      remaining -= done[b];
    }
  }
  write_tile(f, t, states);
}

namespace {

struct BlockGradient {
  vf T;                            // transmittance before the next splat
  vf rest;                         // sum over the splats still to come of w * (dL/dw)
  vf red, green, blue, weight, depth;  // dL/d(that channel's sum)
};

template <bool kWithDepth>
VISAVIS_INLINE void start_block(const FrameView& f, const Tile& t, int b, BlockGradient& s) {
  const int bx = b % kBlocksX, by = b / kBlocksX, stride = f.camera.width;
  s.T = start_transmittance(t, bx, by);
  s.red = read_block(f.grad_rgb, 3, 0, t, stride, bx, by);
  s.green = read_block(f.grad_rgb, 3, 1, t, stride, bx, by);
  s.blue = read_block(f.grad_rgb, 3, 2, t, stride, bx, by);
  const vf weight = read_block(f.alpha, 1, 0, t, stride, bx, by);
  s.weight = f.grad_alpha ? read_block(f.grad_alpha, 1, 0, t, stride, bx, by) : vf{};
  s.rest = s.red * read_block(f.rgb, 3, 0, t, stride, bx, by) + s.green * read_block(f.rgb, 3, 1, t, stride, bx, by) +
           s.blue * read_block(f.rgb, 3, 2, t, stride, bx, by);
  if (kWithDepth) {  // depth = sum(w z) / sum(w)
    const vf depth = read_block(f.depth, 1, 0, t, stride, bx, by);
    s.depth = read_block(f.grad_depth, 1, 0, t, stride, bx, by) / max(weight, broadcast(kMinNorm));
    s.weight -= s.depth * depth;
    s.rest += s.depth * depth * weight;
  }
  s.rest += s.weight * weight;
}

template <bool kWithDepth>
VISAVIS_INLINE void splat_backward(const Splat& g, const Tile& t, const Centres& centres, BlockGradient* states,
                                   bool* done, int& remaining, float* slot) {
  const BlockRange range = blocks_of(g, t);
  const float gx = g.x - t.x0, gy = g.y - t.y0;
  vf sums[kSums] = {};
  for (int by = range.y0; by <= range.y1; by++) {
    const vf dy = gy - centres.y[by];
    const vf linear = g.b * dy, constant = maths::row_constant(dy, broadcast(g.c), broadcast(g.l2o));
    for (int bx = range.x0; bx <= range.x1; bx++) {
      const int b = by * kBlocksX + bx;
      if (done[b]) continue;
      BlockGradient& s = states[b];
      const vf dx = gx - centres.x[bx];
      const vf l2a = maths::log2_alpha(dx, broadcast(g.a), linear, constant);
      const vm hit = ge(l2a, broadcast(kLog2MinAlpha)) & ge(s.T, broadcast(kMinTransmittance));
      if (!any(hit)) continue;
      const vf raw = exp2(l2a), T = s.T;
      const vf alpha = select(hit, min(raw, broadcast(kMaxAlpha)), vf{});
      const vf weight = alpha * T;
      vf value = fma(broadcast(g.red), s.red, s.weight);  // dL/dw
      value = fma(broadcast(g.green), s.green, value);
      value = fma(broadcast(g.blue), s.blue, value);
      if (kWithDepth) value = fma(broadcast(g.z), s.depth, value);
      const vf rest = fnma(weight, value, s.rest), through = 1.f - alpha;
      const vf next = T * through;
      s.rest = rest, s.T = next;
      // dL/dalpha = T value - rest / (1 - alpha); none through the cap at 0.999
      const vf slope = fnma(rest, reciprocal(through), T * value);
      const vf v = select(ge(broadcast(kMaxAlpha), raw), alpha * slope, vf{});
      const vf vx = v * dx, vy = v * dy;
      sums[kV] += v, sums[kVx] += vx, sums[kVy] += vy;
      sums[kVxx] = fma(vx, dx, sums[kVxx]), sums[kVxy] = fma(vx, dy, sums[kVxy]), sums[kVyy] = fma(vy, dy, sums[kVyy]);
      sums[kRed] = fma(weight, s.red, sums[kRed]), sums[kGreen] = fma(weight, s.green, sums[kGreen]);
      sums[kBlue] = fma(weight, s.blue, sums[kBlue]);
      if (kWithDepth) sums[kDepth] = fma(weight, s.depth, sums[kDepth]);
      if (!any(ge(next, broadcast(kMinTransmittance)))) done[b] = true, remaining--;
    }
  }
  sum_each<kSums>(sums, slot);
}

template <bool kWithDepth>
VISAVIS_INLINE void tile_backward(const FrameView& f, int tile) {
  const Tile t = tile_at(f, tile);
  const Centres centres;
  BlockGradient states[kBlocks];
  bool done[kBlocks];
  int remaining = 0;
  for (int b = 0; b < kBlocks; b++) {
    start_block<kWithDepth>(f, t, b, states[b]);
    done[b] = !any(ge(states[b].T, broadcast(kMinTransmittance)));
    remaining += !done[b];
  }
  const int tx = t.x0 / kTile, ty = t.y0 / kTile;
  for (uint32_t k = f.tile_offsets[tile]; k < f.tile_offsets[tile + 1]; k++) {
    if (k + kAhead < f.tile_offsets[tile + 1]) __builtin_prefetch(f.splats + f.pairs[k + kAhead].splat);
    const Splat& g = f.splats[f.pairs[k].splat];
    const int64_t at = g.first_slot + (ty - g.ty0()) * g.tiles_x() + (tx - g.tx0());
    float* slot = f.slots + at * kSlot;
    if (remaining)
      splat_backward<kWithDepth>(g, t, centres, states, done, remaining, slot);
    else
      memset(slot, 0, sizeof(float) * kSums);
  }
}

}  // namespace

// Front to back like the forward pass: what remains of a pixel's colour is its total minus what was blended so far, so
// nothing is divided by the transmittance and no last index is kept.
void raster_backward(const FrameView& f, int tile) {
  if (f.tile_offsets[tile] == f.tile_offsets[tile + 1]) return;
  if (f.grad_depth)
    tile_backward<true>(f, tile);
  else
    tile_backward<false>(f, tile);
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
