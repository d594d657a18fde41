#include "photometric.h"

#include <algorithm>
#include <vector>

#include "buffer.h"
#include "kernels.h"
#include "thread_pool.h"

namespace visavis {
namespace {

// Bands depend on the image only, never on the threads: the sums come out the same on every machine.
struct Bands {
  int rows, count;
  explicit Bands(int height) {
    rows = std::max(12, (height + 15) / 16);
    count = (height + rows - 1) / rows;
  }
};

using RowKernel = double (*)(const PhotometricView&, int, int, float*);

double sum_over_bands(const PhotometricView& view, RowKernel kernel, int64_t scratch_floats) {
  const Bands bands(view.height);
  std::vector<double> sums(bands.count);
  parallel(bands.count, [&](int band) {
    thread_local Buffer<float> scratch;
    const int y0 = band * bands.rows, y1 = std::min(y0 + bands.rows, view.height);
    sums[band] = kernel(view, y0, y1, scratch.reserve(scratch_floats));
  });
  double total = 0;
  for (double s : sums) total += s;
  return total;
}

}  // namespace

double mean_ssim(const float* image, const float* target, int height, int width, int channels) {
  PhotometricView view{};
  view.width = width, view.height = height, view.channels = channels, view.image = image, view.target = target;
  const Kernels& k = kernels();
  return sum_over_bands(view, k.ssim_rows, k.photometric_scratch(view)) / ((double)height * width * channels);
}

double photometric_loss(const float* image, const float* target, int height, int width, int channels, float ssim_weight,
                        float* grad) {
  PhotometricView view{};
  view.width = width, view.height = height, view.channels = channels, view.image = image, view.target = target;
  const double values = (double)height * width * channels;
  view.l1_weight = (float)((1.0 - ssim_weight) / values);
  view.ssim_weight = (float)(ssim_weight / values);
  const Kernels& k = kernels();
  thread_local Buffer<float> maps;
  if (grad) {
    const int64_t floats = k.photometric_map(view);
    view.grad = grad;
    view.grad_mean = maps.reserve(3 * floats);
    view.grad_square = view.grad_mean + floats;
    view.grad_cross = view.grad_square + floats;
  }
  const int64_t scratch = k.photometric_scratch(view);
  const double ssim = sum_over_bands(view, k.ssim_rows, scratch) / values;
  const double l1 = sum_over_bands(view, k.loss_rows, scratch) / values;
  return (1.0 - ssim_weight) * l1 + ssim_weight * (1.0 - ssim);
}

}  // namespace visavis
