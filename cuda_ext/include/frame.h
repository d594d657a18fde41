// What one rasterised frame is made of: plain data shared by the driver and by every vector width.
#pragma once

#include <cstdint>

#include "maths/projection.h"

namespace visavis {

constexpr int kTile = 32;          // pixels along a tile's side
constexpr int kSlot = 16;          // floats per gradient slot (10 used; a slot is one cache line)
constexpr int kSums = 10;          // gradient sums per splat and tile, see Sum
constexpr int kMaxChannels = 32;   // feature channels
constexpr int kExtraGroup = 4;     // feature and normal channels are blended so many at a time
constexpr int kMaxExtras = kMaxChannels + kExtraGroup;  // with a normal, rounded up to groups
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
  uint32_t splat;  // camera * n + Gaussian
};

using Camera = maths::Camera<float>;

// Inputs and outputs belong to the caller; the rest to FrameState. Null: not wanted, or not given. Images have a
// leading camera axis.
struct FrameView {
  int n, cameras, width, height, channels, harmonics;
  int tiles_x, tiles_y, chunk, chunks;
  const Camera* camera;    // (cameras), all of size width x height
  const float *means, *quats, *scales, *opacities;
  const float* colors;     // (n, 3), or with harmonics > 0 (n, harmonics, 3): see maths/sh.h
  const float* features;   // (n, channels)
  const int32_t* labels;   // (n)
  float *rgb, *alpha, *depth;
  float *feature_image, *normals, *median_depth;
  int32_t* label_image;
  const float *grad_rgb, *grad_alpha, *grad_depth, *grad_feature_image, *grad_normals;
  float *grad_means, *grad_quats, *grad_scales, *grad_opacities, *grad_colors, *grad_features;
  float* grad_views;       // (cameras, 12)
  Splat* splats;           // (cameras, n)
  float* splat_normals;    // (cameras, n, 3)
  uint32_t* chunk_tiles;   // (chunks, all tiles): pairs per tile, later where the chunk writes its next pair
  uint64_t* chunk_pairs;   // per chunk: number of pairs, later its first slot
  uint32_t* chunk_bad;     // per chunk: Gaussians with a NaN or infinity
  float* chunk_views;      // (chunks, cameras, 12): parts of grad_views
  uint32_t* tile_offsets;  // (all tiles + 1)
  Pair *pairs, *scratch;   // by tile; scratch is for sorting
  float *slots, *extra_slots;

  VISAVIS_HD int tiles() const { return tiles_x * tiles_y; }  // of one camera
  VISAVIS_HD int all_tiles() const { return cameras * tiles(); }
  VISAVIS_HD bool with_extras() const { return feature_image || normals || median_depth || label_image; }
  // What is blended beside RGB and depth: the feature channels, then the normal.
  VISAVIS_HD int extras() const { return (feature_image ? channels : 0) + (normals ? 3 : 0); }
  VISAVIS_HD int extra_stride() const { return (extras() + kExtraGroup - 1) / kExtraGroup * kExtraGroup; }
};

}  // namespace visavis
