// What the kernels of deformation fields and of the optimiser work on: plain data shared by the drivers and by every
// vector width.
#pragma once

#include <cstdint>

#include "maths/adam.h"
#include "maths/triplane.h"

namespace visavis {

// One tensor of an Adam step.
struct AdamTensor {
  float* param;
  const float* grad;
  float *first, *second;  // moments
  int64_t count;
  maths::AdamRates<float> rates;
};

// A per-Gaussian linear map in reduced precision. Sixteen rows (one Gaussian has one row per channel) make a block, and
// inside a block one feature's sixteen values lie side by side: no sum across lanes is needed, at any width.
constexpr int kPackedRows = 16;
enum class PackedStorage { kInt8, kHalf };
struct PackedView {
  int64_t rows;
  int features;
  PackedStorage storage;
  const void* data;     // (blocks, features, kPackedRows)
  const float* scales;  // (rows)
  const float* inputs;  // (features)
  float* out;           // (rows)
};

constexpr int kMaxLevels = 32;
constexpr int kPointPad = 16;  // coordinates are padded to the widest vector
struct TriplaneView {
  int n, padded, levels, features;
  int64_t rows;  // of one plane's table
  maths::TriplaneLevel level[kMaxLevels];
  const float* points;       // (n, 3)
  const float* coords;       // (3, padded) clamped to [0, 1]
  const float* table;        // (3, rows, features)
  float* columns;            // (3 * levels, stride): outputs, or their gradients; see the two functions below
  float* out;                // (n, 3 * levels * features)
  float* grad_table;         // like table
  float* grad_points;        // (n, 3); null when nobody asks

  // What a column's points are worth begins at values(). Backwards, the two slopes at a point's place, vector by
  // vector, take the memory of the gradients that they were computed from; there is too little of it with one feature.
  VISAVIS_HD int64_t values() const { return features == 1 ? 2 * (int64_t)padded : 0; }
  VISAVIS_HD int64_t stride() const { return values() + (int64_t)features * padded; }
};

// One KAN layer. The weights of an input are rows of `padded` outputs: three zero rows, one per basis function, three
// zero rows, the base branch. The zero rows let a cell at the rim read four rows without a test.
constexpr int kSplineRim = 3;
struct KanView {
  int n, inputs, outputs, padded, bases;
  float low, inverse_step;
  const float* x;        // (n, inputs)
  const float* weights;  // (inputs, rows, padded)
  float* y;              // (n, outputs)
  const float* grad_y;
  float* grad_x;         // null when nobody asks for it
  float* grad_weights;   // of one chunk of points, like weights

  int rows() const { return bases + 2 * kSplineRim + 1; }
  int64_t weight_floats() const { return (int64_t)inputs * rows() * padded; }
};

struct FieldKernels {
  bool (*all_finite)(const float* values, int64_t count);
  void (*adam)(const AdamTensor& t, int64_t begin, int64_t end);
  void (*packed)(const PackedView& v, int64_t block_begin, int64_t block_end);
  void (*triplane_level)(const TriplaneView& v, int plane_level);           // fills its columns
  void (*triplane_level_backward)(const TriplaneView& v, int plane_level);  // its part of grad_table, its slopes
  void (*triplane_points_backward)(const TriplaneView& v, int begin, int end);  // grad_points from the slopes
  void (*triplane_to_rows)(const TriplaneView& v, int begin, int end);
  void (*triplane_to_columns)(const TriplaneView& v, int begin, int end);
  int64_t (*kan_scratch)(const KanView& v);  // floats that a call of the two below needs
  void (*kan)(const KanView& v, int begin, int end, float* scratch);
  void (*kan_backward)(const KanView& v, int begin, int end, float* scratch);  // adds to grad_weights
};

}  // namespace visavis
