// Python bindings on raw addresses: shapes, types and memory order are the business of cuda_ext/ops.py.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "frame_state.h"
#include "kernels.h"
#include "photometric.h"
#include "rig.h"
#include "thread_pool.h"

namespace nb = nanobind;
using namespace visavis;

namespace {

using Address = uintptr_t;

float* floats(Address a) { return reinterpret_cast<float*>(a); }
const int32_t* integers(Address a) { return reinterpret_cast<const int32_t*>(a); }

// One forward pass and what its backward pass needs.
class Frame {
 public:
  void forward(int n, std::array<Address, 5> inputs, std::array<Address, 3> images, int width, int height,
               std::array<float, 4> intrinsics, std::array<float, 12> view_rows) {
    FrameView& v = state_->view;
    v = FrameView{};
    v.n = n;
    v.camera = {width, height, intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3], {}};
    std::copy(view_rows.begin(), view_rows.end(), v.camera.view);
    set_inputs(inputs, images);
    const int64_t bad = state_->forward();
    if (bad) throw std::invalid_argument(std::to_string(bad) + " of " + std::to_string(n) + " Gaussians hold a NaN or infinity");
  }

  void backward(std::array<Address, 5> inputs, std::array<Address, 3> images, std::array<Address, 3> image_gradients,
                std::array<Address, 5> gradients) {
    set_inputs(inputs, images);
    FrameView& v = state_->view;
    v.grad_rgb = floats(image_gradients[0]), v.grad_alpha = floats(image_gradients[1]);
    v.grad_depth = floats(image_gradients[2]);
    v.grad_means = floats(gradients[0]), v.grad_quats = floats(gradients[1]), v.grad_scales = floats(gradients[2]);
    v.grad_opacities = floats(gradients[3]), v.grad_colors = floats(gradients[4]);
    state_->backward();
  }

  size_t bytes() const { return state_->bytes(); }

 private:
  void set_inputs(const std::array<Address, 5>& inputs, const std::array<Address, 3>& images) {
    FrameView& v = state_->view;
    v.means = floats(inputs[0]), v.quats = floats(inputs[1]), v.scales = floats(inputs[2]);
    v.opacities = floats(inputs[3]), v.colors = floats(inputs[4]);
    v.rgb = floats(images[0]), v.alpha = floats(images[1]), v.depth = floats(images[2]);
  }

  FramePointer state_ = take_frame();
};

Mesh mesh_of(Address vertices, Address faces, int vertex_count, int face_count) {
  return {floats(vertices), integers(faces), vertex_count, face_count};
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels of visavis; use cuda_ext.ops";
  // A graph that is still alive when Python ends keeps its frames: no leak of ours.
  nb::set_leak_warnings(false);
  using release = nb::call_guard<nb::gil_scoped_release>;

  nb::class_<Frame>(m, "Frame")
      .def(nb::init<>())
      .def("forward", &Frame::forward, release(), nb::arg("n"), nb::arg("inputs"), nb::arg("images"), nb::arg("width"),
           nb::arg("height"), nb::arg("intrinsics"), nb::arg("view_rows"))
      .def("backward", &Frame::backward, release(), nb::arg("inputs"), nb::arg("images"), nb::arg("image_gradients"),
           nb::arg("gradients"))
      .def("bytes", &Frame::bytes);

  m.def(
      "photometric_loss",
      [](Address image, Address target, int height, int width, int channels, float ssim_weight, Address grad) {
        return photometric_loss(floats(image), floats(target), height, width, channels, ssim_weight, floats(grad));
      },
      release(), nb::arg("image"), nb::arg("target"), nb::arg("height"), nb::arg("width"), nb::arg("channels"),
      nb::arg("ssim_weight"), nb::arg("grad"));
  m.def(
      "ssim",
      [](Address image, Address target, int height, int width, int channels) {
        return mean_ssim(floats(image), floats(target), height, width, channels);
      },
      release(), nb::arg("image"), nb::arg("target"), nb::arg("height"), nb::arg("width"), nb::arg("channels"));

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
      release(), nb::arg("mesh"), nb::arg("mesh_counts"), nb::arg("binding"), nb::arg("count"), nb::arg("locals"),
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
      release(), nb::arg("faces"), nb::arg("mesh_counts"), nb::arg("binding"), nb::arg("count"), nb::arg("frames"),
      nb::arg("grad_out"), nb::arg("grad_in"));

  m.def("get_threads", &get_threads);
  m.def("set_threads", &set_threads, release(), nb::arg("threads"));
  m.def("get_lanes", [] { return kernels().lanes; });
  m.def("set_lanes", &set_lanes, nb::arg("lanes"));
  m.def("available_lanes", [] {
    int lanes[3];
    const int count = available_lanes(lanes);
    return std::vector<int>(lanes, lanes + count);
  });
}
