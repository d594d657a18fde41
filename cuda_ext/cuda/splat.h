// Projected Gaussians as the kernels pass them on, and the one place where a pixel meets a Gaussian.
#pragma once

#include "device.h"
#include "maths/projection.h"

using visavis::maths::Camera;
using visavis::maths::CameraModel;
using visavis::maths::Ellipse;
using visavis::maths::Shape;

constexpr int kTile = 16;              // pixels along a tile's side; one thread per pixel
constexpr int kTilePixels = kTile * kTile;
constexpr int kCameraFloats = 16;      // fx, fy, cx, cy, rows of [R | t]
constexpr int kGeometrySums = 7;       // per splat, of the backward raster pass, before those of its values
constexpr int kUnseen = -1;            // the depth key of a Gaussian that is not drawn: sorts last
constexpr float kMinNorm = visavis::maths::kMinNorm;
constexpr float kMaxAlpha = visavis::maths::kMaxAlpha;
constexpr float kMinTransmittance = visavis::maths::kMinTransmittance;
constexpr float kLog2MinAlpha = visavis::maths::kLog2MinAlpha;

// log2 alpha = l2o - a dx^2 - b dx dy - c dy^2; z is the depth.
struct alignas(16) Splat {
  float x, y, a, b, c, l2o, z, unused;
};

// Tiles that a splat may touch, inclusive, 16 bits a side; none of a Gaussian that is not drawn.
struct TileRect {
  int x, y;  // first | last << 16

  __device__ int x0() const { return x & 0xffff; }
  __device__ int x1() const { return x >> 16; }
  __device__ int y0() const { return y & 0xffff; }
  __device__ int y1() const { return y >> 16; }
  __device__ bool none() const { return x < 0; }
};

__device__ __forceinline__ Camera<float> read_camera(const float* row, int width, int height, int model) {
  Camera<float> cam;
  cam.width = width, cam.height = height, cam.model = static_cast<CameraModel>(model);
  cam.fx = row[0], cam.fy = row[1], cam.cx = row[2], cam.cy = row[3];
#pragma unroll
  for (int i = 0; i < 12; i++) cam.view[i] = row[4 + i];
  return cam;
}

__device__ __forceinline__ Ellipse<float> see(const Camera<float>& cam, const float* mean, const Shape<float>& shape) {
  using namespace visavis::maths;
  if (cam.model == kFisheye) return project_gaussian<kFisheye>(cam, mean, shape);
  if (cam.model == kOrthographic) return project_gaussian<kOrthographic>(cam, mean, shape);
  return project_gaussian<kPinhole>(cam, mean, shape);
}

__device__ __forceinline__ void see_backward(const Camera<float>& cam, const float* mean, const Shape<float>& shape,
                                             const Ellipse<float>& seen, const visavis::maths::Moments<float>& moments,
                                             float gz, visavis::maths::GaussianGradient<float>& out, float* gview) {
  using namespace visavis::maths;
  if (cam.model == kFisheye)
    project_gaussian_backward<kFisheye>(cam, mean, shape, seen, moments, gz, out, gview);
  else if (cam.model == kOrthographic)
    project_gaussian_backward<kOrthographic>(cam, mean, shape, seen, moments, gz, out, gview);
  else
    project_gaussian_backward<kPinhole>(cam, mean, shape, seen, moments, gz, out, gview);
}

// First and last tile with a pixel centre within `extent` of `centre`; false if there is none.
__device__ __forceinline__ bool tile_range(float centre, float extent, int size, int& packed) {
  const float reach = extent * 1.0001f + 0.001f;  // never lose a pixel to rounding: the alpha test decides
  const float first = fmaxf(ceilf(centre - reach - 0.5f), 0.f), last = fminf(floorf(centre + reach - 0.5f), size - 1.f);
  if (!(first <= last)) return false;  // also for NaN
  packed = static_cast<int>(first) / kTile | (static_cast<int>(last) / kTile) << 16;
  return true;
}

// What one camera needs to draw a Gaussian; false if it is not drawn.
__device__ __forceinline__ bool make_splat(const Camera<float>& cam, const Ellipse<float>& seen, float opacity,
                                           Splat& splat, TileRect& rect) {
  const float l2o = opacity > 0.f ? log2f(opacity) : -100.f;
  const float reach = visavis::maths::squared_reach(l2o);
  constexpr float kLog2E = visavis::maths::kLog2E;
  splat = {seen.at.u, seen.at.v, 0.5f * kLog2E * seen.A, kLog2E * seen.B, 0.5f * kLog2E * seen.C, l2o, seen.point[2], 0.f};
  rect = {-1, -1};
  int x, y;
  const bool drawn = seen.point[2] > static_cast<float>(visavis::maths::kNear) && l2o >= kLog2MinAlpha &&
                     tile_range(seen.at.u, sqrtf(reach * seen.aa), cam.width, x) &&
                     tile_range(seen.at.v, sqrtf(reach * seen.bb), cam.height, y);
  if (drawn) rect = {x, y};
  return drawn;
}

// Projects one Gaussian, stores it as splat number `to`, and counts it on the tiles that it may touch.
__device__ __forceinline__ void count_splat(const Camera<float>& cam, const float* mean, const float* quat,
                                            const float* scale, float opacity, long long to, int view, float* splats,
                                            int* rects, int* keys, int* tile_counts, int* bad) {
  const Shape<float> shape(quat, scale);
  Splat splat;
  TileRect rect;
  const bool drawn = make_splat(cam, see(cam, mean, shape), opacity, splat, rect);
  reinterpret_cast<Splat*>(splats)[to] = splat;
  reinterpret_cast<TileRect*>(rects)[to] = rect;
  keys[to] = drawn ? __float_as_int(splat.z) : kUnseen;
  const float all = mean[0] + mean[1] + mean[2] + quat[0] + quat[1] + quat[2] + quat[3] + scale[0] + scale[1] +
                    scale[2] + opacity;
  if (!(fabsf(all) <= 3.4e38f)) atomicAdd(bad + view, 1);
  if (!drawn) return;
  const int tiles_x = (cam.width + kTile - 1) / kTile, tiles = tiles_x * ((cam.height + kTile - 1) / kTile);
  int* counts = tile_counts + static_cast<long long>(view) * tiles;
  for (int ty = rect.y0(); ty <= rect.y1(); ty++)
    for (int tx = rect.x0(); tx <= rect.x1(); tx++) atomicAdd(counts + ty * tiles_x + tx, 1);
}

// How a splat covers a pixel centre. Both directions evaluate these very operations to agree on every threshold.
struct Cover {
  float dx, dy, raw, alpha;  // alpha is 0 where the splat is skipped
};

__device__ __forceinline__ Cover cover(const Splat& g, float px, float py) {
  Cover o;
  o.dx = g.x - px, o.dy = g.y - py;
  const float constant = visavis::maths::row_constant(o.dy, g.c, g.l2o);
  const float l2a = visavis::maths::log2_alpha(o.dx, g.a, g.b * o.dy, constant);
  o.raw = exp2f(l2a);
  o.alpha = l2a >= kLog2MinAlpha ? fminf(o.raw, kMaxAlpha) : 0.f;
  return o;
}
