#include "posed_frame.h"

namespace visavis {

void PosedFrame::render(const float* const features[2], const float* torso_move) {
  const size_t n = rig.gaussians();
  float* const rows = world_.reserve(2 * 14 * n);
  const auto world_at = [n](float* p) { return RigWorld{p, p + 3 * n, p + 7 * n, p + 10 * n, p + 11 * n}; };
  const RigWorld w = world_at(rows);
  rig.view.world = w, rig.view.world_gradients = world_at(rows + 14 * n);
  rig.forward(features, torso_move);

  const size_t all = cameras.size() * pixels();
  float* const images = images_.reserve(4 * all);
  rgb = images, alpha = images + 3 * all;
  FrameView& v = frame_->view;
  v = FrameView{};
  v.n = (int)n;
  frame_->cameras = cameras;
  v.rgb = rgb, v.alpha = alpha;
  v.means = w.means, v.quats = w.quats, v.scales = w.scales, v.opacities = w.opacities, v.colors = w.colors;
  frame_->forward();  // finds nothing to refuse: the rig has looked
}

void PosedFrame::backward(const float* grad_rgb, const float* grad_alpha) {
  const RigWorld& g = rig.view.world_gradients;
  FrameView& v = frame_->view;
  v.grad_rgb = grad_rgb, v.grad_alpha = grad_alpha;
  v.grad_means = g.means, v.grad_quats = g.quats, v.grad_scales = g.scales, v.grad_opacities = g.opacities;
  v.grad_colors = g.colors;
  frame_->backward();
}

}  // namespace visavis
