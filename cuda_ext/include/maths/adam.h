// The Adam update (Kingma & Ba 2015, algorithm 1) of one value or one vector of values.
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

template <class S>
struct AdamRates {
  S beta1, first_share;   // first_share = 1 - beta1, given by itself since 1 - 0.999f has lost half its digits
  S beta2, second_share;  // the same of beta2
  S eps;
  S step_size;            // rate / (1 - beta1^step)
  S inverse_sqrt_bias;    // 1 / sqrt(1 - beta2^step)
};

template <class T>
VISAVIS_HD void adam_update(const AdamRates<Scalar<T>>& r, T grad, T& param, T& first, T& second) {
  first = r.beta1 * first + r.first_share * grad;
  second = r.beta2 * second + r.second_share * grad * grad;
  param = param - r.step_size * first / (Real<T>::sqrt(second) * r.inverse_sqrt_bias + r.eps);
}

}  // namespace maths
}  // namespace visavis
