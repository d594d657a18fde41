// The table of kernels that each vector width provides.
#pragma once

#include "composite.h"
#include "fields.h"
#include "frame.h"
#include "rig.h"
#include "tracking.h"

namespace visavis {

// A band of rows of an image pair (h, w, c), values in rows of w * c floats.
struct PhotometricView {
  int width, height, channels;
  const float *image, *target;
  float *grad_mean, *grad_square, *grad_cross;  // derivative maps, blurred along x, in padded rows
  float* grad;                                  // (h, w, c) dLoss/dimage; null without gradient
  float l1_weight, ssim_weight;                 // already divided by the number of values
};

struct Kernels {
  int lanes;
  FieldKernels fields;
  TrackingKernels tracking;
  void (*project)(const FrameView&, int chunk);
  void (*project_backward)(const FrameView&, int chunk);
  void (*raster)(const FrameView&, int tile);
  void (*raster_backward)(const FrameView&, int tile);
  // Sums of SSIM over the rows [y0, y1), and their derivative maps.
  double (*ssim_rows)(const PhotometricView&, int y0, int y1, float* scratch);
  // Sum of |image - target| over the rows and dLoss/dimage.
  double (*loss_rows)(const PhotometricView&, int y0, int y1, float* scratch);
  int64_t (*photometric_scratch)(const PhotometricView&);  // floats that a band of rows needs
  int64_t (*photometric_map)(const PhotometricView&);      // floats of one derivative map
  void (*rig_vertices)(const RigView&, int chunk);
  void (*rig_frames)(const RigView&, int chunk);
  int (*rig_gaussians)(const RigView&, int chunk);  // returns how many hold a NaN or infinity
  void (*rig_gaussians_backward)(const RigView&, int chunk, float* scratch);
  int64_t (*rig_scratch)(const RigView&);  // floats that the one above needs
  void (*rig_vertices_backward)(const RigView&, int chunk);
  double (*rig_expression_backward)(const RigView&, int expression);
  CompositeSums (*composite_rows)(const CompositeView&, int y0, int y1);
  void (*composite_rows_backward)(const CompositeView&, int y0, int y1);
  void (*picture_rows)(const PictureView&, int y0, int y1);
};

const Kernels& kernels();       // the width in use
void set_lanes(int lanes);      // throws std::invalid_argument when this machine or build has not that width
int available_lanes(int out[3]);  // fills in ascending order, returns how many

}  // namespace visavis
