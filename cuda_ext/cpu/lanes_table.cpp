#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

extern const Kernels table;
const Kernels table = {kLanes,    project,   project_backward,    raster,         raster_backward,
                       ssim_rows, loss_rows, photometric_scratch, photometric_map};

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
