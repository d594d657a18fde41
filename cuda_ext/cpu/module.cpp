#include <vector>

#include "bindings.h"
#include "kernels.h"
#include "thread_pool.h"

namespace nb = nanobind;
using namespace visavis;

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels of visavis; use cuda_ext.ops";
  // A graph that is still alive when Python ends keeps its frames: no leak of ours.
  nb::set_leak_warnings(false);
  register_raster(m);
  register_photometric(m);
  register_rig(m);
  register_fields(m);
  register_fit_step(m);
  register_playback(m);
  register_tracking(m);

  m.def("get_threads", &get_threads);
  m.def("set_threads", &set_threads, ReleaseGil(), nb::arg("threads"));
  m.def("get_lanes", [] { return kernels().lanes; });
  m.def("set_lanes", &set_lanes, nb::arg("lanes"));
  m.def("available_lanes", [] {
    int lanes[3];
    const int count = available_lanes(lanes);
    return std::vector<int>(lanes, lanes + count);
  });
}
