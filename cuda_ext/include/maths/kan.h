// Uniform cubic B-splines (de Boor 1978) and SiLU: the activation of a KAN layer (Liu et al. 2024, eq. 2.10).
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

// The four basis functions that live in a cell, at u in [0, 1) of it.
template <class T>
VISAVIS_HD void cubic_basis(T u, T basis[4]) {
  const T v = 1.f - u, uu = u * u;
  basis[0] = v * v * v * Scalar<T>(1.0 / 6.0);
  basis[1] = (uu * (3.f * u - 6.f) + 4.f) * Scalar<T>(1.0 / 6.0);
  basis[2] = (uu * (3.f - 3.f * u) + 3.f * u + 1.f) * Scalar<T>(1.0 / 6.0);
  basis[3] = uu * u * Scalar<T>(1.0 / 6.0);
}

// Their derivatives by u.
template <class T>
VISAVIS_HD void cubic_basis_slope(T u, T slope[4]) {
  const T v = 1.f - u;
  slope[0] = -0.5f * v * v;
  slope[1] = u * (1.5f * u - 2.f);
  slope[2] = u * (1.f - 1.5f * u) + 0.5f;
  slope[3] = 0.5f * u * u;
}

template <class T>
VISAVIS_HD T silu_slope(T x, T sigmoid) {
  return sigmoid * (1.f + x * (1.f - sigmoid));
}

}  // namespace maths
}  // namespace visavis
