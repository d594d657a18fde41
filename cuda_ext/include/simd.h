// Vectors of VISAVIS_LANES floats on compiler vector extensions, with intrinsics only where the compiler needs help.
// Everything lives in a namespace named after the width: two widths must never share an inline function, or the linker
// could keep the AVX-512 copy of it for a processor without AVX-512. Hence also no standard library here.
#pragma once

#include <cstdint>
#include <cstring>

#include "maths/real.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define VISAVIS_CONCAT_(a, b) a##b
#define VISAVIS_CONCAT(a, b) VISAVIS_CONCAT_(a, b)
#define VISAVIS_NAMESPACE VISAVIS_CONCAT(lanes, VISAVIS_LANES)
#define VISAVIS_INLINE static inline __attribute__((always_inline))

namespace visavis {
namespace VISAVIS_NAMESPACE {

constexpr int kLanes = VISAVIS_LANES;
typedef float vf __attribute__((vector_size(kLanes * 4)));
typedef int32_t vi __attribute__((vector_size(kLanes * 4)));
typedef uint32_t vu __attribute__((vector_size(kLanes * 4)));
typedef float vf_unaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

VISAVIS_INLINE vf broadcast(float x) { return x - vf{}; }
VISAVIS_INLINE vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
VISAVIS_INLINE void store(float* p, vf v) { *reinterpret_cast<vf_unaligned*>(p) = v; }
VISAVIS_INLINE int imin(int a, int b) { return a < b ? a : b; }
VISAVIS_INLINE int imax(int a, int b) { return a > b ? a : b; }

#if VISAVIS_LANES == 16
typedef __mmask16 vm;
VISAVIS_INLINE vm ge(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ); }
VISAVIS_INLINE bool any(vm m) { return m != 0; }
VISAVIS_INLINE vf select(vm m, vf a, vf b) { return (vf)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a); }
VISAVIS_INLINE vf fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
VISAVIS_INLINE vf fnma(vf a, vf b, vf c) { return (vf)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c); }
VISAVIS_INLINE vf min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
VISAVIS_INLINE vf max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
VISAVIS_INLINE vf sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
VISAVIS_INLINE vf reciprocal(vf x) {
  vf r = (vf)_mm512_rcp14_ps((__m512)x);
  return r * fnma(x, r, broadcast(2.f));
}
#elif VISAVIS_LANES == 8
typedef vi vm;
VISAVIS_INLINE vm ge(vf a, vf b) { return a >= b; }
VISAVIS_INLINE bool any(vm m) { return _mm256_movemask_ps((__m256)m) != 0; }
VISAVIS_INLINE vf select(vm m, vf a, vf b) { return (vf)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m); }
VISAVIS_INLINE vf fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
VISAVIS_INLINE vf fnma(vf a, vf b, vf c) { return (vf)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c); }
VISAVIS_INLINE vf min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
VISAVIS_INLINE vf max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
VISAVIS_INLINE vf sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
VISAVIS_INLINE vf reciprocal(vf x) {
  vf r = (vf)_mm256_rcp_ps((__m256)x);
  return r * fnma(x, r, broadcast(2.f));
}
#else
typedef vi vm;
VISAVIS_INLINE vm ge(vf a, vf b) { return a >= b; }
VISAVIS_INLINE vf min(vf a, vf b) { return a < b ? a : b; }
VISAVIS_INLINE vf max(vf a, vf b) { return a > b ? a : b; }
VISAVIS_INLINE vf reciprocal(vf x) { return 1.f / x; }
#if defined(__x86_64__)
VISAVIS_INLINE bool any(vm m) { return _mm_movemask_ps((__m128)m) != 0; }
VISAVIS_INLINE vf select(vm m, vf a, vf b) { return (vf)_mm_blendv_ps((__m128)b, (__m128)a, (__m128)m); }
VISAVIS_INLINE vf sqrt(vf a) { return (vf)_mm_sqrt_ps((__m128)a); }
VISAVIS_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }
VISAVIS_INLINE vf fnma(vf a, vf b, vf c) { return c - a * b; }
#elif defined(__aarch64__)
VISAVIS_INLINE bool any(vm m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
VISAVIS_INLINE vf select(vm m, vf a, vf b) { return m ? a : b; }
VISAVIS_INLINE vf sqrt(vf a) { return (vf)vsqrtq_f32((float32x4_t)a); }
VISAVIS_INLINE vf fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
VISAVIS_INLINE vf fnma(vf a, vf b, vf c) { return (vf)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
VISAVIS_INLINE bool any(vm m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
VISAVIS_INLINE vf select(vm m, vf a, vf b) { return m ? a : b; }
VISAVIS_INLINE vf sqrt(vf a) { return vf{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])}; }
VISAVIS_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }
VISAVIS_INLINE vf fnma(vf a, vf b, vf c) { return c - a * b; }
#endif
#endif

// 2^p for p in [-126, 126]; minimax polynomial of degree 5 on [-1/2, 1/2], relative error 1e-7 before rounding.
VISAVIS_INLINE vf exp2(vf p) {
#if VISAVIS_LANES == 16
  const vf n = (vf)_mm512_roundscale_ps((__m512)p, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const vf t = p + 12582912.f;  // 1.5 * 2^23: the sum's low bits hold the rounded integer
  const vf n = t - 12582912.f;
#endif
  const vf f = p - n;
  vf r = fma(f, broadcast(1.326472614891827e-3f), broadcast(9.671512991189957e-3f));
  r = fma(r, f, broadcast(5.550733581185341e-2f));
  r = fma(r, f, broadcast(0.24022242426872253f));
  r = fma(r, f, broadcast(0.6931470036506653f));
  r = fma(r, f, broadcast(1.f));
#if VISAVIS_LANES == 16
  return (vf)_mm512_scalef_ps((__m512)r, (__m512)n);
#else
  return (vf)((vu)r + ((vu)t << 23));  // unsigned: out of range it may wrap
#endif
}

VISAVIS_INLINE float sum(vf v) {
  float parts[kLanes];
  store(parts, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) parts[i] += parts[i + width];
  return parts[0];
}

// out[k] = sum of the lanes of v[k]. Wide vectors are halved pairwise, the halves of two sharing one vector from then
// on: half the instructions of one sum after the other. They need 8 <= K <= 16 and room for 16 values in `out`.
#if VISAVIS_LANES == 16
#define VISAVIS_FOLD(shuffle, a, b, low, high) _mm512_add_ps(shuffle(a, b, low), shuffle(a, b, high))

// Blocks of four lanes: partial sums of a, b, c, d.
VISAVIS_INLINE __m512 fold_four(vf a, vf b, vf c, vf d) {
  const __m512 ab = VISAVIS_FOLD(_mm512_shuffle_f32x4, (__m512)a, (__m512)b, 0x44, 0xee);
  const __m512 cd = VISAVIS_FOLD(_mm512_shuffle_f32x4, (__m512)c, (__m512)d, 0x44, 0xee);
  return VISAVIS_FOLD(_mm512_shuffle_f32x4, ab, cd, 0x88, 0xdd);
}

template <int K>
VISAVIS_INLINE void sum_each(const vf* v, float* out) {
  const auto at = [&](int k) { return k < K ? v[k] : vf{}; };
  __m512 fours[4];
  for (int j = 0; j < 4; j++) fours[j] = fold_four(at(j), at(4 + j), at(8 + j), at(12 + j));
  const __m512 even = VISAVIS_FOLD(_mm512_shuffle_ps, fours[0], fours[1], 0x44, 0xee);
  const __m512 odd = VISAVIS_FOLD(_mm512_shuffle_ps, fours[2], fours[3], 0x44, 0xee);
  store(out, (vf)VISAVIS_FOLD(_mm512_shuffle_ps, even, odd, 0x88, 0xdd));
}
#elif VISAVIS_LANES == 8
#define VISAVIS_FOLD(shuffle, a, b, low, high) _mm256_add_ps(shuffle(a, b, low), shuffle(a, b, high))

template <int K>
VISAVIS_INLINE void sum_each(const vf* v, float* out) {
  __m256 twos[4];
  for (int j = 0; j < 4; j++) twos[j] = VISAVIS_FOLD(_mm256_permute2f128_ps, (__m256)v[j], (__m256)v[4 + j], 0x20, 0x31);
  const __m256 even = VISAVIS_FOLD(_mm256_shuffle_ps, twos[0], twos[1], 0x44, 0xee);
  const __m256 odd = VISAVIS_FOLD(_mm256_shuffle_ps, twos[2], twos[3], 0x44, 0xee);
  store(out, (vf)VISAVIS_FOLD(_mm256_shuffle_ps, even, odd, 0x88, 0xdd));
  for (int k = 8; k < K; k++) out[k] = sum(v[k]);
}
#else
template <int K>
VISAVIS_INLINE void sum_each(const vf* v, float* out) {
  for (int k = 0; k < K; k++) out[k] = sum(v[k]);
}
#endif

// Angles are needed by the fisheye camera only: one lane after the other.
VISAVIS_INLINE vf atan2(vf y, vf x) {
  vf out;
  for (int l = 0; l < kLanes; l++) out[l] = __builtin_atan2f(y[l], x[l]);
  return out;
}

}  // namespace VISAVIS_NAMESPACE

namespace maths {

template <>
struct Real<VISAVIS_NAMESPACE::vf> {
  using vf = VISAVIS_NAMESPACE::vf;
  using vm = VISAVIS_NAMESPACE::vm;
  using Scalar = float;
  static VISAVIS_HD vf of(float x) { return VISAVIS_NAMESPACE::broadcast(x); }
  static VISAVIS_HD vm ge(vf a, vf b) { return VISAVIS_NAMESPACE::ge(a, b); }
  static VISAVIS_HD vf select(vm m, vf a, vf b) { return VISAVIS_NAMESPACE::select(m, a, b); }
  static VISAVIS_HD vf min(vf a, vf b) { return VISAVIS_NAMESPACE::min(a, b); }
  static VISAVIS_HD vf max(vf a, vf b) { return VISAVIS_NAMESPACE::max(a, b); }
  static VISAVIS_HD vf fma(vf a, vf b, vf c) { return VISAVIS_NAMESPACE::fma(a, b, c); }
  static VISAVIS_HD vf fnma(vf a, vf b, vf c) { return VISAVIS_NAMESPACE::fnma(a, b, c); }
  static VISAVIS_HD vf sqrt(vf a) { return VISAVIS_NAMESPACE::sqrt(a); }
  static VISAVIS_HD vf atan2(vf y, vf x) { return VISAVIS_NAMESPACE::atan2(y, x); }
};

}  // namespace maths
}  // namespace visavis
