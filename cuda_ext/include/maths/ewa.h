// 3D Gaussians to ellipses in the image: EWA splatting (Zwicker et al. 2001, "EWA Volume Splatting", eq. 24-31).
#pragma once

#include "camera.h"

namespace visavis {
namespace maths {

constexpr double kBlur = 0.3;  // px^2 added to the image-plane covariance, as in 3DGS
constexpr double kMaxAlpha = 0.999;
constexpr double kMinTransmittance = 1e-4;
constexpr double kLog2MinAlpha = -7.994353436858858;  // log2(1/255)
constexpr double kLog2E = 1.4426950408889634;

// A Gaussian's shape in the world: covariance = M M^T with M = R diag(scales). Needs no camera.
template <class T>
struct Shape {
  T quat[4], inv_norm;  // unit wxyz, 1 / length of the given one
  T R[3][3], scale[3], M[3][3];

  VISAVIS_HD Shape() {}
  VISAVIS_HD Shape(const T* q, const T* s) {
    using S = Scalar<T>;
    const T norm = Real<T>::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    inv_norm = S(1) / Real<T>::max(norm, constant<T>(kMinNorm));
    for (int k = 0; k < 4; k++) quat[k] = q[k] * inv_norm;
    const T w = quat[0], x = quat[1], y = quat[2], z = quat[3];
    R[0][0] = S(1) - S(2) * (y * y + z * z), R[0][1] = S(2) * (x * y - w * z), R[0][2] = S(2) * (x * z + w * y);
    R[1][0] = S(2) * (x * y + w * z), R[1][1] = S(1) - S(2) * (x * x + z * z), R[1][2] = S(2) * (y * z - w * x);
    R[2][0] = S(2) * (x * z - w * y), R[2][1] = S(2) * (y * z + w * x), R[2][2] = S(1) - S(2) * (x * x + y * y);
    for (int k = 0; k < 3; k++) {
      scale[k] = s[k];
      for (int i = 0; i < 3; i++) M[i][k] = R[i][k] * s[k];
    }
  }
};

// From dL/dM and dL/dR (on top of what M passes on) to the given quaternion and scales.
template <class T>
VISAVIS_HD void shape_backward(const Shape<T>& o, const T (*gM)[3], const T (*gR)[3], T* gquat, T* gscale) {
  using S = Scalar<T>;
  T G[3][3];
  for (int k = 0; k < 3; k++) {
    gscale[k] = gM[0][k] * o.R[0][k] + gM[1][k] * o.R[1][k] + gM[2][k] * o.R[2][k];
    for (int i = 0; i < 3; i++) G[i][k] = gM[i][k] * o.scale[k] + gR[i][k];
  }
  const T w = o.quat[0], x = o.quat[1], y = o.quat[2], z = o.quat[3];
  const T u0 = G[2][1] - G[1][2], u1 = G[0][2] - G[2][0], u2 = G[1][0] - G[0][1];
  const T v0 = G[2][1] + G[1][2], v1 = G[0][2] + G[2][0], v2 = G[1][0] + G[0][1];
  T g[4];
  g[0] = S(2) * (x * u0 + y * u1 + z * u2);
  g[1] = S(2) * (w * u0 + y * v2 + z * v1 - S(2) * x * (G[1][1] + G[2][2]));
  g[2] = S(2) * (w * u1 + x * v2 + z * v0 - S(2) * y * (G[0][0] + G[2][2]));
  g[3] = S(2) * (w * u2 + x * v1 + y * v0 - S(2) * z * (G[0][0] + G[1][1]));
  const T along = g[0] * w + g[1] * x + g[2] * y + g[3] * z;  // the length has no effect
  for (int k = 0; k < 4; k++) gquat[k] = (g[k] - along * o.quat[k]) * o.inv_norm;
}

// A Gaussian as one camera sees it.
template <class T>
struct Ellipse {
  T point[3];         // its centre in camera axes
  ImagePoint<T> at;
  T V[2][3], N[2][3];  // V = J times the camera's rotation; N = V M: covariance = N N^T + blur
  T aa, ab, bb;       // covariance, px^2
  T A, B, C;          // its inverse: alpha = opacity exp(-(A dx^2 + 2 B dx dy + C dy^2) / 2)
};

template <CameraModel M, class S, class T>
VISAVIS_HD Ellipse<T> project_gaussian(const Camera<S>& cam, const T* mean, const Shape<T>& shape) {
  Ellipse<T> o;
  to_camera(cam, mean, o.point);
  o.at = project_point<M>(cam, o.point);
  const auto& J = o.at.J;
  const S* W = cam.view;
  for (int k = 0; k < 3; k++) {
    if constexpr (M == kFisheye) {
      for (int a = 0; a < 2; a++) o.V[a][k] = J[a][0] * W[k] + J[a][1] * W[4 + k] + J[a][2] * W[8 + k];
    } else {  // J[0][1] = J[1][0] = 0
      for (int a = 0; a < 2; a++) o.V[a][k] = J[a][a] * W[4 * a + k] + J[a][2] * W[8 + k];
    }
  }
  for (int a = 0; a < 2; a++)
    for (int k = 0; k < 3; k++)
      o.N[a][k] = o.V[a][0] * shape.M[0][k] + o.V[a][1] * shape.M[1][k] + o.V[a][2] * shape.M[2][k];
  const auto& N = o.N;
  o.aa = dot3(N[0], N[0]) + S(kBlur), o.ab = dot3(N[0], N[1]), o.bb = dot3(N[1], N[1]) + S(kBlur);
  // The determinant without the cancellation of aa bb - ab^2 for needles (Cauchy-Binet).
  const T d01 = N[0][0] * N[1][1] - N[0][1] * N[1][0], d02 = N[0][0] * N[1][2] - N[0][2] * N[1][0],
          d12 = N[0][1] * N[1][2] - N[0][2] * N[1][1];
  const T det = d01 * d01 + d02 * d02 + d12 * d12 + S(kBlur) * (o.aa + o.bb - S(kBlur));
  const T inv = S(1) / det;
  o.A = o.bb * inv, o.B = -o.ab * inv, o.C = o.aa * inv;
  return o;
}

// What a pass over the pixels gathers: with v = alpha dL/dalpha and (dx, dy) = centre - pixel the sums of v dx, v dy,
// v dx^2, v dx dy, v dy^2.
template <class T>
struct Moments {
  T x, y, xx, xy, yy;
};

template <class T>
struct GaussianGradient {
  T mean[3], M[3][3];
};

// Adds dL/dmean and dL/dM; `gview` (12) receives (not adds) dL/d[R | t], entry by entry as if they were independent.
// `gz` is dL/d(camera z) on top.
template <CameraModel M, class S, class T>
VISAVIS_HD void project_gaussian_backward(const Camera<S>& cam, const T* mean, const Shape<T>& shape,
                                          const Ellipse<T>& o, const Moments<T>& m, T gz, GaussianGradient<T>& out,
                                          T* gview) {
  const T gu = -(o.A * m.x + o.B * m.y), gv = -(o.B * m.x + o.C * m.y);
  // Through the inverse: dL/dcov = -P G P with G = dL/dP, both symmetric.
  const T gA = S(-0.5) * m.xx, gB = S(-0.5) * m.xy, gC = S(-0.5) * m.yy;
  const T p00 = o.A * gA + o.B * gB, p01 = o.A * gB + o.B * gC, p10 = o.B * gA + o.C * gB, p11 = o.B * gB + o.C * gC;
  const T c00 = -(p00 * o.A + p01 * o.B), c01 = -(p00 * o.B + p01 * o.C), c11 = -(p10 * o.B + p11 * o.C);
  T gN[2][3], gV[2][3], gJ[2][3], gp[3];
  for (int k = 0; k < 3; k++) {
    gN[0][k] = S(2) * (c00 * o.N[0][k] + c01 * o.N[1][k]), gN[1][k] = S(2) * (c01 * o.N[0][k] + c11 * o.N[1][k]);
    for (int i = 0; i < 3; i++) out.M[i][k] += o.V[0][i] * gN[0][k] + o.V[1][i] * gN[1][k];
  }
  const S* W = cam.view;
  for (int a = 0; a < 2; a++) {
    for (int i = 0; i < 3; i++) gV[a][i] = dot3(gN[a], shape.M[i]);
    for (int i = 0; i < 3; i++) gJ[a][i] = gV[a][0] * W[4 * i] + gV[a][1] * W[4 * i + 1] + gV[a][2] * W[4 * i + 2];
  }
  project_point_backward<M>(cam, o.point, o.at, gu, gv, gJ, gp);
  gp[2] += gz;
  for (int k = 0; k < 3; k++) out.mean[k] += W[k] * gp[0] + W[4 + k] * gp[1] + W[8 + k] * gp[2];
  for (int i = 0; i < 3; i++) {
    for (int k = 0; k < 3; k++)
      gview[4 * i + k] = gp[i] * mean[k] + o.at.J[0][i] * gV[0][k] + o.at.J[1][i] * gV[1][k];
    gview[4 * i + 3] = gp[i];
  }
}

// Squared radius, in standard deviations, within which alpha >= 1/255.
template <class T>
VISAVIS_HD T squared_reach(T log2_opacity) {
  using S = Scalar<T>;
  return Real<T>::max((log2_opacity - S(kLog2MinAlpha)) * S(2 / kLog2E), T{});
}

// log2 alpha = log2_opacity - a dx^2 - b dx dy - c dy^2 with (a, b, c) = log2(e) (A / 2, B, C / 2), in two steps so that
// a row of pixels shares the first. Both directions must evaluate these very operations to agree on every threshold.
template <class T>
VISAVIS_HD T row_constant(T dy, T c, T log2_opacity) {
  return Real<T>::fnma(c * dy, dy, log2_opacity);
}

template <class T>
VISAVIS_HD T log2_alpha(T dx, T a, T row_linear /* b dy */, T constant) {
  return Real<T>::fnma(Real<T>::fma(a, dx, row_linear), dx, constant);
}

}  // namespace maths
}  // namespace visavis
