// A rendered frame over its background, beside the training frame that it is compared with.
#pragma once

#include <cstdint>

namespace visavis {

struct CompositeView {
  int width, height;
  const uint8_t* rgba;     // (h, w, 4): the training frame and its person mask
  const uint8_t* covered;  // (h, w) not 0: the pixel does not count; may be null
  const float* plate;      // (h, w, 3) clean plate; null: the backdrop, also behind the person of the training frame
  float backdrop[3];
  float mask_weight;       // of each pixel's |alpha - mask|
  const float *rgb, *alpha;
  float *image, *target;   // (h, w, 3)
  const float* grad_image;
  float* grad_alpha;
};

// A picture for people.
struct PictureView {
  int width, height;
  const float *rgb, *alpha;
  const uint8_t* plate;  // (h, w, 3); null: the colour
  float color[3];
  uint8_t* out;          // (h, w, 3)
};

struct CompositeSums {
  double mask_error, squared_error;
  int64_t pixels;  // that count
};

}  // namespace visavis
