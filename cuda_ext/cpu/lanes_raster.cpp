// One tile of the image: sort its splats by depth, blend them front to back.
//
// A tile is cut into blocks of one vector of pixels. A pixel takes splats until its transmittance falls below 1e-4 (the
// splat that crosses the line is the last). Ties in depth go by the splat's index.
#include "tile.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kBatch = 128;  // splats handed out to the blocks at a time

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

// The features and the normal of each splat of a batch, padded with zeros to whole groups; its label.
struct ExtraLists {
  float values[kBatch][kMaxExtras];
  float label[kBatch];
};

struct BlockLists {
  Splat local[kBatch];  // centres relative to the tile
  uint8_t members[kBlocks][kBatch];
  int count[kBlocks];
};

struct BlockState {
  vf T, red, green, blue, weight, depth;
};

struct ExtraState {
  vf median, best_weight, label;
  vf sums[kMaxExtras];
};

VISAVIS_INLINE void hand_out_extras(const FrameView& f, const Tile& t, uint32_t splat, int i, ExtraLists& lists) {
  const int64_t gaussian = splat - t.first_splat;
  float* out = lists.values[i];
  const int channels = f.feature_image ? f.channels : 0;
  for (int k = 0; k < channels; k++) out[k] = f.features[gaussian * f.channels + k];
  for (int k = channels; k < f.extra_stride(); k++) out[k] = 0.f;
  for (int k = 0; f.normals && k < 3; k++) out[channels + k] = f.splat_normals[3 * (int64_t)splat + k];
  lists.label[i] = f.labels ? (float)f.labels[gaussian] : 0.f;
}

// `end` bounds the tile's pairs.
template <bool kExtras>
VISAVIS_INLINE void hand_out(const FrameView& f, const Tile& t, const Pair* pairs, int count, const Pair* end,
                             BlockLists& lists, ExtraLists* extras) {
  memset(lists.count, 0, sizeof lists.count);
  for (int i = 0; i < count; i++) {
    if (pairs + i + kAhead < end) __builtin_prefetch(f.splats + pairs[i + kAhead].splat);
    Splat& s = lists.local[i];
    s = f.splats[pairs[i].splat];
    s.x -= t.x0, s.y -= t.y0;
    if constexpr (kExtras) hand_out_extras(f, t, pairs[i].splat, i, *extras);
    const BlockRange r = blocks_of(s, t);
    for (int by = r.y0; by <= r.y1; by++)
      for (int bx = r.x0; bx <= r.x1; bx++) {
        const int b = by * kBlocksX + bx;
        lists.members[b][lists.count[b]++] = i;
      }
  }
}

// The median depth is that of the splat which takes the transmittance to one half; the label that of the greatest weight.
VISAVIS_INLINE void pick(vf weight, vf T_after, float z, float label, ExtraState& s) {
  const auto crossed = ge(broadcast(0.5f), T_after) & ge(vf{}, s.median);
  s.median = select(crossed, broadcast(z), s.median);
  s.label = select(ge(s.best_weight, weight), s.label, broadcast(label));
  s.best_weight = max(s.best_weight, weight);
}

// Adds the channels of the splats that a block has just blended with these weights.
VISAVIS_INLINE void blend_extras(const uint8_t* members, const vf* weights, int count, int groups,
                                 const ExtraLists& lists, ExtraState& state) {
  for (int g = 0; g < groups; g++) {
    vf* out = state.sums + g * kExtraGroup;
    vf sums[kExtraGroup];
    for (int k = 0; k < kExtraGroup; k++) sums[k] = out[k];
    for (int j = 0; j < count; j++) {
      const float* values = lists.values[members[j]] + g * kExtraGroup;
      for (int k = 0; k < kExtraGroup; k++) sums[k] = fma(weights[j], broadcast(values[k]), sums[k]);
    }
    for (int k = 0; k < kExtraGroup; k++) out[k] = sums[k];
  }
}

// Blend the batch's splats into one block; true when all its pixels are opaque.
template <bool kExtras>
VISAVIS_INLINE bool blend_block(const BlockLists& lists, int block, vf px, vf py, BlockState& state,
                                const ExtraLists* extra_lists, ExtraState* extras, int groups) {
  const uint8_t* members = lists.members[block];
  BlockState s = state;
  vf weights[kExtras ? kBatch : 1];
  vm alive = ge(s.T, broadcast(kMinTransmittance));
  int j = 0;
  for (const int n = lists.count[block]; j < n;) {
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
    if constexpr (kExtras) {
      weights[j] = weight;
      pick(weight, s.T, g.z, extra_lists->label[members[j]], *extras);
    }
    j++;
    alive = ge(s.T, broadcast(kMinTransmittance));
    if (!any(alive)) break;
  }
  state = s;
  if constexpr (kExtras) blend_extras(members, weights, j, groups, *extra_lists, *extras);
  return !any(alive);
}

void write_tile(const FrameView& f, const Tile& t, const BlockState* states) {
  for (int b = 0; b < kBlocks; b++) {
    const int bx = b % kBlocksX, by = b / kBlocksX;
    if (bx * kBlockW >= t.width || by * kBlockH >= t.height) continue;
    const BlockState& s = states[b];
    write_block(Channel<float>{f.rgb, 3, 0}, t, bx, by, s.red);
    write_block(Channel<float>{f.rgb, 3, 1}, t, bx, by, s.green);
    write_block(Channel<float>{f.rgb, 3, 2}, t, bx, by, s.blue);
    write_block(Channel<float>{f.alpha, 1, 0}, t, bx, by, s.weight);
    write_block(Channel<float>{f.depth, 1, 0}, t, bx, by, s.depth / max(s.weight, broadcast(kMinNorm)));
  }
}

void write_extras(const FrameView& f, const Tile& t, const ExtraState* states) {
  const int channels = f.feature_image ? f.channels : 0;
  for (int b = 0; b < kBlocks; b++) {
    const int bx = b % kBlocksX, by = b / kBlocksX;
    if (bx * kBlockW >= t.width || by * kBlockH >= t.height) continue;
    const ExtraState& s = states[b];
    for (int k = 0; k < channels; k++) write_block(Channel<float>{f.feature_image, channels, k}, t, bx, by, s.sums[k]);
    for (int k = 0; k < 3; k++) write_block(Channel<float>{f.normals, 3, k}, t, bx, by, s.sums[channels + k]);
    write_block(Channel<float>{f.median_depth, 1, 0}, t, bx, by, s.median);
    write_block(Channel<int32_t>{f.label_image, 1, 0}, t, bx, by, s.label);
  }
}

void clear_tile(const FrameView& f, const Tile& t) {
  fill_tile(f.rgb, 3, 0.f, t), fill_tile(f.alpha, 1, 0.f, t), fill_tile(f.depth, 1, 0.f, t);
  fill_tile(f.feature_image, f.channels, 0.f, t), fill_tile(f.normals, 3, 0.f, t);
  fill_tile(f.median_depth, 1, 0.f, t), fill_tile(f.label_image, 1, -1, t);
}

template <bool kExtras>
VISAVIS_OWN_FRAME void raster_tile(const FrameView& f, const Tile& t, const Pair* pairs, int count) {
  const Centres centres;
  BlockLists lists;
  BlockState states[kBlocks];
  ExtraLists extra_lists[1];
  ExtraState extras[kExtras ? kBlocks : 1];
  const int groups = f.extra_stride() / kExtraGroup;
  bool done[kBlocks];
  int remaining = 0;
  for (int b = 0; b < kBlocks; b++) {
    states[b] = BlockState();
    states[b].T = start_transmittance(t, b % kBlocksX, b / kBlocksX);
    done[b] = !any(ge(states[b].T, broadcast(kMinTransmittance)));
    remaining += !done[b];
    if constexpr (kExtras) extras[b] = ExtraState(), extras[b].label = broadcast(-1.f);
  }
  for (int start = 0; start < count && remaining; start += kBatch) {
    hand_out<kExtras>(f, t, pairs + start, imin(kBatch, count - start), pairs + count, lists, extra_lists);
    for (int b = 0; b < kBlocks; b++) {
      if (done[b] || lists.count[b] == 0) continue;
      done[b] = blend_block<kExtras>(lists, b, centres.x[b % kBlocksX], centres.y[b / kBlocksX], states[b],
                                     extra_lists, extras + (kExtras ? b : 0), groups);
      remaining -= done[b];
    }
  }
  write_tile(f, t, states);
  if constexpr (kExtras) write_extras(f, t, extras);
}

}  // namespace

void raster(const FrameView& f, int tile) {
  const Tile t = tile_at(f, tile);
  Pair* pairs = f.pairs + f.tile_offsets[tile];
  const int count = f.tile_offsets[tile + 1] - f.tile_offsets[tile];
  if (count == 0) return clear_tile(f, t);
  sort_pairs(pairs, f.scratch + f.tile_offsets[tile], count);
  if (f.with_extras())
    raster_tile<true>(f, t, pairs, count);
  else
    raster_tile<false>(f, t, pairs, count);
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
