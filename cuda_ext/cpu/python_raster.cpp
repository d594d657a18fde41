#include <algorithm>
#include <stdexcept>
#include <string>

#include "bindings.h"
#include "frame_state.h"

namespace nb = nanobind;

namespace visavis {
namespace {

// One forward pass and what its backward pass needs.
class Frame {
 public:
  void forward(int n, std::array<Address, 5> inputs, std::array<Address, 3> images, int width, int height,
               std::array<float, 4> intrinsics, std::array<float, 12> view_rows) {
    FrameView& v = state_->view;
    v = FrameView{};
    v.n = n;
    v.camera = {width, height, intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3], {}, maths::kPinhole};
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

}  // namespace

void register_raster(nb::module_& m) {
  nb::class_<Frame>(m, "Frame")
      .def(nb::init<>())
      .def("forward", &Frame::forward, ReleaseGil(), nb::arg("n"), nb::arg("inputs"), nb::arg("images"), nb::arg("width"),
           nb::arg("height"), nb::arg("intrinsics"), nb::arg("view_rows"))
      .def("backward", &Frame::backward, ReleaseGil(), nb::arg("inputs"), nb::arg("images"), nb::arg("image_gradients"),
           nb::arg("gradients"))
      .def("bytes", &Frame::bytes);
}

}  // namespace visavis
