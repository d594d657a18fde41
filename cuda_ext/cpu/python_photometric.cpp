#include "bindings.h"
#include "photometric.h"

namespace nb = nanobind;

namespace visavis {

void register_photometric(nb::module_& m) {
  m.def(
      "photometric_loss",
      [](Address image, Address target, int height, int width, int channels, float ssim_weight, Address grad) {
        return photometric_loss(floats(image), floats(target), height, width, channels, ssim_weight, floats(grad));
      },
      ReleaseGil(), nb::arg("image"), nb::arg("target"), nb::arg("height"), nb::arg("width"), nb::arg("channels"),
      nb::arg("ssim_weight"), nb::arg("grad"));
  m.def(
      "ssim",
      [](Address image, Address target, int height, int width, int channels) {
        return mean_ssim(floats(image), floats(target), height, width, channels);
      },
      ReleaseGil(), nb::arg("image"), nb::arg("target"), nb::arg("height"), nb::arg("width"), nb::arg("channels"));
}

}  // namespace visavis
