// SSIM (see maths/ssim.h; zero padding) and L1, with gradients.
//
// Images stay interleaved: a horizontal blur of (w, c) rows is a blur with stride c, so channels need no splitting.
#include "lanes.h"
#include "maths/ssim.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kRadius = maths::kSsimRadius, kTaps = maths::kSsimTaps;
constexpr float kWindow[kRadius + 1] = {maths::ssim_tap(0), maths::ssim_tap(1), maths::ssim_tap(2),
                                        maths::ssim_tap(3), maths::ssim_tap(4), maths::ssim_tap(5)};

enum Map { kMeanImage, kMeanTarget, kEnergy, kCross, kMaps };

// Rows are padded so that whole vectors and all taps stay inside: [margin | w * c | margin].
struct Layout {
  int row, margin, stride;  // floats
  explicit Layout(const PhotometricView& v) {
    row = v.width * v.channels;
    margin = (kRadius * v.channels + kLanes - 1) / kLanes * kLanes;
    stride = margin + (row + kLanes - 1) / kLanes * kLanes + margin;
  }
};

VISAVIS_INLINE vf lane_numbers() {
  vf v;
  for (int l = 0; l < kLanes; l++) v[l] = (float)l;
  return v;
}

// value where at + lane < end, elsewhere 0.
VISAVIS_INLINE vf keep_before(vf value, int at, int end) {
  if (at + kLanes <= end) return value;
  return select(ge(broadcast((float)(end - at) - 0.5f), lane_numbers()), value, vf{});
}

VISAVIS_INLINE vf blur_x(const float* centre, int channels) {
  vf s = kWindow[0] * load(centre);
  for (int k = 1; k <= kRadius; k++)
    s = fma(broadcast(kWindow[k]), load(centre - k * channels) + load(centre + k * channels), s);
  return s;
}

// rows[kRadius] is the centre row.
VISAVIS_INLINE vf blur_y(const float* const* rows, int at) {
  vf s = kWindow[0] * load(rows[kRadius] + at);
  for (int k = 1; k <= kRadius; k++)
    s = fma(broadcast(kWindow[k]), load(rows[kRadius - k] + at) + load(rows[kRadius + k] + at), s);
  return s;
}

// Blur one image row along x: the four maps that SSIM needs, into `maps` (kMaps rows of `stride`).
void blur_row(const PhotometricView& v, const Layout& layout, int y, float* padded, float* maps) {
  const int64_t start = (int64_t)y * layout.row;
  float* p = padded + layout.margin;
  float *q = p + layout.stride, *energy = q + layout.stride, *cross = energy + layout.stride;
  memcpy(p, v.image + start, sizeof(float) * layout.row);
  memcpy(q, v.target + start, sizeof(float) * layout.row);
  for (int x = 0; x < layout.row; x += kLanes) {
    const vf a = load(p + x), b = load(q + x);
    store(energy + x, fma(a, a, b * b));
    store(cross + x, a * b);
  }
  for (int m = 0; m < kMaps; m++)
    for (int x = 0; x < layout.row; x += kLanes)
      store(maps + m * layout.stride + x, blur_x(p + m * layout.stride + x, v.channels));
}

}  // namespace

int64_t photometric_scratch(const PhotometricView& v) {
  return (int64_t)(kMaps + kTaps * kMaps + 3 + 1) * Layout(v).stride;
}

int64_t photometric_map(const PhotometricView& v) { return (int64_t)Layout(v).stride * v.height; }

double ssim_rows(const PhotometricView& v, int y0, int y1, float* scratch) {
  const Layout layout(v);
  const int stride = layout.stride;
  memset(scratch, 0, sizeof(float) * photometric_scratch(v));
  float *padded = scratch, *ring = padded + kMaps * stride, *derivative = ring + kTaps * kMaps * stride;
  double total = 0;
  for (int last = y0 - kRadius; last < y1 + kRadius; last++) {
    float* newest = ring + (last + kTaps) % kTaps * kMaps * stride;
    if (last >= 0 && last < v.height)
      blur_row(v, layout, last, padded, newest);
    else
      memset(newest, 0, sizeof(float) * kMaps * stride);
    const int y = last - kRadius;
    if (y < y0) continue;
    const float* rows[kMaps][kTaps];
    for (int k = 0; k < kTaps; k++)
      for (int m = 0; m < kMaps; m++) rows[m][k] = ring + ((y - kRadius + k + kTaps) % kTaps * kMaps + m) * stride;
    vf sums{};
    float* d = derivative + layout.margin;
    for (int x = 0; x < layout.row; x += kLanes) {
      const auto s = maths::ssim(blur_y(rows[kMeanImage], x), blur_y(rows[kMeanTarget], x), blur_y(rows[kEnergy], x),
                                 blur_y(rows[kCross], x));
      sums += keep_before(s.value, x, layout.row);
      store(d + x, keep_before(s.d_mean, x, layout.row));
      store(d + stride + x, keep_before(s.d_energy, x, layout.row));
      store(d + 2 * stride + x, keep_before(s.d_cross, x, layout.row));
    }
    total += sum(sums);
    if (!v.grad) continue;
    float* const outputs[3] = {v.grad_mean, v.grad_square, v.grad_cross};
    for (int m = 0; m < 3; m++)
      for (int x = 0; x < layout.row; x += kLanes)
        store(outputs[m] + (int64_t)y * stride + x, blur_x(d + m * stride + x, v.channels));
  }
  return total;
}

double loss_rows(const PhotometricView& v, int y0, int y1, float* scratch) {
  const Layout layout(v);
  float* zeros = scratch;
  memset(zeros, 0, sizeof(float) * layout.stride);
  const float* const maps[3] = {v.grad_mean, v.grad_square, v.grad_cross};
  double total = 0;
  for (int y = y0; y < y1; y++) {
    const float* rows[3][kTaps];
    for (int m = 0; m < 3; m++)
      for (int k = 0; k < kTaps; k++) {
        const int row = y - kRadius + k;
        rows[m][k] = row >= 0 && row < v.height ? maps[m] + (int64_t)row * layout.stride : zeros;
      }
    const int64_t start = (int64_t)y * layout.row;
    vf sums{};
    for (int x = 0; x < layout.row; x += kLanes) {
      const int count = imin(kLanes, layout.row - x);
      float tail[2][kLanes] = {};
      vf p, q;
      if (count == kLanes) {
        p = load(v.image + start + x), q = load(v.target + start + x);
      } else {
        memcpy(tail[0], v.image + start + x, sizeof(float) * count);
        memcpy(tail[1], v.target + start + x, sizeof(float) * count);
        p = load(tail[0]), q = load(tail[1]);
      }
      const vf difference = p - q;
      sums += max(difference, -difference);
      if (!v.grad) continue;
      const vf zero{};
      const vf sign = select(ge(zero, difference), select(ge(difference, zero), zero, broadcast(-1.f)), broadcast(1.f));
      const vf slope = blur_y(rows[0], x) + 2.f * p * blur_y(rows[1], x) + q * blur_y(rows[2], x);
      const vf gradient = v.l1_weight * sign - v.ssim_weight * slope;
      if (count == kLanes) {
        store(v.grad + start + x, gradient);
      } else {
        store(tail[0], gradient);
        memcpy(v.grad + start + x, tail[0], sizeof(float) * count);
      }
    }
    total += sum(sums);
  }
  return total;
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
