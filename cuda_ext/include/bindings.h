// Python bindings on raw addresses: shapes, types and memory order are the business of cuda_ext/ops.
// One register_* function per operation, in the cpu/python_*.cpp of that name.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>

#include "maths/adam.h"

namespace visavis {

using Address = uintptr_t;
using ReleaseGil = nanobind::call_guard<nanobind::gil_scoped_release>;

inline float* floats(Address a) { return reinterpret_cast<float*>(a); }
inline const int32_t* integers(Address a) { return reinterpret_cast<const int32_t*>(a); }

// What `AdamRates.factors` of cuda_ext/ops/adam.py gives.
using AdamNumbers = std::array<float, 7>;
inline maths::AdamRates<float> adam_rates(const AdamNumbers& n) { return {n[0], n[1], n[2], n[3], n[4], n[5], n[6]}; }

void register_raster(nanobind::module_& m);
void register_photometric(nanobind::module_& m);
void register_rig(nanobind::module_& m);
void register_fields(nanobind::module_& m);
void register_fit_step(nanobind::module_& m);
void register_playback(nanobind::module_& m);
void register_tracking(nanobind::module_& m);

}  // namespace visavis
