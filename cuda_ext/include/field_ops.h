// Whole operations of deformation fields, baked maps and the optimiser, split into tasks that the number of threads does
// not change. Each throws std::invalid_argument when it is given a NaN or infinity.
#pragma once

#include <vector>

#include "fields.h"

namespace visavis {

// Throws before anything is changed.
void adam_step(const std::vector<AdamTensor>& tensors);

void apply_packed(const PackedView& view);

// Set n, levels, features, rows, level and table first. points (n, 3) outside [0, 1] are clamped.
void triplane(TriplaneView view, const float* points, float* out);
// grad_points (n, 3) may be null.
void triplane_backward(TriplaneView view, const float* points, const float* grad_out, float* grad_table, float* grad_points);

// Set all but padded, weights and grad_weights first. spline (outputs, inputs, bases), base (outputs, inputs).
struct KanWeights {
  const float *spline, *base;
};
struct KanGradients {
  float *spline, *base;
};
void kan(KanView view, const KanWeights& weights);
void kan_backward(KanView view, const KanWeights& weights, const KanGradients& gradients);

}  // namespace visavis
