// From the parameters of a head to Gaussians in the world: plain data shared by the driver and by every vector width.
//
// blendshapes -> skinning over head -> neck -> {jaw, eyes} -> head to world -> triangle frames -> Gaussians with
// low-rank maps of driving features. The torso's Gaussians ride on one frame of their own, which slides and rolls.
#pragma once

#include <cstdint>

#include "maths/adam.h"

namespace visavis {

constexpr int kJoints = 4;          // neck, jaw, left eye, right eye
constexpr int kRigChunk = 1024;     // Gaussians per task
constexpr int kMeshChunk = 256;     // vertices or triangles per task
constexpr int kRigBlock = 64;       // Gaussians at a time: their gradients stay in the second-level cache
constexpr int kRigPadding = 16;     // floats that whole vectors may reach beyond a row of features
constexpr int kPull = 8;            // floats per Gaussian: force, 0, torque, 0
constexpr int kMeshSums = 12 + 12 * kJoints;  // gradients of rotation, translation and the joints' moves

struct RigMesh {
  int vertex_count, face_count, expressions;
  const float *neutral, *basis, *skin_weights, *regressor;  // (v, 3), (m, v, 3), (v, 4), (4, v)
  const int32_t* faces;                                     // (f, 3)
};

struct RigPose {
  const float *expression, *joints, *rotation, *translation;  // (m), (4, 3) axis-angle, (3, 3), (3)
};

struct alignas(64) RigTriangle {
  float corners[3][3], axes[3][3], quat[4];  // see maths/rig.h
};

// What is optimised of n Gaussians, or its gradients, or its optimiser's moments.
struct RigTensors {
  float *means, *quats, *log_scales, *opacity_logits, *colors;  // (n, 3), (n, 4), (n, 3), (n), (n, 3)
  float *map_means, *map_opacities, *map_colors;                // (n, 3, k), (n, k), (n, 3, k)
};

struct RigRates {
  maths::AdamRates<float> means, quats, log_scales, opacity_logits, colors, map_means, map_opacities, map_colors;
};

struct RigSet {
  int n, k;
  int first, first_chunk;              // where its Gaussians and its tasks start among those of all sets
  const int32_t* triangles;            // (n); null: all ride on frames[0]
  const float* barycentrics;           // (n, 3); null: on the first corner
  const float *hang, *hang_axes;       // (n), (n, 3, 3); null: everything turns with the triangle
  RigTensors tensors;                  // map_opacities and map_colors may be null
  const float* features;               // (k), followed by kRigPadding zeros
  const RigTriangle* frames;
  RigTensors gradients;                // without `rates`
  // Adam's side; with rates, `tensors` move as soon as their gradients are known, which are not kept.
  const RigRates* rates;
  RigTensors first_moments, second_moments;
  float* gradient_norms;               // (n) the length of dL/d(world mean) is added; may be null
};

struct RigWorld {
  float *means, *quats, *scales, *opacities, *colors;
};

struct RigView {
  RigMesh mesh;
  RigPose pose;
  RigSet sets[2];     // head, torso
  RigWorld world;     // sets one after the other
  RigWorld world_gradients;
  bool skinned;       // any joint turns
  float moves[kJoints][12];  // per joint: linear part minus 1, row by row, then the offset
  float *blended, *local, *vertices;  // (v, 3): after the blendshapes, after skinning, in the world
  RigTriangle* frames;                // (f), then the torso's
  float* pull;              // (n, kPull) or null
  float* feature_partials;  // (chunks, longest k + kRigPadding) or null
  int feature_stride;
  // Gradients of the mesh.
  float *grad_vertices, *grad_blended;  // (v, 3)
  double* mesh_partials;                // (mesh chunks, kMeshSums)

  VISAVIS_HD int chunks() const { return sets[1].first_chunk + (sets[1].n + kRigChunk - 1) / kRigChunk; }
};

}  // namespace visavis
