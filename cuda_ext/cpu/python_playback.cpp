#include <algorithm>

#include "bindings.h"
#include "composite.h"
#include "kernels.h"
#include "posed_frame.h"
#include "rig_arguments.h"
#include "thread_pool.h"

namespace nb = nanobind;

namespace visavis {
namespace {

constexpr int kBandRows = 16;

// Row of motion in, picture out. Mesh and layers were checked when it was made, and belong to Python.
class Playback {
 public:
  Playback(std::array<Address, 5> mesh, std::array<int, 3> mesh_counts, std::array<Address, 11> head,
           std::array<int, 2> head_counts, std::array<Address, 6> torso, std::array<int, 2> torso_counts)
      : mesh_{mesh, mesh_counts}, head_{head, head_counts}, torso_{torso, torso_counts} {
    RigView v{};
    set_rig_inputs(mesh_, {}, head_, torso_, v);
    if (const char* what = rig_index_error(v.mesh, v.sets[0])) throw std::out_of_range(what);
  }

  void run(std::array<Address, 7> pose, int width, int height, std::array<float, 16> camera, int model, Address plate,
           std::array<float, 3> color, Address out) {
    RigView& v = posed_.rig.view;
    v = RigView{};
    set_rig_inputs(mesh_, {pose}, head_, torso_, v);
    posed_.camera = {width, height, camera[0], camera[1], camera[2], camera[3], {}, (maths::CameraModel)model};
    std::copy(camera.begin() + 4, camera.end(), posed_.camera.view);
    const float* const features[2] = {floats(pose[4]), floats(pose[5])};
    posed_.render(features, floats(pose[6]));
    PictureView p{width, height, posed_.rgb, posed_.alpha, reinterpret_cast<const uint8_t*>(plate), {},
                  reinterpret_cast<uint8_t*>(out)};
    std::copy(color.begin(), color.end(), p.color);
    const Kernels& k = kernels();
    parallel((height + kBandRows - 1) / kBandRows,
             [&](int band) { k.picture_rows(p, band * kBandRows, std::min((band + 1) * kBandRows, height)); });
  }

  size_t bytes() const { return posed_.bytes(); }

 private:
  MeshArguments mesh_;
  HeadArguments head_;
  TorsoArguments torso_;
  PosedFrame posed_;
};

}  // namespace

void register_playback(nb::module_& m) {
  nb::class_<Playback>(m, "Playback")
      .def(nb::init<std::array<Address, 5>, std::array<int, 3>, std::array<Address, 11>, std::array<int, 2>,
                    std::array<Address, 6>, std::array<int, 2>>(),
           nb::arg("mesh"), nb::arg("mesh_counts"), nb::arg("head"), nb::arg("head_counts"), nb::arg("torso"),
           nb::arg("torso_counts"))
      .def("run", &Playback::run, ReleaseGil(), nb::arg("pose"), nb::arg("width"), nb::arg("height"), nb::arg("camera"),
           nb::arg("model"), nb::arg("plate"), nb::arg("color"), nb::arg("out"))
      .def("bytes", &Playback::bytes);
}

}  // namespace visavis
