// What tracking spends its time on: Gauss-Newton matrices of points that move with a head, and coloured surface points
// beside a picture. The maths: cuda_ext/ops/tracking.py.
#pragma once

#include <cstdint>

namespace visavis {

constexpr int kPoseUnknowns = 6;
constexpr int kNormalPad = 32;  // two of the widest vectors
struct NormalView {
  int frames, points, unknowns, padded;
  const float* basis;  // (points, 3, padded): columns of the pose, left to the kernel, then those of the expressions
  const float* head;   // (frames, points, 3)
  const float* rows;   // (frames, points, 2, 3)
  float* out;          // (frames, unknowns, unknowns)
};

constexpr int kPictureChannels = 9;  // colours, their slopes along x, their slopes along y
constexpr int kLampTerms = 4;        // constant, normal

struct AlignmentView {
  int frames, points, width, height;
  int stride;  // every so many points decide about light and curvature
  float focal, centre_x, centre_y, outlier;
  float light_ridge[kLampTerms];
  const float* pictures;     // (frames, height, width, kPictureChannels)
  const float* head;         // (frames, points, 3)
  const float* rotation;     // (frames, 3, 3)
  const float* translation;  // (frames, 3)
  const float* weights;      // (frames, points)
  const float* normals;      // (points, 3)
  const float* colors;       // (points, 3)
  const float* precision;    // (points)
  float* lit;                // (frames, points, 3)
  float* trust;              // (frames, points)
  float* gradient;           // (frames, points, 3)
  float* rows;               // (frames, few(), 2, 3)
  float* value;              // (frames)

  int few() const { return (points + stride - 1) / stride; }
};

struct TrackingKernels {
  int64_t (*normal_scratch)(const NormalView& v);  // floats that the one below needs
  void (*normal_matrix)(const NormalView& v, int frame, float* scratch);
  int64_t (*alignment_scratch)(const AlignmentView& v);  // floats that each of the two below needs
  void (*align)(const AlignmentView& v, int frame, float* scratch);
  void (*alignment_cost)(const AlignmentView& v, int frame, float* scratch);
};

// The operations, a task per frame. Each throws std::invalid_argument when it is given a NaN or infinity.

// Set frames, points, head, rows and out. basis (points, 3, actions).
void normal_matrix(NormalView view, const float* basis, int actions);
// Fills lit, trust, gradient, rows and value.
void align(const AlignmentView& view);
// Fills value from lit and trust.
void alignment_cost(const AlignmentView& view);

}  // namespace visavis
