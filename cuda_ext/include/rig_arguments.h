// How addresses from Python (see cuda_ext/rig_types.py for the order) become a RigView.
#pragma once

#include "bindings.h"
#include "rig_state.h"

namespace visavis {

struct MeshArguments {
  std::array<Address, 5> addresses;  // neutral, expression_basis, faces, joint_regressor, skin_weights
  std::array<int, 3> counts;         // vertices, faces, expressions
};

struct PoseArguments {
  std::array<Address, 7> addresses;  // expression, joints, rotation, translation, features, torso_features, torso
};

struct HeadArguments {
  // triangles, barycentrics, means, quats, log_scales, opacity_logits, colors, map_means, map_opacities, hang, hang_axes,
  // map_colors or 0
  std::array<Address, 12> addresses;
  std::array<int, 2> counts;  // Gaussians, features
};

struct TorsoArguments {
  std::array<Address, 6> addresses;  // means, quats, log_scales, opacity_logits, colors, map_means
  std::array<int, 2> counts;
};

inline RigWorld world_of(const std::array<Address, 5>& a) {
  return {floats(a[0]), floats(a[1]), floats(a[2]), floats(a[3]), floats(a[4])};
}

inline RigTensors head_tensors(const std::array<Address, 8>& a) {
  return {floats(a[0]), floats(a[1]), floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5]), floats(a[6]), floats(a[7])};
}

inline RigTensors torso_tensors(const std::array<Address, 6>& a) {
  return {floats(a[0]), floats(a[1]), floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5]), nullptr, nullptr};
}

inline void set_rig_inputs(const MeshArguments& mesh, const PoseArguments& pose, const HeadArguments& head,
                           const TorsoArguments& torso, RigView& v) {
  const auto& m = mesh.addresses;
  v.mesh = {mesh.counts[0], mesh.counts[1], mesh.counts[2], floats(m[0]),
            floats(m[1]),   floats(m[4]),   floats(m[3]),   integers(m[2])};
  const auto& p = pose.addresses;
  v.pose = {floats(p[0]), floats(p[1]), floats(p[2]), floats(p[3])};
  const auto& h = head.addresses;
  RigSet& face = v.sets[0];
  face.n = head.counts[0], face.k = head.counts[1];
  face.triangles = integers(h[0]), face.barycentrics = floats(h[1]);
  face.tensors = head_tensors({h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[11]});
  face.hang = floats(h[9]), face.hang_axes = floats(h[10]);
  v.sets[1].n = torso.counts[0], v.sets[1].k = torso.counts[1];
  v.sets[1].tensors = torso_tensors(torso.addresses);
}

}  // namespace visavis
