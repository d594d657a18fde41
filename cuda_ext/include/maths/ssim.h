// SSIM (Wang et al. 2004, eq. 13; 11x11 Gaussian window, sigma 1.5) and its derivatives.
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

constexpr int kSsimRadius = 5, kSsimTaps = 2 * kSsimRadius + 1;
constexpr double kSsimC1 = 1e-4, kSsimC2 = 9e-4;  // (0.01 L)^2 and (0.03 L)^2 for values in [0, 1]

// exp(-k^2 / (2 * 1.5^2)) / sum, for the tap at distance k = 0..5.
VISAVIS_HD constexpr float ssim_tap(int k) {
  return k == 0   ? 0.26601171493530273f
         : k == 1 ? 0.21300554275512695f
         : k == 2 ? 0.10936068743467331f
         : k == 3 ? 0.036000773310661316f
         : k == 4 ? 0.0075987582094967365f
                  : 0.001028380123898387f;
}

template <class T>
struct Ssim {
  T value, d_mean, d_energy, d_cross;  // derivatives by m1, energy and cross
};

// From the blurred image, target, image^2 + target^2 and image * target: SSIM needs only the sum of the two variances.
template <class T>
VISAVIS_HD Ssim<T> ssim(T m1, T m2, T energy, T cross) {
  using S = Scalar<T>;
  const T mm = m1 * m2, squares = Real<T>::fma(m1, m1, m2 * m2);
  const T a = S(2) * mm + S(kSsimC1), b = S(2) * (cross - mm) + S(kSsimC2);
  const T c = squares + S(kSsimC1), d = energy - squares + S(kSsimC2);
  const T inv = S(1) / (c * d);
  Ssim<T> s;
  s.value = a * b * inv;
  s.d_energy = -s.value * c * inv;
  s.d_cross = S(2) * a * inv;
  s.d_mean = S(2) * (m2 * b * inv - m1 * s.value * d * inv - m1 * s.d_energy) - m2 * s.d_cross;
  return s;
}

}  // namespace maths
}  // namespace visavis
