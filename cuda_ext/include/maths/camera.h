// Camera models: from a point in camera axes (OpenCV: +X right, +Y down, +Z forward) to pixels, and all derivatives.
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

enum CameraModel {
  kPinhole,      // u = fx x / z + cx
  kFisheye,      // u = fx theta x / r + cx with r = |(x, y)|, theta = atan2(r, z): equidistant, OpenCV's without distortion
  kOrthographic  // u = fx x + cx, fx in pixels per metre
};

constexpr double kNear = 0.01;  // metres: what is not farther along z is not seen, by any model

template <class S>
struct Camera {
  int width, height;
  S fx, fy, cx, cy;
  S view[12];  // rows of [R | t], camera <- world
  CameraModel model;
};

// Where a point lands, and the Jacobian of that.
template <class T>
struct ImagePoint {
  T u, v;
  T J[2][3];
};

template <class S, class T>
VISAVIS_HD void to_camera(const Camera<S>& cam, const T* world, T* point) {
  for (int i = 0; i < 3; i++) {
    const S* row = cam.view + 4 * i;
    point[i] = row[0] * world[0] + row[1] * world[1] + row[2] * world[2] + row[3];
  }
}

// The equidistant model's radial part: k = theta / r and its derivatives, with s = r^2:
// dk/ds = h / 2, dk/dz = -1 / (s + z^2), dh/ds = g, dh/dz = 2 / (s + z^2)^2.
template <class T>
struct Equidistant {
  T k, h, g, inv_square;  // inv_square = 1 / (s + z^2)

  VISAVIS_HD Equidistant(T s, T z) {
    using R = Real<T>;
    inv_square = Scalar<T>(1) / (s + z * z);
    const T safe = R::max(s, constant<T>(kMinNorm * kMinNorm)), r = R::sqrt(safe);
    const T near_k = R::atan2(r, z) / r, near_h = (z * inv_square - near_k) / safe;
    const T near_g = -(z * inv_square * inv_square + Scalar<T>(1.5) * near_h) / safe;
    // Close to the axis the differences cancel: their series in t = (r / z)^2.
    const T w = Scalar<T>(1) / z, t = s * w * w, w3 = w * w * w;
    const auto near_axis = R::ge(constant<T>(0.09), t) & R::ge(z, constant<T>(0));
    k = R::select(near_axis, w * series(t, 1, -1. / 3, 1. / 5, -1. / 7, 1. / 9, -1. / 11, 1. / 13), near_k);
    h = R::select(near_axis, w3 * series(t, -2. / 3, 4. / 5, -6. / 7, 8. / 9, -10. / 11, 12. / 13, -14. / 15), near_h);
    g = R::select(near_axis, w3 * w * w * series(t, 4. / 5, -12. / 7, 24. / 9, -40. / 11, 60. / 13, -84. / 15, 112. / 17),
                  near_g);
  }

 private:
  static VISAVIS_HD T series(T t, double a, double b, double c, double d, double e, double f, double g) {
    using S = Scalar<T>;
    return S(a) + t * (S(b) + t * (S(c) + t * (S(d) + t * (S(e) + t * (S(f) + t * S(g))))));
  }
};

// Points nearer than kNear get a finite answer that means nothing: the caller drops them.
template <CameraModel M, class S, class T>
VISAVIS_HD ImagePoint<T> project_point(const Camera<S>& cam, const T* p) {
  ImagePoint<T> o;
  auto& J = o.J;
  if constexpr (M == kOrthographic) {
    o.u = cam.fx * p[0] + cam.cx, o.v = cam.fy * p[1] + cam.cy;
    J[0][0] = constant<T>(cam.fx), J[1][1] = constant<T>(cam.fy);
    J[0][1] = J[0][2] = J[1][0] = J[1][2] = T{};
    return o;
  }
  const T z = Real<T>::max(p[2], constant<T>(kNear));
  if constexpr (M == kPinhole) {
    const T w = S(1) / z, x = p[0] * w, y = p[1] * w;
    o.u = cam.fx * x + cam.cx, o.v = cam.fy * y + cam.cy;
    J[0][0] = cam.fx * w, J[0][1] = T{}, J[0][2] = -J[0][0] * x;
    J[1][0] = T{}, J[1][1] = cam.fy * w, J[1][2] = -J[1][1] * y;
  }
  if constexpr (M == kFisheye) {
    const T x = p[0], y = p[1];
    const Equidistant<T> e(x * x + y * y, z);
    o.u = cam.fx * e.k * x + cam.cx, o.v = cam.fy * e.k * y + cam.cy;
    J[0][0] = cam.fx * (e.k + x * x * e.h), J[0][1] = cam.fx * x * y * e.h, J[0][2] = -cam.fx * x * e.inv_square;
    J[1][0] = cam.fy * x * y * e.h, J[1][1] = cam.fy * (e.k + y * y * e.h), J[1][2] = -cam.fy * y * e.inv_square;
  }
  return o;
}

// dL/dp from dL/du, dL/dv and dL/dJ.
template <CameraModel M, class S, class T>
VISAVIS_HD void project_point_backward(const Camera<S>& cam, const T* p, const ImagePoint<T>& o, T gu, T gv,
                                       const T (*gJ)[3], T* gp) {
  const auto& J = o.J;
  for (int i = 0; i < 3; i++) gp[i] = J[0][i] * gu + J[1][i] * gv;
  if constexpr (M == kOrthographic) return;
  const T z = Real<T>::max(p[2], constant<T>(kNear));
  if constexpr (M == kPinhole) {
    const T w = S(1) / z, aw = J[0][0] * w, bw = J[1][1] * w;
    gp[0] -= aw * gJ[0][2], gp[1] -= bw * gJ[1][2];
    gp[2] -= aw * gJ[0][0] + bw * gJ[1][1] + S(2) * w * (J[0][2] * gJ[0][2] + J[1][2] * gJ[1][2]);
  }
  if constexpr (M == kFisheye) {
    const T x = p[0], y = p[1], q = x * x + y * y;
    const Equidistant<T> e(q, z);
    // J = [fx (k + x^2 h), fx x y h, -fx x i; fy x y h, fy (k + y^2 h), -fy y i] with i = 1 / (q + z^2)
    const T a = cam.fx * gJ[0][0], b = cam.fx * gJ[0][1] + cam.fy * gJ[1][0], d = cam.fy * gJ[1][1];
    const T i = e.inv_square, along_k = a + d, along_h = a * x * x + b * x * y + d * y * y;
    const T far_x = cam.fx * gJ[0][2], far_y = cam.fy * gJ[1][2];
    const T along_i = -(far_x * x + far_y * y);
    const T along_q = S(0.5) * e.h * along_k + e.g * along_h - i * i * along_i;  // through q = x^2 + y^2
    gp[0] += S(2) * x * along_q + e.h * (S(2) * a * x + b * y) - far_x * i;
    gp[1] += S(2) * y * along_q + e.h * (S(2) * d * y + b * x) - far_y * i;
    gp[2] += -i * along_k + S(2) * i * i * (along_h - z * along_i);
  }
}

}  // namespace maths
}  // namespace visavis
