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

// Row of motion in, a picture per camera out. Mesh and layers were checked when it was made, and belong to Python.
class Playback {
 public:
  Playback(std::array<Address, 5> mesh, std::array<int, 3> mesh_counts, std::array<Address, 12> head,
           std::array<int, 2> head_counts, std::array<Address, 6> torso, std::array<int, 2> torso_counts)
      : mesh_{mesh, mesh_counts}, head_{head, head_counts}, torso_{torso, torso_counts} {
    RigView v{};
    set_rig_inputs(mesh_, {}, head_, torso_, v);
    if (const char* what = rig_index_error(v.mesh, v.sets[0])) throw std::out_of_range(what);
  }

  // One plate (or 0) and one picture per camera.
  void run(std::array<Address, 7> pose, int width, int height, const std::vector<std::array<float, 16>>& cameras,
           int model, const std::vector<Address>& plates, std::array<float, 3> color, const std::vector<Address>& out) {
    RigView& v = posed_.rig.view;
    v = RigView{};
    set_rig_inputs(mesh_, {pose}, head_, torso_, v);
    posed_.cameras.clear();
    for (const std::array<float, 16>& row : cameras) {
      posed_.cameras.push_back({width, height, row[0], row[1], row[2], row[3], {}, (maths::CameraModel)model});
      std::copy(row.begin() + 4, row.end(), posed_.cameras.back().view);
    }
    const float* const features[2] = {floats(pose[4]), floats(pose[5])};
    posed_.render(features, floats(pose[6]));
    const Kernels& k = kernels();
    const int bands = (height + kBandRows - 1) / kBandRows;
    parallel((int)cameras.size() * bands, [&](int job) {
      const int i = job / bands, y0 = job % bands * kBandRows;
      const PictureView picture{width, height, posed_.rgb + 3 * i * posed_.pixels(), posed_.alpha + i * posed_.pixels(),
                                reinterpret_cast<const uint8_t*>(plates[i]), {color[0], color[1], color[2]},
                                reinterpret_cast<uint8_t*>(out[i])};
      k.picture_rows(picture, y0, std::min(y0 + kBandRows, height));
    });
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
      .def(nb::init<std::array<Address, 5>, std::array<int, 3>, std::array<Address, 12>, std::array<int, 2>,
                    std::array<Address, 6>, std::array<int, 2>>(),
           nb::arg("mesh"), nb::arg("mesh_counts"), nb::arg("head"), nb::arg("head_counts"), nb::arg("torso"),
           nb::arg("torso_counts"))
      .def("run", &Playback::run, ReleaseGil(), nb::arg("pose"), nb::arg("width"), nb::arg("height"), nb::arg("cameras"),
           nb::arg("model"), nb::arg("plates"), nb::arg("color"), nb::arg("out"))
      .def("bytes", &Playback::bytes);
}

}  // namespace visavis
