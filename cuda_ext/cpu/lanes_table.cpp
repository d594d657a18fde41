#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

extern const Kernels table;
const Kernels table = {kLanes,    project,   project_backward,    raster,         raster_backward,
                       ssim_rows, loss_rows, photometric_scratch, photometric_map,
                       rig_vertices, rig_frames, rig_gaussians, rig_gaussians_backward, rig_vertices_backward,
                       rig_expression_backward};

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
