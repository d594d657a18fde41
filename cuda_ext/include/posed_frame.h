// A posed head as one camera sees it: what fitting and playback share.
#pragma once

#include "frame_state.h"
#include "rig_state.h"

namespace visavis {

class PosedFrame {
 public:
  RigState rig;  // set its view's mesh, pose and sets before `render`
  Camera camera{};
  float *rgb = nullptr, *alpha = nullptr;  // (h, w, 3) premultiplied, (h, w): of the last `render`

  // `features` and `torso_move` as in RigState::forward. Throws std::invalid_argument when a Gaussian holds a NaN or
  // infinity.
  void render(const float* const features[2], const float* torso_move);
  // From dLoss/drgb and dLoss/dalpha to the rig's world_gradients.
  void backward(const float* grad_rgb, const float* grad_alpha);
  size_t pixels() const { return (size_t)camera.width * camera.height; }
  size_t bytes() const { return rig.bytes() + frame_->bytes() + world_.bytes() + images_.bytes(); }

 private:
  FramePointer frame_ = take_frame();
  Buffer<float> world_, images_;
};

}  // namespace visavis
