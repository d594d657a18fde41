// One step of fitting a linear avatar, from a row of motion to moved parameters.
#pragma once

#include "composite.h"
#include "kernels.h"
#include "posed_frame.h"

namespace visavis {

constexpr int kDelta = 6;  // rotation vector (radians, in the world's axes), translation (metres); expression follows

// What changes from step to step, beside the rig's inputs.
struct FitFrame {
  const float* delta;     // (kDelta + m) correction of the tracked pose
  float* delta_gradient;  // like delta; null when nobody asks for it
  const float *features[2], *torso_move;
  const uint8_t *rgba, *covered;  // see CompositeView
  const float* plate;
  float backdrop[3];
  float ssim_weight, mask_weight;  // of the loss
};

struct FitResult {
  double loss;
  double squared_error;  // of the pixels that count, all channels
  int64_t pixels;        // how many count
};

class FitStep {
 public:
  RigView rig{};  // mesh, tracked pose, sets with moments and rates: set before `run`
  Camera camera{};

  // Throws std::invalid_argument when a Gaussian or the loss holds a NaN or infinity: then nothing has moved.
  FitResult run(const FitFrame& frame);
  size_t bytes() const;

 private:
  void set_pose(const float* delta);
  FitResult compare(const FitFrame& frame);
  void delta_backward(const float* delta, const RigPoseGradient& gradient, float* out) const;

  PosedFrame posed_;
  CompositeView composite_{};
  Buffer<float> pose_, images_;
};

}  // namespace visavis
