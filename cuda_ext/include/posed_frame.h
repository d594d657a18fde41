// A posed head as one or several cameras see it: what fitting and playback share.
#pragma once

#include <vector>

#include "frame_state.h"
#include "rig_state.h"

namespace visavis {

class PosedFrame {
 public:
  RigState rig;  // set its view's mesh, pose and sets before `render`
  std::vector<Camera> cameras;  // all of one size
  // (cameras, h, w, 3) premultiplied, (cameras, h, w): of the last `render`.
  float *rgb = nullptr, *alpha = nullptr;

  // `features` and `torso_move` as in RigState::forward. Throws std::invalid_argument when a Gaussian holds a NaN or
  // infinity.
  void render(const float* const features[2], const float* torso_move);
  // From dLoss/drgb and dLoss/dalpha to the rig's world_gradients.
  void backward(const float* grad_rgb, const float* grad_alpha);
  // Of one camera.
  size_t pixels() const { return (size_t)cameras[0].width * cameras[0].height; }
  size_t bytes() const { return rig.bytes() + frame_->bytes() + world_.bytes() + images_.bytes(); }

 private:
  FramePointer frame_ = take_frame();
  Buffer<float> world_, images_;
};

}  // namespace visavis
