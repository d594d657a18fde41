// Coloured surface points beside a picture: residuals, the frame's light, and what they say about the points' places.
#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr float kNear = 1e-3f;
typedef float v8 __attribute__((vector_size(32)));
typedef float v8_unaligned __attribute__((vector_size(32), aligned(4), may_alias));

// Arrays over the points of one frame.
struct Points {
  float* camera[3];
  float* seen[kPictureChannels];
  float* cost;
};

VISAVIS_INLINE Points points_in(const AlignmentView& v, float* scratch) {
  Points p;
  for (auto& array : p.camera) array = scratch, scratch += v.points;
  for (auto& array : p.seen) array = scratch, scratch += v.points;
  p.cost = scratch;
  return p;
}

VISAVIS_INLINE float inside(float x, float last) { return x > 0.f ? (x < last ? x : last) : 0.f; }  // also without NaN

// Project the points and read the picture there: bilinear, the border repeated outside.
VISAVIS_INLINE void look(const AlignmentView& v, int frame, const Points& out) {
  const float* r = v.rotation + frame * 9;
  const float* t = v.translation + frame * 3;
  const float* head = v.head + (int64_t)frame * v.points * 3;
  for (int p = 0; p < v.points; p++, head += 3)
    for (int i = 0; i < 3; i++)
      out.camera[i][p] = r[3 * i] * head[0] + r[3 * i + 1] * head[1] + r[3 * i + 2] * head[2] + t[i];
  const float* picture = v.pictures + (int64_t)frame * v.height * v.width * kPictureChannels;
  for (int p = 0; p < v.points; p++) {
    const float z = out.camera[2][p], inverse = v.focal / (z > kNear ? z : kNear);
    const float x = inside(inverse * out.camera[0][p] + v.centre_x - 0.5f, (float)(v.width - 1));
    const float y = inside(inverse * out.camera[1][p] + v.centre_y - 0.5f, (float)(v.height - 1));
    const int x0 = (int)x, y0 = (int)y;
    const float fx = x - (float)x0, fy = y - (float)y0;
    const int right = x0 + 1 < v.width ? kPictureChannels : 0;
    const int64_t below = y0 + 1 < v.height ? (int64_t)v.width * kPictureChannels : 0;
    const float* a = picture + ((int64_t)y0 * v.width + x0) * kPictureChannels;
    const float w11 = fx * fy, w10 = fy - w11, w01 = fx - w11, w00 = 1.f - fx - w10;
    const auto eight = [](const float* from) { return *reinterpret_cast<const v8_unaligned*>(from); };
    const v8 first = w00 * eight(a) + w01 * eight(a + right) + w10 * eight(a + below) + w11 * eight(a + below + right);
    for (int c = 0; c < 8; c++) out.seen[c][p] = first[c];
    out.seen[8][p] = w00 * a[8] + w01 * a[right + 8] + w10 * a[below + 8] + w11 * a[below + right + 8];
  }
}

// Geman and McClure's weight of a residual whose mean square is off2.
VISAVIS_INLINE float robust(float off2, float precision, float outlier) {
  const float w = 1.f / (1.f + off2 * precision / (outlier * outlier));
  return w * w;
}

// Solve a symmetric positive definite system by Cholesky; only the lower triangle is read.
VISAVIS_INLINE void solve_lamps(float a[kLampTerms][kLampTerms], float* b) {
  for (int i = 0; i < kLampTerms; i++)
    for (int j = 0; j <= i; j++) {
      float s = a[i][j];
      for (int k = 0; k < j; k++) s -= a[i][k] * a[j][k];
      a[i][j] = i == j ? __builtin_sqrtf(s > 1e-12f ? s : 1e-12f) : s / a[j][j];
    }
  for (int i = 0; i < kLampTerms; i++) {
    for (int k = 0; k < i; k++) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  for (int i = kLampTerms - 1; i >= 0; i--) {
    for (int k = i + 1; k < kLampTerms; k++) b[i] -= a[k][i] * b[k];
    b[i] /= a[i][i];
  }
}

// The frame's light per channel, in the head's frame: what to multiply a colour with, beside 1, for (1, normal).
VISAVIS_INLINE void find_light(const AlignmentView& v, int frame, const Points& at, float light[3][kLampTerms]) {
  const float* r = v.rotation + frame * 9;
  const float* weights = v.weights + (int64_t)frame * v.points;
  float matrix[3][kLampTerms][kLampTerms] = {};
  for (int c = 0; c < 3; c++)
    for (int i = 0; i < kLampTerms; i++) light[c][i] = 0.f;
  for (int p = 0; p < v.points; p += v.stride) {
    const float *color = v.colors + 3 * p, *n = v.normals + 3 * p;
    float off[3], off2 = 0.f;
    for (int c = 0; c < 3; c++) off[c] = at.seen[c][p] - color[c], off2 += off[c] * off[c];
    const float trust = weights[p] * robust(off2 / 3.f, v.precision[p], v.outlier);
    float lamp[kLampTerms] = {1.f};
    for (int i = 0; i < 3; i++) lamp[1 + i] = r[3 * i] * n[0] + r[3 * i + 1] * n[1] + r[3 * i + 2] * n[2];
    for (int c = 0; c < 3; c++) {
      const float scale = trust * color[c];
      for (int i = 0; i < kLampTerms; i++) {
        light[c][i] += scale * off[c] * lamp[i];
        for (int j = 0; j <= i; j++) matrix[c][i][j] += scale * color[c] * lamp[i] * lamp[j];
      }
    }
  }
  for (int c = 0; c < 3; c++) {
    const float all = matrix[c][0][0];
    for (int i = 0; i < kLampTerms; i++) matrix[c][i][i] += all * v.light_ridge[i] + 1e-9f;
    solve_lamps(matrix[c], light[c]);
    float turned[3];
    for (int i = 0; i < 3; i++) turned[i] = r[i] * light[c][1] + r[3 + i] * light[c][2] + r[6 + i] * light[c][3];
    for (int i = 0; i < 3; i++) light[c][1 + i] = turned[i];
  }
}

VISAVIS_INLINE float total(const float* values, int count) {
  vf sums = {};
  int p = 0;
  for (; p + kLanes <= count; p += kLanes) sums += load(values + p);
  float rest = sum(sums);
  for (; p < count; p++) rest += values[p];
  return rest;
}

}  // namespace

int64_t alignment_scratch(const AlignmentView& v) { return (int64_t)v.points * (3 + kPictureChannels + 1); }

void align(const AlignmentView& v, int frame, float* scratch) {
  const Points at = points_in(v, scratch);
  look(v, frame, at);
  float light[3][kLampTerms];
  find_light(v, frame, at, light);
  const float* r = v.rotation + frame * 9;
  const int64_t first = (int64_t)frame * v.points;
  const int few = v.few();
  for (int p = 0; p < v.points; p++) {
    const float *color = v.colors + 3 * p, *n = v.normals + 3 * p;
    float* lit = v.lit + (first + p) * 3;
    float residual[3], square = 0.f, slope_x[3], slope_y[3];
    for (int c = 0; c < 3; c++) {
      lit[c] = color[c] * (1.f + light[c][0] + light[c][1] * n[0] + light[c][2] * n[1] + light[c][3] * n[2]);
      residual[c] = at.seen[c][p] - lit[c];
      square += residual[c] * residual[c];
      slope_x[c] = at.seen[3 + c][p], slope_y[c] = at.seen[6 + c][p];
    }
    const float trust = v.weights[first + p] * robust(square / 3.f, v.precision[p], v.outlier);
    v.trust[first + p] = trust;
    at.cost[p] = trust * square;
    // Pixels by the point in the head's frame, for x and y.
    const float z = at.camera[2][p] > kNear ? at.camera[2][p] : kNear, inverse = v.focal / z;
    const float away_x = -inverse * at.camera[0][p] / z, away_y = -inverse * at.camera[1][p] / z;
    float by_x[3], by_y[3];
    for (int i = 0; i < 3; i++) by_x[i] = inverse * r[i] + away_x * r[6 + i], by_y[i] = inverse * r[3 + i] + away_y * r[6 + i];
    float force_x = 0.f, force_y = 0.f, xx = 0.f, xy = 0.f, yy = 0.f;
    for (int c = 0; c < 3; c++) {
      force_x += slope_x[c] * residual[c], force_y += slope_y[c] * residual[c];
      xx += slope_x[c] * slope_x[c], xy += slope_x[c] * slope_y[c], yy += slope_y[c] * slope_y[c];
    }
    float* gradient = v.gradient + (first + p) * 3;
    for (int i = 0; i < 3; i++) gradient[i] = trust * (force_x * by_x[i] + force_y * by_y[i]);
    if (p % v.stride) continue;
    // Three channels weigh as two measurements: the Cholesky factor of their slopes' square.
    const float scale = __builtin_sqrtf(trust * (float)v.stride);
    const float one = __builtin_sqrtf(xx > 1e-20f ? xx : 1e-20f), both = xy / one, left = yy - both * both;
    const float two = __builtin_sqrtf(left > 0.f ? left : 0.f);
    float* rows = v.rows + ((int64_t)frame * few + p / v.stride) * 6;
    for (int i = 0; i < 3; i++) rows[i] = scale * (one * by_x[i] + both * by_y[i]), rows[3 + i] = scale * two * by_y[i];
  }
  v.value[frame] = total(at.cost, v.points) / 2.f;
}

void alignment_cost(const AlignmentView& v, int frame, float* scratch) {
  const Points at = points_in(v, scratch);
  look(v, frame, at);
  const int64_t first = (int64_t)frame * v.points;
  for (int p = 0; p < v.points; p++) {
    const float* lit = v.lit + (first + p) * 3;
    float square = 0.f;
    for (int c = 0; c < 3; c++) square += (at.seen[c][p] - lit[c]) * (at.seen[c][p] - lit[c]);
    at.cost[p] = v.trust[first + p] * square;
  }
  v.value[frame] = total(at.cost, v.points) / 2.f;
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
