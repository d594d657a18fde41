// The kernels of one vector width, as entered in the table of kernels.h.
#pragma once

#include "kernels.h"
#include "simd.h"

// Not inlined, so that the common case does not carry the stack and the registers of the rare ones.
#define VISAVIS_OWN_FRAME static __attribute__((noinline))

namespace visavis {
namespace VISAVIS_NAMESPACE {

void project(const FrameView& f, int chunk);
void project_backward(const FrameView& f, int chunk);
void raster(const FrameView& f, int tile);
void raster_backward(const FrameView& f, int tile);
double ssim_rows(const PhotometricView& v, int y0, int y1, float* scratch);
double loss_rows(const PhotometricView& v, int y0, int y1, float* scratch);
int64_t photometric_scratch(const PhotometricView& v);
int64_t photometric_map(const PhotometricView& v);
void rig_vertices(const RigView& f, int chunk);
void rig_frames(const RigView& f, int chunk);
int rig_gaussians(const RigView& f, int chunk);
void rig_gaussians_backward(const RigView& f, int chunk, float* scratch);
int64_t rig_scratch(const RigView& f);
void rig_vertices_backward(const RigView& f, int chunk);
double rig_expression_backward(const RigView& f, int expression);
CompositeSums composite_rows(const CompositeView& v, int y0, int y1);
void composite_rows_backward(const CompositeView& v, int y0, int y1);
void picture_rows(const PictureView& v, int y0, int y1);
int64_t normal_scratch(const NormalView& v);
void normal_matrix(const NormalView& v, int frame, float* scratch);
int64_t alignment_scratch(const AlignmentView& v);
void align(const AlignmentView& v, int frame, float* scratch);
void alignment_cost(const AlignmentView& v, int frame, float* scratch);

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
