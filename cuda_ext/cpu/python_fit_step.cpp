#include <tuple>

#include "bindings.h"
#include "fit_step.h"
#include "rig_arguments.h"

namespace nb = nanobind;

namespace visavis {
namespace {

constexpr int kHeadTensors = 8, kTorsoTensors = 6;

struct AdamArguments {
  std::array<Address, kHeadTensors> head_first, head_second;
  std::array<Address, kTorsoTensors> torso_first, torso_second;
  std::array<AdamNumbers, kHeadTensors + kTorsoTensors> numbers;  // head's, torso's
};

RigRates rig_rates(const AdamArguments& a, int first, int count) {
  maths::AdamRates<float> r[kHeadTensors] = {};
  for (int i = 0; i < count; i++) r[i] = adam_rates(a.numbers[first + i]);
  return {r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]};
}

std::tuple<double, double, int64_t> run(
    FitStep& step, const MeshArguments& mesh, const PoseArguments& pose, const HeadArguments& head,
    const TorsoArguments& torso, const AdamArguments& adam, std::array<int, 2> size, std::array<float, 4> intrinsics,
    std::array<float, 12> view_rows, std::array<Address, 3> images, std::array<float, 3> backdrop,
    std::array<float, 2> weights, std::array<Address, 2> delta, Address gradient_norms) {
  RigView& v = step.rig;
  v = RigView{};
  set_rig_inputs(mesh, pose, head, torso, v);
  if (const char* what = rig_index_error(v.mesh, v.sets[0])) throw std::out_of_range(what);
  const RigRates rates[2] = {rig_rates(adam, 0, kHeadTensors), rig_rates(adam, kHeadTensors, kTorsoTensors)};
  for (int s = 0; s < 2; s++) v.sets[s].rates = &rates[s];
  v.sets[0].first_moments = head_tensors(adam.head_first), v.sets[0].second_moments = head_tensors(adam.head_second);
  v.sets[1].first_moments = torso_tensors(adam.torso_first);
  v.sets[1].second_moments = torso_tensors(adam.torso_second);
  v.sets[0].gradient_norms = floats(gradient_norms);
  step.camera = {size[0], size[1], intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3], {}, maths::kPinhole};
  std::copy(view_rows.begin(), view_rows.end(), step.camera.view);
  FitFrame f{};
  f.delta = floats(delta[0]), f.delta_gradient = floats(delta[1]);
  f.features[0] = floats(pose.addresses[4]), f.features[1] = floats(pose.addresses[5]);
  f.torso_move = floats(pose.addresses[6]);
  f.rgba = reinterpret_cast<const uint8_t*>(images[0]), f.covered = reinterpret_cast<const uint8_t*>(images[1]);
  f.plate = floats(images[2]);
  std::copy(backdrop.begin(), backdrop.end(), f.backdrop);
  f.ssim_weight = weights[0], f.mask_weight = weights[1];
  const FitResult result = step.run(f);
  return {result.loss, result.squared_error, result.pixels};
}

}  // namespace

void register_fit_step(nb::module_& m) {
  nb::class_<FitStep>(m, "FitStep")
      .def(nb::init<>())
      .def(
          "run",
          [](FitStep& step, std::array<Address, 5> mesh, std::array<int, 3> mesh_counts, std::array<Address, 7> pose,
             std::array<Address, 12> head, std::array<int, 2> head_counts, std::array<Address, 6> torso,
             std::array<int, 2> torso_counts, std::array<Address, kHeadTensors> head_first,
             std::array<Address, kHeadTensors> head_second, std::array<Address, kTorsoTensors> torso_first,
             std::array<Address, kTorsoTensors> torso_second, std::array<AdamNumbers, kHeadTensors + kTorsoTensors> numbers,
             std::array<int, 2> size, std::array<float, 4> intrinsics,
             std::array<float, 12> view_rows, std::array<Address, 3> images, std::array<float, 3> backdrop,
             std::array<float, 2> weights, std::array<Address, 2> delta, Address gradient_norms) {
            return run(step, {mesh, mesh_counts}, {pose}, {head, head_counts}, {torso, torso_counts},
                       {head_first, head_second, torso_first, torso_second, numbers}, size, intrinsics,
                       view_rows, images, backdrop, weights, delta, gradient_norms);
          },
          ReleaseGil(), nb::arg("mesh"), nb::arg("mesh_counts"), nb::arg("pose"), nb::arg("head"),
          nb::arg("head_counts"), nb::arg("torso"), nb::arg("torso_counts"), nb::arg("head_first"),
          nb::arg("head_second"), nb::arg("torso_first"), nb::arg("torso_second"), nb::arg("numbers"),
          nb::arg("size"), nb::arg("intrinsics"), nb::arg("view_rows"),
          nb::arg("images"), nb::arg("backdrop"), nb::arg("weights"), nb::arg("delta"), nb::arg("gradient_norms"))
      .def("bytes", &FitStep::bytes);
}

}  // namespace visavis
