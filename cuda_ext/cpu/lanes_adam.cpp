// One Adam step over a stretch of a tensor, and the check for NaN and infinity.
#include "lanes_fields.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

bool all_finite(const float* values, int64_t count) {
  // x - x is 0 for finite x and NaN otherwise. Four sums, so that additions need not wait for each other.
  constexpr int kSums = 4;
  vf sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kLanes <= count; i += kSums * kLanes)
    for (int k = 0; k < kSums; k++) {
      const vf x = load(values + i + k * kLanes);
      sums[k] += x - x;
    }
  float rest = 0.f;
  for (; i < count; i++) rest += values[i] - values[i];
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest == 0.f;
}

void adam(const AdamTensor& t, int64_t begin, int64_t end) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    vf param = load(t.param + i), first = load(t.first + i), second = load(t.second + i);
    maths::adam_update(t.rates, load(t.grad + i), param, first, second);
    store(t.param + i, param), store(t.first + i, first), store(t.second + i, second);
  }
  // The last values go through a vector too: where a value lies must not change how it is rounded.
  if (i < end) {
    float part[4][kLanes] = {};
    const int64_t bytes = (end - i) * (int64_t)sizeof(float);
    memcpy(part[0], t.param + i, bytes), memcpy(part[1], t.first + i, bytes), memcpy(part[2], t.second + i, bytes);
    memcpy(part[3], t.grad + i, bytes);
    vf param = load(part[0]), first = load(part[1]), second = load(part[2]);
    maths::adam_update(t.rates, load(part[3]), param, first, second);
    store(part[0], param), store(part[1], first), store(part[2], second);
    memcpy(t.param + i, part[0], bytes), memcpy(t.first + i, part[1], bytes), memcpy(t.second + i, part[2], bytes);
  }
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
