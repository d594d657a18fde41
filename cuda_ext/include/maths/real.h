// What the shared formulas need of a number type T: float, double, or a vector of floats with one value per lane.
//
// Everything in maths/ is written once for the CPU's lanes, for CUDA (NVRTC: hence no standard headers) and for float64.
// A branch on data is `select`, so that lanes can disagree. Always inlined: see simd.h on functions that two vector
// widths share. Built-in vectors have no argument-dependent lookup, hence the trait instead of overloads.
#pragma once

#ifdef __CUDACC__
#define VISAVIS_HD __device__ __forceinline__
#else
#define VISAVIS_HD inline __attribute__((always_inline))
#endif

namespace visavis {
namespace maths {

// Specialised here for float and double, for lanes in simd.h. `Scalar` is what one lane holds, `Mask` what a comparison
// gives; masks combine with & and |.
template <class T>
struct Real;

#ifdef __CUDACC__
#define VISAVIS_BUILTIN(name) ::name
#else
#define VISAVIS_BUILTIN(name) __builtin_##name
#endif
#define VISAVIS_REAL(type, suffix)                                                                           \
  template <>                                                                                                \
  struct Real<type> {                                                                                        \
    using Scalar = type;                                                                                     \
    using Mask = bool;                                                                                       \
    static VISAVIS_HD type of(Scalar x) { return x; }                                                        \
    static VISAVIS_HD bool ge(type a, type b) { return a >= b; }                                             \
    static VISAVIS_HD type select(bool m, type a, type b) { return m ? a : b; }                              \
    static VISAVIS_HD type min(type a, type b) { return a < b ? a : b; }                                     \
    static VISAVIS_HD type max(type a, type b) { return a > b ? a : b; }                                     \
    static VISAVIS_HD type fma(type a, type b, type c) { return VISAVIS_BUILTIN(fma##suffix)(a, b, c); }     \
    static VISAVIS_HD type fnma(type a, type b, type c) { return VISAVIS_BUILTIN(fma##suffix)(-a, b, c); }   \
    static VISAVIS_HD type sqrt(type a) { return VISAVIS_BUILTIN(sqrt##suffix)(a); }                         \
    static VISAVIS_HD type atan2(type y, type x) { return VISAVIS_BUILTIN(atan2##suffix)(y, x); }            \
  };
VISAVIS_REAL(float, f)
VISAVIS_REAL(double, )
#undef VISAVIS_REAL
#undef VISAVIS_BUILTIN

template <class T>
using Scalar = typename Real<T>::Scalar;

// The constant x in every lane.
template <class T>
VISAVIS_HD T constant(double x) {
  return Real<T>::of((Scalar<T>)x);
}

template <class T>
VISAVIS_HD T dot3(const T* a, const T* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

constexpr double kMinNorm = 1e-12;  // lengths and divisors are never taken as less than this

}  // namespace maths
}  // namespace visavis
