// Real spherical harmonics up to degree 3 as view-dependent colour: 0.5 + sum_k c_k b_k(direction), then no less than 0,
// with the signs and the order of 3D Gaussian splatting (Kerbl et al. 2023).
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

constexpr int kMaxHarmonics = 16;
constexpr double kSh0 = 0.28209479177387814, kSh1 = 0.4886025119029199;
constexpr double kSh2a = 1.0925484305920792, kSh2b = 0.31539156525252005, kSh2c = 0.5462742152960396;
constexpr double kSh3a = 0.5900435899266435, kSh3b = 2.890611442640554, kSh3c = 0.4570457994644658,
                 kSh3d = 0.3731763325901154, kSh3e = 1.445305721320277;

// b[0 .. (kDegree + 1)^2) at the unit vector d.
template <int kDegree, class T>
VISAVIS_HD void sh_basis(const T* d, T* b) {
  using S = Scalar<T>;
  b[0] = constant<T>(kSh0);
  if constexpr (kDegree >= 1) {
    const T x = d[0], y = d[1], z = d[2];
    b[1] = S(-kSh1) * y, b[2] = S(kSh1) * z, b[3] = S(-kSh1) * x;
    if constexpr (kDegree >= 2) {
      const T xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
      b[4] = S(kSh2a) * xy, b[5] = S(-kSh2a) * yz, b[6] = S(kSh2b) * (S(2) * zz - xx - yy);
      b[7] = S(-kSh2a) * xz, b[8] = S(kSh2c) * (xx - yy);
      if constexpr (kDegree >= 3) {
        b[9] = S(-kSh3a) * y * (S(3) * xx - yy), b[10] = S(kSh3b) * xy * z;
        b[11] = S(-kSh3c) * y * (S(4) * zz - xx - yy);
        b[12] = S(kSh3d) * z * (S(2) * zz - S(3) * xx - S(3) * yy);
        b[13] = S(-kSh3c) * x * (S(4) * zz - xx - yy), b[14] = S(kSh3e) * z * (xx - yy);
        b[15] = S(-kSh3a) * x * (xx - S(3) * yy);
      }
    }
  }
}

// out = sum_k w_k grad b_k(d), the coordinates of d taken as independent.
template <int kDegree, class T>
VISAVIS_HD void sh_slope(const T* d, const T* w, T* out) {
  using S = Scalar<T>;
  out[0] = out[1] = out[2] = T{};
  if constexpr (kDegree >= 1) {
    const T x = d[0], y = d[1], z = d[2];
    out[0] = S(-kSh1) * w[3], out[1] = S(-kSh1) * w[1], out[2] = S(kSh1) * w[2];
    if constexpr (kDegree >= 2) {
      const T u0 = S(kSh2a) * w[4], u1 = S(-kSh2a) * w[5], u2 = S(2 * kSh2b) * w[6], u3 = S(-kSh2a) * w[7],
              u4 = S(2 * kSh2c) * w[8];
      out[0] += u0 * y - u2 * x + u3 * z + u4 * x;
      out[1] += u0 * x + u1 * z - u2 * y - u4 * y;
      out[2] += u1 * y + S(2) * u2 * z + u3 * x;
      if constexpr (kDegree >= 3) {
        const T xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
        const T v0 = S(-3 * kSh3a) * w[9], v1 = S(kSh3b) * w[10], v2 = S(-kSh3c) * w[11],
                v3 = S(3 * kSh3d) * w[12], v4 = S(-kSh3c) * w[13], v5 = S(kSh3e) * w[14],
                v6 = S(-3 * kSh3a) * w[15];
        out[0] += S(2) * v0 * xy + v1 * yz - S(2) * v2 * xy - S(2) * v3 * xz + v4 * (S(4) * zz - S(3) * xx - yy) +
                  S(2) * v5 * xz + v6 * (xx - yy);
        out[1] += v0 * (xx - yy) + v1 * xz + v2 * (S(4) * zz - xx - S(3) * yy) - S(2) * v3 * yz - S(2) * v4 * xy -
                  S(2) * v5 * yz - S(2) * v6 * xy;
        out[2] += v1 * xy + S(8) * v2 * yz + v3 * (S(2) * zz - xx - yy) + S(8) * v4 * xz + v5 * (xx - yy);
      }
    }
  }
}

// v / |v|, and from dL/d(v / |v|) to dL/dv.
template <class T>
struct Direction {
  T unit[3], inv_length;

  VISAVIS_HD explicit Direction(const T* v) {
    inv_length = Scalar<T>(1) / Real<T>::max(Real<T>::sqrt(dot3(v, v)), constant<T>(kMinNorm));
    for (int k = 0; k < 3; k++) unit[k] = v[k] * inv_length;
  }
  VISAVIS_HD void backward(const T* g, T* gv) const {
    const T along = dot3(g, unit);
    for (int k = 0; k < 3; k++) gv[k] = (g[k] - along * unit[k]) * inv_length;
  }
};

}  // namespace maths
}  // namespace visavis
