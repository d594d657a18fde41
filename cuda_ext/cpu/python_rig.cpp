#include <stdexcept>

#include "bindings.h"
#include "rig_arguments.h"

namespace nb = nanobind;

namespace visavis {
namespace {

// One posed head and what its backward pass needs.
class Rig {
 public:
  void forward(const MeshArguments& mesh, const PoseArguments& pose, const HeadArguments& head,
               const TorsoArguments& torso, std::array<Address, 5> world) {
    RigView& v = state_.view;
    v = RigView{};
    set_rig_inputs(mesh, pose, head, torso, v);
    if (const char* what = rig_index_error(v.mesh, v.sets[0])) throw std::out_of_range(what);
    v.world = world_of(world);
    const float* const features[2] = {floats(pose.addresses[4]), floats(pose.addresses[5])};
    state_.forward(features, floats(pose.addresses[6]));
  }

  // `pose_gradient` as the pose, but gradients; a rotation or torso of 0 means that nobody asks for the head's part or
  // for the features' part. (Empty tensors, as those of no blendshapes, have the address 0 too.)
  void backward(std::array<Address, 5> world_gradients, std::array<Address, 8> head, std::array<Address, 6> torso,
                std::array<Address, 7> pose_gradient) {
    RigView& v = state_.view;
    v.world_gradients = world_of(world_gradients);
    v.sets[0].gradients = head_tensors(head);
    v.sets[1].gradients = torso_tensors(torso);
    const RigPoseGradient pose{floats(pose_gradient[0]), floats(pose_gradient[1]), floats(pose_gradient[2]),
                               floats(pose_gradient[3])};
    const RigFeatureGradient features{floats(pose_gradient[4]), floats(pose_gradient[5]), floats(pose_gradient[6])};
    state_.backward(pose.rotation ? &pose : nullptr, features.torso_move ? &features : nullptr);
  }

  size_t bytes() const { return state_.bytes(); }

 private:
  RigState state_;
};

}  // namespace

void register_rig(nb::module_& m) {
  nb::class_<Rig>(m, "Rig")
      .def(nb::init<>())
      .def(
          "forward",
          [](Rig& rig, const std::array<Address, 5>& mesh, std::array<int, 3> mesh_counts, std::array<Address, 7> pose,
             std::array<Address, 12> head, std::array<int, 2> head_counts, std::array<Address, 6> torso,
             std::array<int, 2> torso_counts, std::array<Address, 5> world) {
            rig.forward({mesh, mesh_counts}, {pose}, {head, head_counts}, {torso, torso_counts}, world);
          },
          ReleaseGil(), nb::arg("mesh"), nb::arg("mesh_counts"), nb::arg("pose"), nb::arg("head"),
          nb::arg("head_counts"), nb::arg("torso"), nb::arg("torso_counts"), nb::arg("world"))
      .def("backward", &Rig::backward, ReleaseGil(), nb::arg("world_gradients"), nb::arg("head"), nb::arg("torso"),
           nb::arg("pose"))
      .def("bytes", &Rig::bytes);
}

}  // namespace visavis
