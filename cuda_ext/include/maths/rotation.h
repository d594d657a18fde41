// Axis-angle rotations: a handful per frame, so scalars on the host are meant.
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

// Rodrigues' formula R = 1 + a K + b K^2 with a = sin(t) / t, b = (1 - cos(t)) / t^2 and t = |v|.
struct Rodrigues {
  double a, b, da, db;  // the coefficients and their derivatives by t^2

  explicit Rodrigues(const double* v) {
    const double s = dot3(v, v);
    if (s < 1e-6) {
      a = 1 - s / 6, b = 0.5 - s / 24, da = -1. / 6 + s / 60, db = -1. / 24 + s / 360;
    } else {
      const double t = __builtin_sqrt(s), cosine = __builtin_cos(t);
      a = __builtin_sin(t) / t, b = (1 - cosine) / s;
      da = (cosine - a) / (2 * s), db = (a - 2 * b) / (2 * s);
    }
  }
};

inline void multiply(const double (*a)[3], const double (*b)[3], double (*out)[3]) {
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 3; k++) out[i][k] = a[i][0] * b[0][k] + a[i][1] * b[1][k] + a[i][2] * b[2][k];
}

inline void cross_matrix(const double* v, double (*k)[3]) {
  const double values[3][3] = {{0, -v[2], v[1]}, {v[2], 0, -v[0]}, {-v[1], v[0], 0}};
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) k[i][j] = values[i][j];
}

inline void rotation_of(const double* v, double (*R)[3]) {
  const Rodrigues f(v);
  double K[3][3], KK[3][3];
  cross_matrix(v, K), multiply(K, K, KK);
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) R[i][j] = (i == j) + f.a * K[i][j] + f.b * KK[i][j];
}

// From dL/dR to dL/dv.
inline void rotation_backward(const double* v, const double (*g)[3], double* gv) {
  const Rodrigues f(v);
  double K[3][3], KK[3][3];
  cross_matrix(v, K), multiply(K, K, KK);
  double by_a = 0, by_b = 0;
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) by_a += g[i][j] * K[i][j], by_b += g[i][j] * KK[i][j];
  for (int k = 0; k < 3; k++) {
    double unit[3] = {}, E[3][3], EK[3][3], KE[3][3];
    unit[k] = 1;
    cross_matrix(unit, E), multiply(E, K, EK), multiply(K, E, KE);
    gv[k] = 2 * v[k] * (f.da * by_a + f.db * by_b);
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++) gv[k] += g[i][j] * (f.a * E[i][j] + f.b * (EK[i][j] + KE[i][j]));
  }
}

}  // namespace maths
}  // namespace visavis
