// Memory and control flow of one posed head; knows nothing of Python or of vector widths.
#pragma once

#include "buffer.h"
#include "rig.h"

namespace visavis {

struct RigPoseGradient {
  float *expression, *joints, *rotation, *translation;  // like RigPose
};

struct RigFeatureGradient {
  float *head, *torso, *torso_move;  // torso_move: x, y, roll
};

class RigState {
 public:
  RigView view{};

  // Set mesh, pose, sets (but for `first`, `first_chunk`, `frames` and padded features) and world of `view` first.
  // `features` are the sets' own, not padded; `torso_move` is x, y (metres) and roll (radians about z).
  // Throws std::invalid_argument when a Gaussian comes out with a NaN or infinity: whatever holds one shows there.
  void forward(const float* const features[2], const float* torso_move);
  // Set the sets' gradients or rates and `world_gradients` of `view` first. Gradients of the pose and of the features
  // are computed where they are not null.
  void backward(const RigPoseGradient* pose, const RigFeatureGradient* features);
  size_t bytes() const;

  int gaussians() const { return view.sets[0].n + view.sets[1].n; }

 private:
  void lay_out(const float* const features[2]);
  void move_joints();
  void move_torso(const float* torso_move);
  void gather_corners();
  void pose_backward(const RigPoseGradient& out);
  void features_backward(const RigFeatureGradient& out);

  double rest_[kJoints][3];
  Buffer<float> vertices_, features_, pull_, partials_, corner_gradients_;
  Buffer<RigTriangle> frames_;
  Buffer<double> sums_;
  Buffer<int32_t> riders_;
};

// The first of `faces`, `triangles` that points outside the mesh; null when all is well.
const char* rig_index_error(const RigMesh& mesh, const RigSet& head);

}  // namespace visavis
