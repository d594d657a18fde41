// What one rasterised frame is made of: plain data shared by the driver and by every vector width.
#pragma once

#include <cstdint>

#include "maths/projection.h"

namespace visavis {

constexpr int kTile = 32;          // pixels along a tile's side
constexpr int kSlot = 16;          // floats per gradient slot (10 used; a slot is one cache line)
constexpr int kSums = 10;          // gradient sums per splat and tile, see Sum
constexpr float kMaxAlpha = maths::kMaxAlpha, kMinTransmittance = maths::kMinTransmittance, kNear = maths::kNear;
constexpr float kLog2MinAlpha = maths::kLog2MinAlpha, kLog2E = maths::kLog2E, kMinNorm = maths::kMinNorm;

// The moments that the tile pass gathers: with v = alpha * dL/dalpha, (dx, dy) = centre - pixel, w the blend weight.
enum Sum { kV, kVx, kVy, kVxx, kVxy, kVyy, kRed, kGreen, kBlue, kDepth };

// A projected Gaussian. log2 alpha = l2o - a dx^2 - b dx dy - c dy^2.
struct alignas(64) Splat {
  float x, y, a, b, c, l2o, red, green, blue, z;
  uint32_t first_slot;           // its gradient slots: one per tile of its rectangle, row by row
  uint16_t px0, px1, py0, py1;   // pixels it may touch, inclusive; px0 > px1 when it is culled

  VISAVIS_HD bool visible() const { return px0 <= px1; }
  VISAVIS_HD int tx0() const { return px0 / kTile; }
  VISAVIS_HD int ty0() const { return py0 / kTile; }
  VISAVIS_HD int tiles_x() const { return px1 / kTile - px0 / kTile + 1; }
  VISAVIS_HD int tiles() const { return tiles_x() * (py1 / kTile - py0 / kTile + 1); }
};

struct Pair {
  uint32_t key;  // bits of the (positive) depth: they sort like the depth itself
  uint32_t splat;
};

using Camera = maths::Camera<float>;

// Inputs and outputs belong to the caller; the rest to FrameState.
struct FrameView {
  Camera camera;
  int n, tiles_x, tiles_y, chunk, chunks;
  const float *means, *quats, *scales, *opacities, *colors;
  float *rgb, *alpha, *depth;
  const float *grad_rgb, *grad_alpha, *grad_depth;  // alpha and depth may be null
  float *grad_means, *grad_quats, *grad_scales, *grad_opacities, *grad_colors;
  Splat* splats;
  uint32_t* chunk_tiles;   // (chunks, tiles): pairs per tile, later where the chunk writes its next pair
  uint32_t* chunk_pairs;   // per chunk: number of pairs, later its first slot
  uint32_t* chunk_bad;     // per chunk: Gaussians with a NaN or infinity
  uint32_t* tile_offsets;  // (tiles + 1)
  Pair *pairs, *scratch;   // by tile; scratch is for sorting
  float* slots;

  VISAVIS_HD int tiles() const { return tiles_x * tiles_y; }
};

}  // namespace visavis
