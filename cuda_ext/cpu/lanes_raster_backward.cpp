// The gradient of one tile, front to back like the forward pass: what remains of a pixel's colour is its total minus what
// was blended so far, so nothing is divided by the transmittance and no last index is kept.
#include "tile.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

struct BlockGradient {
  vf T;                                // transmittance before the next splat
  vf rest;                             // sum over the splats still to come of w * (dL/dw)
  vf red, green, blue, weight, depth;  // dL/d(that channel's sum)
};

struct ExtraGradient {
  vf channels[kMaxExtras];  // dL/d(that channel's sum)
};

template <bool kDepthToo>
VISAVIS_INLINE void start_block(const FrameView& f, const Tile& t, int b, BlockGradient& s) {
  const int bx = b % kBlocksX, by = b / kBlocksX;
  const auto read = [&](const float* image, int channels, int c) {
    return read_block(Channel<const float>{image, channels, c}, t, bx, by);
  };
  s.T = start_transmittance(t, bx, by);
  s.red = read(f.grad_rgb, 3, 0), s.green = read(f.grad_rgb, 3, 1), s.blue = read(f.grad_rgb, 3, 2);
  s.weight = read(f.grad_alpha, 1, 0);
  s.rest = s.red * read(f.rgb, 3, 0) + s.green * read(f.rgb, 3, 1) + s.blue * read(f.rgb, 3, 2);
  const vf weight = read(f.alpha, 1, 0);
  if (kDepthToo) {  // depth = sum(w z) / sum(w)
    const vf depth = read(f.depth, 1, 0);
    s.depth = read(f.grad_depth, 1, 0) / max(weight, broadcast(kMinNorm));
    s.weight -= s.depth * depth;
    s.rest += s.depth * depth * weight;
  }
  s.rest += s.weight * weight;
}

VISAVIS_INLINE void start_extras(const FrameView& f, const Tile& t, int b, BlockGradient& s, ExtraGradient& e) {
  const int bx = b % kBlocksX, by = b / kBlocksX, channels = f.feature_image ? f.channels : 0;
  for (int k = 0; k < f.extra_stride(); k++) {
    const bool is_feature = k < channels;
    const int of = is_feature ? channels : 3, c = is_feature ? k : k - channels;
    const float* gradient = is_feature ? f.grad_feature_image : f.grad_normals;
    const bool wanted = gradient && k < f.extras();
    e.channels[k] = read_block(Channel<const float>{wanted ? gradient : nullptr, of, c}, t, bx, by);
    if (!wanted) continue;
    const float* image = is_feature ? f.feature_image : f.normals;
    s.rest += e.channels[k] * read_block(Channel<const float>{image, of, c}, t, bx, by);
  }
}

// The splat's features and normal as the forward pass saw them.
VISAVIS_INLINE void extras_of(const FrameView& f, const Tile& t, uint32_t splat, float* out) {
  const int channels = f.feature_image ? f.channels : 0;
  const int64_t gaussian = splat - t.first_splat;
  for (int k = 0; k < channels; k++) out[k] = f.features[gaussian * f.channels + k];
  for (int k = channels; k < f.extra_stride(); k++) out[k] = 0.f;
  for (int k = 0; f.normals && k < 3; k++) out[channels + k] = f.splat_normals[3 * (int64_t)splat + k];
}

template <bool kDepthToo, bool kExtras>
VISAVIS_INLINE void splat_backward(const Splat& g, const Tile& t, const Centres& centres, BlockGradient* states,
                                   bool* done, int& remaining, float* slot, const float* values,
                                   const ExtraGradient* extras, int channels, float* extra_slot) {
  const BlockRange range = blocks_of(g, t);
  const float gx = g.x - t.x0, gy = g.y - t.y0;
  vf sums[kSums] = {}, extra_sums[kExtras ? kMaxExtras : 1];
  for (int k = 0; kExtras && k < channels; k++) extra_sums[k] = vf{};
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
      if (kDepthToo) value = fma(broadcast(g.z), s.depth, value);
      if constexpr (kExtras) {
        const vf* slope = extras[b].channels;
        for (int k = 0; k < channels; k++) {
          value = fma(broadcast(values[k]), slope[k], value);
          extra_sums[k] = fma(weight, slope[k], extra_sums[k]);
        }
      }
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
      if (kDepthToo) sums[kDepth] = fma(weight, s.depth, sums[kDepth]);
      if (!any(ge(next, broadcast(kMinTransmittance)))) done[b] = true, remaining--;
    }
  }
  sum_each<kSums>(sums, slot);
  for (int k = 0; kExtras && k < channels; k++) extra_slot[k] = sum(extra_sums[k]);
}

template <bool kDepthToo, bool kExtras>
VISAVIS_OWN_FRAME void tile_backward(const FrameView& f, int tile) {
  const Tile t = tile_at(f, tile);
  const Centres centres;
  BlockGradient states[kBlocks];
  ExtraGradient extras[kExtras ? kBlocks : 1];
  float values[kMaxExtras];
  bool done[kBlocks];
  int remaining = 0;
  for (int b = 0; b < kBlocks; b++) {
    start_block<kDepthToo>(f, t, b, states[b]);
    if constexpr (kExtras) start_extras(f, t, b, states[b], extras[b]);
    done[b] = !any(ge(states[b].T, broadcast(kMinTransmittance)));
    remaining += !done[b];
  }
  const int channels = f.extra_stride();
  for (uint32_t k = f.tile_offsets[tile], end = f.tile_offsets[tile + 1]; k < end; k++) {
    if (k + kAhead < end) __builtin_prefetch(f.splats + f.pairs[k + kAhead].splat);
    const Splat& g = f.splats[f.pairs[k].splat];
    float* slot = f.slots + slot_of(g, t) * kSlot;
    float* extra_slot = kExtras ? f.extra_slots + slot_of(g, t) * channels : nullptr;
    if (remaining) {
      if constexpr (kExtras) extras_of(f, t, f.pairs[k].splat, values);
      splat_backward<kDepthToo, kExtras>(g, t, centres, states, done, remaining, slot, values, extras, channels,
                                         extra_slot);
    } else {
      memset(slot, 0, sizeof(float) * kSums);
      if (kExtras) memset(extra_slot, 0, sizeof(float) * channels);
    }
  }
}

}  // namespace

void raster_backward(const FrameView& f, int tile) {
  if (f.tile_offsets[tile] == f.tile_offsets[tile + 1]) return;
  if (f.extra_slots)
    f.grad_depth ? tile_backward<true, true>(f, tile) : tile_backward<false, true>(f, tile);
  else
    f.grad_depth ? tile_backward<true, false>(f, tile) : tile_backward<false, false>(f, tile);
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
