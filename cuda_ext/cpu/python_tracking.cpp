#include <algorithm>

#include "bindings.h"
#include "tracking.h"

namespace nb = nanobind;

namespace visavis {
namespace {

// frames, points, height, width
using AlignmentShape = std::array<int, 4>;
// focal length, principal point
using Lens = std::array<float, 3>;
// pictures, head, rotation, translation
using Poses = std::array<Address, 4>;

AlignmentView alignment_view(const AlignmentShape& shape, const Lens& lens, const Poses& poses) {
  AlignmentView v{};
  v.frames = shape[0], v.points = shape[1], v.height = shape[2], v.width = shape[3], v.stride = 1;
  v.focal = lens[0], v.centre_x = lens[1], v.centre_y = lens[2];
  v.pictures = floats(poses[0]), v.head = floats(poses[1]), v.rotation = floats(poses[2]), v.translation = floats(poses[3]);
  return v;
}

}  // namespace

void register_tracking(nb::module_& m) {
  m.def(
      "normal_matrix",
      [](int frames, int points, int actions, std::array<Address, 3> inputs, Address out) {
        NormalView v{};
        v.frames = frames, v.points = points;
        v.head = floats(inputs[1]), v.rows = floats(inputs[2]), v.out = floats(out);
        normal_matrix(v, floats(inputs[0]), actions);
      },
      ReleaseGil(), nb::arg("frames"), nb::arg("points"), nb::arg("actions"), nb::arg("inputs"), nb::arg("out"));
  m.def(
      "align",
      [](AlignmentShape shape, Lens lens, Poses poses, std::array<Address, 4> surface, int stride, float outlier,
         std::array<float, kLampTerms> light_ridge, std::array<Address, 5> out) {
        AlignmentView v = alignment_view(shape, lens, poses);
        v.weights = floats(surface[0]), v.normals = floats(surface[1]), v.colors = floats(surface[2]);
        v.precision = floats(surface[3]), v.outlier = outlier;
        v.stride = std::max(1, std::min(stride, v.points));  // longer steps see no other points
        std::copy(light_ridge.begin(), light_ridge.end(), v.light_ridge);
        v.lit = floats(out[0]), v.trust = floats(out[1]), v.gradient = floats(out[2]), v.rows = floats(out[3]);
        v.value = floats(out[4]);
        align(v);
      },
      ReleaseGil(), nb::arg("shape"), nb::arg("lens"), nb::arg("poses"), nb::arg("surface"), nb::arg("stride"),
      nb::arg("outlier"), nb::arg("light_ridge"), nb::arg("out"));
  m.def(
      "alignment_cost",
      [](AlignmentShape shape, Lens lens, Poses poses, std::array<Address, 2> model, Address value) {
        AlignmentView v = alignment_view(shape, lens, poses);
        v.lit = floats(model[0]), v.trust = floats(model[1]), v.value = floats(value);
        alignment_cost(v);
      },
      ReleaseGil(), nb::arg("shape"), nb::arg("lens"), nb::arg("poses"), nb::arg("model"), nb::arg("value"));
}

}  // namespace visavis
