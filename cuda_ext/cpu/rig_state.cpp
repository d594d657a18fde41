#include "rig_state.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "finite.h"
#include "kernels.h"
#include "maths/rig.h"
#include "maths/rotation.h"
#include "thread_pool.h"

namespace visavis {
namespace {

using maths::multiply;

int chunks_of(int count, int chunk) { return (count + chunk - 1) / chunk; }

bool outside(const int32_t* values, int64_t values_count, int limit) {
  bool bad = false;
  for (int64_t i = 0; i < values_count; i++) bad |= (uint32_t)values[i] >= (uint32_t)limit;
  return bad;
}

}  // namespace

const char* rig_index_error(const RigMesh& mesh, const RigSet& head) {
  if (outside(mesh.faces, (int64_t)3 * mesh.face_count, mesh.vertex_count)) return "faces";
  return outside(head.triangles, head.n, mesh.face_count) ? "triangles" : nullptr;
}

void RigState::forward(const float* const features[2], const float* torso_move) {
  lay_out(features);
  move_joints();
  move_torso(torso_move);
  const Kernels& k = kernels();
  const RigView& v = view;
  parallel(chunks_of(v.mesh.vertex_count, kMeshChunk), [&](int chunk) { k.rig_vertices(v, chunk); });
  parallel(chunks_of(v.mesh.face_count, kMeshChunk), [&](int chunk) { k.rig_frames(v, chunk); });
  std::atomic<int64_t> bad{0};
  parallel(v.chunks(), [&](int chunk) {
    if (const int found = k.rig_gaussians(v, chunk)) bad += found;
  });
  require_finite_gaussians(bad, gaussians());
}

void RigState::lay_out(const float* const features[2]) {
  RigView& v = view;
  const int64_t row = (int64_t)3 * v.mesh.vertex_count;
  v.blended = vertices_.reserve(5 * row);
  v.local = v.blended + row, v.vertices = v.local + row;
  v.grad_vertices = v.vertices + row, v.grad_blended = v.grad_vertices + row;
  v.frames = frames_.reserve(v.mesh.face_count + 1);
  v.feature_stride = std::max(v.sets[0].k, v.sets[1].k) + kRigPadding;
  float* padded = features_.reserve(2 * v.feature_stride);
  std::memset(padded, 0, sizeof(float) * 2 * v.feature_stride);
  for (int s = 0; s < 2; s++) {
    RigSet& set = v.sets[s];
    std::copy_n(features[s], set.k, padded + s * v.feature_stride);
    set.features = padded + s * v.feature_stride;
  }
  v.sets[0].first = v.sets[0].first_chunk = 0;
  v.sets[1].first = v.sets[0].n, v.sets[1].first_chunk = chunks_of(v.sets[0].n, kRigChunk);
  v.sets[0].frames = v.frames, v.sets[1].frames = v.frames + v.mesh.face_count;
}

// The chain head -> neck -> {jaw, left eye, right eye}: x -> R (x - p) + p for the neck, then each child about its own
// point carried by the neck.
void RigState::move_joints() {
  RigView& v = view;
  v.skinned = false;
  for (int i = 0; i < 3 * kJoints; i++) v.skinned |= v.pose.joints[i] != 0.f;
  for (int j = 0; j < kJoints; j++)
    for (int k = 0; k < 3; k++) rest_[j][k] = 0;
  for (int j = 0; j < kJoints; j++)
    for (int i = 0; i < v.mesh.vertex_count; i++) {
      const double weight = v.mesh.regressor[(int64_t)j * v.mesh.vertex_count + i];
      if (weight != 0)
        for (int k = 0; k < 3; k++) rest_[j][k] += weight * v.mesh.neutral[3 * (int64_t)i + k];
    }
  double neck[3][3], neck_at[3];
  for (int j = 0; j < kJoints; j++) {
    const float* angle = v.pose.joints + 3 * j;
    const double axis_angle[3] = {angle[0], angle[1], angle[2]}, *p = rest_[j];
    double R[3][3], turn[3][3];
    maths::rotation_of(axis_angle, R);
    if (j == 0) std::memcpy(neck, R, sizeof neck), std::memcpy(turn, R, sizeof turn);
    else multiply(neck, R, turn);
    for (int k = 0; k < 3; k++) {
      const double stays = j == 0 ? p[k] : maths::dot3(neck[k], p) + neck_at[k];
      const double at = stays - maths::dot3(turn[k], p);
      if (j == 0) neck_at[k] = at;
      for (int c = 0; c < 3; c++) v.moves[j][3 * k + c] = (float)(turn[k][c] - (k == c));
      v.moves[j][9 + k] = (float)at;
    }
  }
}

void RigState::move_torso(const float* torso_move) {
  const double angle = torso_move[2];
  const float c = (float)std::cos(angle), s = (float)std::sin(angle);
  view.frames[view.mesh.face_count] = {{{torso_move[0], torso_move[1], 0.f}},
                                       {{c, s, 0.f}, {-s, c, 0.f}, {0.f, 0.f, 1.f}},
                                       {(float)std::cos(angle / 2), 0.f, 0.f, (float)std::sin(angle / 2)}};
}

void RigState::backward(const RigPoseGradient* pose, const RigFeatureGradient* features) {
  RigView& v = view;
  v.pull = pose || (features && features->torso_move) ? pull_.reserve((size_t)kPull * gaussians()) : nullptr;
  v.feature_partials = features ? partials_.reserve((size_t)v.chunks() * v.feature_stride) : nullptr;
  const Kernels& k = kernels();
  const int64_t scratch_floats = k.rig_scratch(v);
  parallel(v.chunks(), [&](int chunk) {
    thread_local Buffer<float> scratch;
    k.rig_gaussians_backward(v, chunk, scratch.reserve(scratch_floats));
  });
  if (pose) pose_backward(*pose);
  if (features) features_backward(*features);
}

// dL/d(vertices): each triangle adds up its riders, each vertex its corners, in their order.
void RigState::gather_corners() {
  const RigView& v = view;
  const RigSet& head = v.sets[0];
  const int faces = v.mesh.face_count;
  int32_t* const start = riders_.reserve((size_t)faces + 1 + head.n);
  int32_t* const riders = start + faces + 1;
  std::memset(start, 0, sizeof(int32_t) * (faces + 1));
  for (int i = 0; i < head.n; i++) start[head.triangles[i]]++;
  for (int t = 0, total = 0; t <= faces; t++) {
    const int count = t < faces ? start[t] : 0;
    start[t] = total += count;
  }
  for (int i = head.n - 1; i >= 0; i--) riders[--start[head.triangles[i]]] = i;
  float* const corners = corner_gradients_.reserve((size_t)9 * faces);
  parallel(chunks_of(faces, kMeshChunk), [&](int chunk) {
    for (int t = chunk * kMeshChunk, end = std::min(t + kMeshChunk, faces); t < end; t++) {
      float sums[9] = {}, torque[3] = {}, gb[3], gc[3];
      for (int r = start[t]; r < start[t + 1]; r++) {
        const float *pull = v.pull + (int64_t)kPull * riders[r], *w = head.barycentrics + (int64_t)3 * riders[r];
        for (int k = 0; k < 9; k++) sums[k] += w[k / 3] * pull[k % 3];
        for (int k = 0; k < 3; k++) torque[k] += pull[4 + k];
      }
      const RigTriangle& f = v.frames[t];
      maths::triangle_frame_backward(f.corners[0], f.corners[1], f.corners[2], f.axes, torque, gb, gc);
      float* out = corners + (int64_t)9 * t;
      for (int k = 0; k < 3; k++)
        out[k] = sums[k] - gb[k] - gc[k], out[3 + k] = sums[3 + k] + gb[k], out[6 + k] = sums[6 + k] + gc[k];
    }
  });
  std::fill_n(v.grad_vertices, (size_t)3 * v.mesh.vertex_count, 0.f);
  for (int64_t c = 0; c < (int64_t)3 * faces; c++)
    for (int k = 0; k < 3; k++) v.grad_vertices[(int64_t)3 * v.mesh.faces[c] + k] += corners[3 * c + k];
}

void RigState::pose_backward(const RigPoseGradient& out) {
  gather_corners();
  RigView& v = view;
  const Kernels& k = kernels();
  const int chunks = chunks_of(v.mesh.vertex_count, kMeshChunk);
  v.mesh_partials = sums_.reserve((size_t)(chunks + 1) * kMeshSums);
  parallel(chunks, [&](int chunk) { k.rig_vertices_backward(v, chunk); });
  double* total = v.mesh_partials + (int64_t)chunks * kMeshSums;
  for (int i = 0; i < kMeshSums; i++) {
    total[i] = 0;
    for (int c = 0; c < chunks; c++) total[i] += v.mesh_partials[(int64_t)c * kMeshSums + i];
  }
  for (int i = 0; i < 9; i++) out.rotation[i] = (float)total[i];
  for (int i = 0; i < 3; i++) out.translation[i] = (float)total[9 + i];
  parallel(v.mesh.expressions, [&](int e) { out.expression[e] = (float)k.rig_expression_backward(v, e); });

  // Backwards through the chain of `move_joints`.
  double neck[3][3], R[kJoints][3][3], angles[kJoints][3], g_neck[3][3] = {}, g_neck_at[3];
  for (int j = 0; j < kJoints; j++) {
    for (int i = 0; i < 3; i++) angles[j][i] = v.pose.joints[3 * j + i];
    maths::rotation_of(angles[j], R[j]);
  }
  std::memcpy(neck, R[0], sizeof neck);
  for (int i = 0; i < 3; i++) g_neck_at[i] = total[12 + 9 + i];
  for (int j = 1; j < kJoints; j++) {
    const double *g = total + 12 + 12 * j, *p = rest_[j];
    double g_turn[3][3], g_own[3][3] = {}, g_angle[3];
    for (int r = 0; r < 3; r++) {
      g_neck_at[r] += g[9 + r];
      for (int c = 0; c < 3; c++) g_turn[r][c] = g[3 * r + c] - g[9 + r] * p[c];
      for (int c = 0; c < 3; c++) g_neck[r][c] += g[9 + r] * p[c] + maths::dot3(g_turn[r], R[j][c]);
    }
    for (int r = 0; r < 3; r++)
      for (int c = 0; c < 3; c++)
        for (int i = 0; i < 3; i++) g_own[r][c] += neck[i][r] * g_turn[i][c];
    maths::rotation_backward(angles[j], g_own, g_angle);
    for (int i = 0; i < 3; i++) out.joints[3 * j + i] = (float)g_angle[i];
  }
  double g_angle[3];
  for (int r = 0; r < 3; r++)
    for (int c = 0; c < 3; c++) g_neck[r][c] += total[12 + 3 * r + c] - g_neck_at[r] * rest_[0][c];
  maths::rotation_backward(angles[0], g_neck, g_angle);
  for (int i = 0; i < 3; i++) out.joints[i] = (float)g_angle[i];
}

void RigState::features_backward(const RigFeatureGradient& out) {
  const RigView& v = view;
  float* const of_set[2] = {out.head, out.torso};
  for (int s = 0; s < 2; s++) {
    std::fill_n(of_set[s], v.sets[s].k, 0.f);
    const int begin = s ? v.sets[1].first_chunk : 0, end = s ? v.chunks() : v.sets[1].first_chunk;
    for (int c = begin; c < end; c++)
      for (int j = 0; j < v.sets[s].k; j++) of_set[s][j] += v.feature_partials[(int64_t)c * v.feature_stride + j];
  }
  double move[3] = {};
  for (int64_t i = v.sets[1].first; i < gaussians(); i++) {
    const float* pull = v.pull + kPull * i;
    move[0] += pull[0], move[1] += pull[1], move[2] += pull[6];
  }
  for (int k = 0; k < 3; k++) out.torso_move[k] = (float)move[k];
}

size_t RigState::bytes() const {
  return vertices_.bytes() + features_.bytes() + pull_.bytes() + partials_.bytes() + corner_gradients_.bytes() +
         frames_.bytes() + sums_.bytes() + riders_.bytes();
}

}  // namespace visavis
