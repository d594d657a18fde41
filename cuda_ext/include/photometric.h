// Image losses over whole images (h, w, c), split into bands of rows.
#pragma once

#include <cstdint>

namespace visavis {

// Mean SSIM.
double mean_ssim(const float* image, const float* target, int height, int width, int channels);

// (1 - ssim_weight) mean|image - target| + ssim_weight (1 - SSIM); `grad` (h, w, c) may be null.
double photometric_loss(const float* image, const float* target, int height, int width, int channels, float ssim_weight,
                        float* grad);

}  // namespace visavis
