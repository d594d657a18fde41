// Rows of a frame over its background, the training frame beside it, and the gradient of that.
#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr float kByte = 1.f / 255.f;
constexpr int kPart = 256;  // pixels of a row at a time: stays in the first-level cache

// One value per pixel, repeated for its three channels.
VISAVIS_INLINE void spread(const float* values, int count, float* out) {
  for (int x = 0; x < count; x++) out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = values[x];
}

// What lies behind `count` pixels from `at` on.
VISAVIS_INLINE void read_behind(const CompositeView& v, int64_t at, int count, float* out) {
  if (v.plate) {
    memcpy(out, v.plate + 3 * at, sizeof(float) * 3 * count);
  } else {
    for (int x = 0; x < count; x++)
      for (int c = 0; c < 3; c++) out[3 * x + c] = v.backdrop[c];
  }
}

struct PartSums {
  float mask_error, squared_error;
  int pixels;
};

VISAVIS_INLINE PartSums composite_part(const CompositeView& v, int64_t at, int count) {
  float mask[kPart], free[kPart], through[kPart], behind[3 * kPart], wide[3 * kPart];
  float *image = v.image + 3 * at, *target = v.target + 3 * at;
  const float *alpha = v.alpha + at, *rgb = v.rgb + 3 * at;
  const uint8_t* rgba = v.rgba + 4 * at;
  PartSums sums{};
  for (int x = 0; x < count; x++) {
    mask[x] = (float)rgba[4 * x + 3] * kByte;
    free[x] = v.covered && v.covered[at + x] ? 0.f : 1.f;
    through[x] = 1.f - alpha[x];
    for (int c = 0; c < 3; c++) target[3 * x + c] = (float)rgba[4 * x + c] * kByte;
  }
  for (int x = 0; x < count; x++) {
    sums.mask_error += free[x] * __builtin_fabsf(alpha[x] - mask[x]);
    sums.pixels += (int)free[x];
  }
  read_behind(v, at, count, behind);
  spread(through, count, wide);
  for (int i = 0; i < 3 * count; i++) image[i] = rgb[i] + wide[i] * behind[i];
  if (!v.plate) {
    spread(mask, count, wide);
    for (int i = 0; i < 3 * count; i++) target[i] = wide[i] * target[i] + (1.f - wide[i]) * behind[i];
  }
  if (sums.pixels < count)
    for (int x = 0; x < count; x++)
      if (free[x] == 0.f)
        for (int c = 0; c < 3; c++) target[3 * x + c] = image[3 * x + c];
  for (int i = 0; i < 3 * count; i++) {
    const float error = image[i] - target[i];
    sums.squared_error += error * error;
  }
  return sums;
}

}  // namespace

CompositeSums composite_rows(const CompositeView& v, int y0, int y1) {
  CompositeSums total{};
  const int64_t end = (int64_t)y1 * v.width;
  for (int64_t at = (int64_t)y0 * v.width; at < end; at += kPart) {
    const PartSums part = composite_part(v, at, (int)(end - at < kPart ? end - at : kPart));
    total.mask_error += part.mask_error;
    total.squared_error += part.squared_error;
    total.pixels += part.pixels;
  }
  return total;
}

// dLoss/dalpha from dLoss/dimage; dLoss/drgb is dLoss/dimage itself.
void composite_rows_backward(const CompositeView& v, int y0, int y1) {
  for (int64_t at = (int64_t)y0 * v.width, end = (int64_t)y1 * v.width; at < end; at++) {
    const float mask = (float)v.rgba[4 * at + 3] * kByte, off = v.alpha[at] - mask;
    const float* g = v.grad_image + 3 * at;
    const float* behind = v.plate ? v.plate + 3 * at : v.backdrop;
    const float counts = v.covered && v.covered[at] ? 0.f : v.mask_weight;
    const float sign = (float)(off > 0.f) - (float)(off < 0.f);
    v.grad_alpha[at] = counts * sign - (g[0] * behind[0] + g[1] * behind[1] + g[2] * behind[2]);
  }
}

// Colours in [0, 1] over the background, rounded to bytes.
void picture_rows(const PictureView& v, int y0, int y1) {
  float through[kPart], wide[3 * kPart];
  for (int64_t at = (int64_t)y0 * v.width, end = (int64_t)y1 * v.width; at < end; at += kPart) {
    const int count = (int)(end - at < kPart ? end - at : kPart);
    const float* rgb = v.rgb + 3 * at;
    uint8_t* out = v.out + 3 * at;
    for (int x = 0; x < count; x++) through[x] = 1.f - v.alpha[at + x];
    spread(through, count, wide);
    if (v.plate) {
      const uint8_t* plate = v.plate + 3 * at;
      for (int i = 0; i < 3 * count; i++) wide[i] = rgb[i] + wide[i] * ((float)plate[i] * kByte);
    } else {
      for (int x = 0; x < count; x++)
        for (int c = 0; c < 3; c++) wide[3 * x + c] = rgb[3 * x + c] + wide[3 * x + c] * v.color[c];
    }
    for (int i = 0; i < 3 * count; i++) {
      const float clipped = wide[i] > 0.f ? (wide[i] < 1.f ? wide[i] : 1.f) : 0.f;  // NaN, of colours that overflow: 0
      out[i] = (uint8_t)(int)(clipped * 255.f + 0.5f);
    }
  }
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
