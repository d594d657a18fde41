#include <stdexcept>

#include "bindings.h"
#include "rig.h"

namespace nb = nanobind;

namespace visavis {
namespace {

Mesh mesh_of(Address vertices, Address faces, int vertex_count, int face_count) {
  return {floats(vertices), integers(faces), vertex_count, face_count};
}

}  // namespace

void register_rig(nb::module_& m) {
  m.def("frame_floats", [] { return kFrame; });
  m.def(
      "bind",
      [](std::array<Address, 2> mesh, std::array<int, 2> mesh_counts, std::array<Address, 2> binding, int count,
         std::array<Address, 2> locals, Address frames, std::array<Address, 2> out) {
        const Mesh me = mesh_of(mesh[0], mesh[1], mesh_counts[0], mesh_counts[1]);
        const Binding bi{integers(binding[0]), floats(binding[1]), count};
        if (const char* what = check_indices(me, bi)) throw std::out_of_range(what);
        triangle_frames(me, floats(frames));
        bind(me, bi, floats(frames), floats(locals[0]), floats(locals[1]), floats(out[0]), floats(out[1]));
      },
      ReleaseGil(), nb::arg("mesh"), nb::arg("mesh_counts"), nb::arg("binding"), nb::arg("count"), nb::arg("locals"),
      nb::arg("frames"), nb::arg("out"));
  m.def(
      "bind_backward",
      [](Address faces, std::array<int, 2> mesh_counts, std::array<Address, 2> binding, int count, Address frames,
         std::array<Address, 2> grad_out, std::array<Address, 3> grad_in) {
        const Mesh me = mesh_of(0, faces, mesh_counts[0], mesh_counts[1]);
        const Binding bi{integers(binding[0]), floats(binding[1]), count};
        bind_backward(me, bi, floats(frames), floats(grad_out[0]), floats(grad_out[1]), floats(grad_in[0]),
                      floats(grad_in[1]), floats(grad_in[2]));
      },
      ReleaseGil(), nb::arg("faces"), nb::arg("mesh_counts"), nb::arg("binding"), nb::arg("count"), nb::arg("frames"),
      nb::arg("grad_out"), nb::arg("grad_in"));
}

}  // namespace visavis
