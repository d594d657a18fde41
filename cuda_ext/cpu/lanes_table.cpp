#include "lanes.h"
#include "lanes_fields.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

constexpr FieldKernels field_kernels = {
    all_finite,       adam,        packed, triplane_level, triplane_level_backward, triplane_points_backward,
    triplane_to_rows, triplane_to_columns, kan_scratch,    kan,                     kan_backward};
constexpr TrackingKernels tracking_kernels = {normal_scratch, normal_matrix, alignment_scratch, align, alignment_cost};
extern const Kernels table;
const Kernels table = {kLanes,    field_kernels,       tracking_kernels,
                       project,   project_backward,    raster,         raster_backward,
                       ssim_rows, loss_rows, photometric_scratch, photometric_map,
                       rig_vertices, rig_frames, rig_gaussians, rig_gaussians_backward, rig_scratch, rig_vertices_backward,
                       rig_expression_backward, composite_rows, composite_rows_backward, picture_rows};

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
