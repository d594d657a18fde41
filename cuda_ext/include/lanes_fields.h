// The field and optimiser kernels of one vector width, as entered in FieldKernels.
#pragma once

#include "fields.h"
#include "simd.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

VISAVIS_INLINE vi truncate(vf x) { return __builtin_convertvector(x, vi); }
VISAVIS_INLINE vf to_float(vi x) { return __builtin_convertvector(x, vf); }

bool all_finite(const float* values, int64_t count);
void adam(const AdamTensor& t, int64_t begin, int64_t end);
void packed(const PackedView& v, int64_t block_begin, int64_t block_end);
void triplane_level(const TriplaneView& v, int plane_level);
void triplane_level_backward(const TriplaneView& v, int plane_level);
void triplane_points_backward(const TriplaneView& v, int begin, int end);
void triplane_to_rows(const TriplaneView& v, int begin, int end);
void triplane_to_columns(const TriplaneView& v, int begin, int end);
int64_t kan_scratch(const KanView& v);
void kan(const KanView& v, int begin, int end, float* scratch);
void kan_backward(const KanView& v, int begin, int end, float* scratch);

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
