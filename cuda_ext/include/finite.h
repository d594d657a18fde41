// Refuses NaN and infinity.
#pragma once

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "kernels.h"
#include "thread_pool.h"

namespace visavis {

inline void require_finite(const float* values, int64_t count, const char* name) {
  constexpr int64_t kChunk = 1 << 16;
  std::atomic<bool> fine{true};
  const FieldKernels& k = kernels().fields;
  parallel((int)((count + kChunk - 1) / kChunk), [&](int i) {
    const int64_t begin = i * kChunk;
    if (!k.all_finite(values + begin, std::min(kChunk, count - begin))) fine = false;
  });
  if (!fine) throw std::invalid_argument(std::string(name) + ": expected finite numbers, got a NaN or infinity");
}

// `bad` of `count` Gaussians hold one.
inline void require_finite_gaussians(int64_t bad, int64_t count) {
  if (bad)
    throw std::invalid_argument(std::to_string(bad) + " of " + std::to_string(count) +
                                " Gaussians hold a NaN or infinity");
}

}  // namespace visavis
