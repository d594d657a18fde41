#include <algorithm>

#include "bindings.h"
#include "finite.h"
#include "frame_state.h"

namespace nb = nanobind;

namespace visavis {
namespace {

constexpr int kCameraFloats = 16;  // fx, fy, cx, cy, rows of [R | t]

using Inputs = std::array<Address, 7>;          // means, quats, scales, opacities, colors, features, labels
using Images = std::array<Address, 7>;          // rgb, alpha, depth, features, normals, median depth, labels
using ImageGradients = std::array<Address, 5>;  // rgb, alpha, depth, features, normals
using Gradients = std::array<Address, 7>;       // means, quats, scales, opacities, colors, features, views

// One forward pass and what its backward pass needs. Address 0: not given, or not wanted.
class Frame {
 public:
  void forward(int n, int channels, int harmonics, const Inputs& inputs, int cameras, Address camera_rows, int model,
               int width, int height, const Images& images) {
    FrameView& v = state_->view;
    v = FrameView{};
    v.n = n, v.channels = channels, v.harmonics = harmonics;
    state_->cameras.resize(cameras);
    for (int c = 0; c < cameras; c++) {
      const float* row = floats(camera_rows) + kCameraFloats * c;
      Camera& camera = state_->cameras[c];
      camera = {width, height, row[0], row[1], row[2], row[3], {}, (maths::CameraModel)model};
      std::copy(row + 4, row + kCameraFloats, camera.view);
    }
    set_inputs(inputs, images);
    require_finite_gaussians(state_->forward(), n);
  }

  void backward(const Inputs& inputs, const Images& images, const ImageGradients& image_gradients,
                const Gradients& gradients) {
    set_inputs(inputs, images);
    FrameView& v = state_->view;
    v.grad_rgb = floats(image_gradients[0]), v.grad_alpha = floats(image_gradients[1]);
    v.grad_depth = floats(image_gradients[2]), v.grad_feature_image = floats(image_gradients[3]);
    v.grad_normals = floats(image_gradients[4]);
    v.grad_means = floats(gradients[0]), v.grad_quats = floats(gradients[1]), v.grad_scales = floats(gradients[2]);
    v.grad_opacities = floats(gradients[3]), v.grad_colors = floats(gradients[4]);
    v.grad_features = floats(gradients[5]), v.grad_views = floats(gradients[6]);
    state_->backward();
  }

  size_t bytes() const { return state_->bytes(); }

 private:
  void set_inputs(const Inputs& inputs, const Images& images) {
    FrameView& v = state_->view;
    v.means = floats(inputs[0]), v.quats = floats(inputs[1]), v.scales = floats(inputs[2]);
    v.opacities = floats(inputs[3]), v.colors = floats(inputs[4]), v.features = floats(inputs[5]);
    v.labels = integers(inputs[6]);
    v.rgb = floats(images[0]), v.alpha = floats(images[1]), v.depth = floats(images[2]);
    v.feature_image = floats(images[3]), v.normals = floats(images[4]), v.median_depth = floats(images[5]);
    v.label_image = reinterpret_cast<int32_t*>(images[6]);
  }

  FramePointer state_ = take_frame();
};

}  // namespace

void register_raster(nb::module_& m) {
  nb::class_<Frame>(m, "Frame")
      .def(nb::init<>())
      .def("forward", &Frame::forward, ReleaseGil(), nb::arg("n"), nb::arg("channels"), nb::arg("harmonics"),
           nb::arg("inputs"), nb::arg("cameras"), nb::arg("camera_rows"), nb::arg("model"), nb::arg("width"),
           nb::arg("height"), nb::arg("images"))
      .def("backward", &Frame::backward, ReleaseGil(), nb::arg("inputs"), nb::arg("images"), nb::arg("image_gradients"),
           nb::arg("gradients"))
      .def("bytes", &Frame::bytes);
  m.def("get_memory_limit", &get_memory_limit);
  m.def("set_memory_limit", &set_memory_limit, nb::arg("bytes"));
}

}  // namespace visavis
