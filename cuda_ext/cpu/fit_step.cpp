#include "fit_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "maths/rotation.h"
#include "photometric.h"
#include "thread_pool.h"

namespace visavis {
namespace {

constexpr int kBandRows = 16;  // of the image: bands never depend on the threads

int bands_of(const CompositeView& v) { return (v.height + kBandRows - 1) / kBandRows; }

template <class F>
void for_bands(const CompositeView& v, const F& body) {
  parallel(bands_of(v), [&](int band) {
    body(band, band * kBandRows, std::min((band + 1) * kBandRows, v.height));
  });
}

}  // namespace

FitResult FitStep::run(const FitFrame& frame) {
  RigView& v = posed_.rig.view;
  v = rig;
  posed_.cameras.assign(1, camera);
  set_pose(frame.delta);
  posed_.render(frame.features, frame.torso_move);
  const FitResult result = compare(frame);
  if (!std::isfinite(result.loss))
    throw std::invalid_argument("the loss is not finite: expected finite numbers in target and weights");
  posed_.backward(composite_.grad_image, composite_.grad_alpha);
  float joints[3 * kJoints], rotation[9], translation[3];
  std::vector<float> expression(v.mesh.expressions);
  const RigPoseGradient pose{expression.data(), joints, rotation, translation};
  posed_.rig.backward(frame.delta_gradient ? &pose : nullptr, nullptr);
  if (frame.delta_gradient) delta_backward(frame.delta, pose, frame.delta_gradient);
  return result;
}

// The tracked pose, moved: rotation = exp(delta[0..3)) R, then translation and expression.
void FitStep::set_pose(const float* delta) {
  const int m = rig.mesh.expressions;
  float* const moved = pose_.reserve(m + 12);
  const double turn[3] = {delta[0], delta[1], delta[2]};
  double E[3][3];
  maths::rotation_of(turn, E);
  for (int i = 0; i < m; i++) moved[i] = rig.pose.expression[i] + delta[kDelta + i];
  float *const R = moved + m, *const t = R + 9;
  for (int r = 0; r < 3; r++)
    for (int c = 0; c < 3; c++) {
      double sum = 0;
      for (int k = 0; k < 3; k++) sum += E[r][k] * rig.pose.rotation[3 * k + c];
      R[3 * r + c] = (float)sum;
    }
  for (int k = 0; k < 3; k++) t[k] = rig.pose.translation[k] + delta[3 + k];
  posed_.rig.view.pose = {moved, rig.pose.joints, R, t};
}

void FitStep::delta_backward(const float* delta, const RigPoseGradient& gradient, float* out) const {
  const double turn[3] = {delta[0], delta[1], delta[2]};
  double by_turn[3][3] = {}, by_vector[3];
  for (int r = 0; r < 3; r++)
    for (int k = 0; k < 3; k++)
      for (int c = 0; c < 3; c++)
        by_turn[r][k] += (double)gradient.rotation[3 * r + c] * rig.pose.rotation[3 * k + c];
  maths::rotation_backward(turn, by_turn, by_vector);
  for (int k = 0; k < 3; k++) out[k] = (float)by_vector[k], out[3 + k] = gradient.translation[k];
  std::copy_n(gradient.expression, rig.mesh.expressions, out + kDelta);
}

FitResult FitStep::compare(const FitFrame& frame) {
  CompositeView& v = composite_;
  float* const images = images_.reserve(10 * posed_.pixels());
  v.rgb = posed_.rgb, v.alpha = posed_.alpha;
  v.image = images, v.target = images + 3 * posed_.pixels();
  float* const grad_image = images + 6 * posed_.pixels();
  v.grad_image = grad_image, v.grad_alpha = images + 9 * posed_.pixels();
  v.width = camera.width, v.height = camera.height;
  v.rgba = frame.rgba, v.covered = frame.covered, v.plate = frame.plate;
  std::copy(frame.backdrop, frame.backdrop + 3, v.backdrop);
  const double pixels = (double)v.width * v.height;
  v.mask_weight = (float)(frame.mask_weight / pixels);
  const Kernels& k = kernels();
  std::vector<CompositeSums> sums(bands_of(v));
  for_bands(v, [&](int band, int y0, int y1) { sums[band] = k.composite_rows(v, y0, y1); });
  double mask_error = 0;
  FitResult result{};
  for (const CompositeSums& s : sums) {
    mask_error += s.mask_error;
    result.squared_error += s.squared_error;
    result.pixels += s.pixels;
  }
  result.loss = frame.mask_weight * mask_error / pixels +
                photometric_loss(v.image, v.target, v.height, v.width, 3, frame.ssim_weight, grad_image);
  for_bands(v, [&](int, int y0, int y1) { k.composite_rows_backward(v, y0, y1); });
  return result;
}

size_t FitStep::bytes() const { return posed_.bytes() + pose_.bytes() + images_.bytes(); }

}  // namespace visavis
