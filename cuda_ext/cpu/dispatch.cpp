// Picks the widest vectors that both this build and this processor have.
#include <atomic>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace visavis {

#define VISAVIS_DECLARE(lanes) \
  namespace lanes {            \
  extern const Kernels table;  \
  }
#ifdef VISAVIS_HAVE_LANES4
VISAVIS_DECLARE(lanes4)
#endif
#ifdef VISAVIS_HAVE_LANES8
VISAVIS_DECLARE(lanes8)
#endif
#ifdef VISAVIS_HAVE_LANES16
VISAVIS_DECLARE(lanes16)
#endif

namespace {

// `out` in ascending order of width; returns how many fit.
int usable(const Kernels* out[3]) {
  int count = 0;
#ifdef __x86_64__
  __builtin_cpu_init();
#define VISAVIS_HAS(feature) __builtin_cpu_supports(feature)
#else
#define VISAVIS_HAS(feature) true
#endif
#ifdef VISAVIS_HAVE_LANES4
  if (VISAVIS_HAS("sse4.2") && VISAVIS_HAS("popcnt")) out[count++] = &lanes4::table;
#endif
#ifdef VISAVIS_HAVE_LANES8
  if (VISAVIS_HAS("avx2") && VISAVIS_HAS("fma") && VISAVIS_HAS("bmi") && VISAVIS_HAS("bmi2"))
    out[count++] = &lanes8::table;
#endif
#ifdef VISAVIS_HAVE_LANES16
  if (VISAVIS_HAS("avx512f") && VISAVIS_HAS("avx512bw") && VISAVIS_HAS("avx512cd") && VISAVIS_HAS("avx512dq") &&
      VISAVIS_HAS("avx512vl"))
    out[count++] = &lanes16::table;
#endif
  return count;
}

std::atomic<const Kernels*> chosen{nullptr};

}  // namespace

const Kernels& kernels() {
  if (const Kernels* k = chosen.load(std::memory_order_acquire)) return *k;
  const Kernels* tables[3];
  const int count = usable(tables);
  if (count == 0) throw std::runtime_error("this processor has no SSE 4.2, which the CPU kernels need at least");
  chosen.store(tables[count - 1], std::memory_order_release);
  return *tables[count - 1];
}

void set_lanes(int lanes) {
  const Kernels* tables[3];
  const int count = usable(tables);
  for (int i = 0; i < count; i++)
    if (tables[i]->lanes == lanes) return chosen.store(tables[i], std::memory_order_release);
  throw std::invalid_argument("no kernels with " + std::to_string(lanes) + " lanes on this processor and in this build");
}

int available_lanes(int out[3]) {
  const Kernels* tables[3];
  const int count = usable(tables);
  for (int i = 0; i < count; i++) out[i] = tables[i]->lanes;
  return count;
}

}  // namespace visavis
