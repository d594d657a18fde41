// Per-Gaussian linear maps kept as int8 or half, times one feature vector.
#include "lanes_fields.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

struct Int8 {
  typedef int8_t Value;
  typedef int8_t Vector __attribute__((vector_size(kLanes), aligned(1), may_alias));
  VISAVIS_INLINE vf read(const int8_t* p) {
    // Intrinsics, since GCC converts such vectors value by value.
#if VISAVIS_LANES == 16
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif VISAVIS_LANES == 8
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#elif defined(__x86_64__)
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (vf)_mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
#else
    return __builtin_convertvector(*reinterpret_cast<const Vector*>(p), vf);
#endif
  }
};

struct Half {
  typedef uint16_t Value;
  typedef uint16_t Vector __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));
  VISAVIS_INLINE vf read(const uint16_t* p) {
#if VISAVIS_LANES == 16
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif VISAVIS_LANES == 8
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
    // Shifted into place, exponent and fraction make a float that is 2^112 too small, denormals included.
#if defined(__x86_64__)
    const vi bits = (vi)_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#else
    const vi bits = __builtin_convertvector(*reinterpret_cast<const Vector*>(p), vi);
#endif
    const vf magnitude = (vf)((bits & 0x7fff) << 13) * 5.192296858534828e33f;
    return (vf)((vi)magnitude | ((bits & 0x8000) << 16));
#endif
  }
};

template <class Storage>
void apply(const PackedView& v, int64_t block_begin, int64_t block_end) {
  constexpr int kVectors = kPackedRows / kLanes;
  const auto* data = static_cast<const typename Storage::Value*>(v.data) + block_begin * v.features * kPackedRows;
  for (int64_t block = block_begin; block < block_end; block++) {
    vf sums[kVectors] = {};
    for (int k = 0; k < v.features; k++, data += kPackedRows) {
      const vf input = broadcast(v.inputs[k]);
      for (int j = 0; j < kVectors; j++) sums[j] = fma(Storage::read(data + j * kLanes), input, sums[j]);
    }
    float values[kPackedRows];
    for (int j = 0; j < kVectors; j++) store(values + j * kLanes, sums[j]);
    const int64_t first = block * kPackedRows;
    const int count = v.rows - first < kPackedRows ? (int)(v.rows - first) : kPackedRows;
    for (int i = 0; i < count; i++) v.out[first + i] = v.scales[first + i] * values[i];
  }
}

}  // namespace

void packed(const PackedView& v, int64_t block_begin, int64_t block_end) {
  if (v.storage == PackedStorage::kInt8)
    apply<Int8>(v, block_begin, block_end);
  else
    apply<Half>(v, block_begin, block_end);
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
