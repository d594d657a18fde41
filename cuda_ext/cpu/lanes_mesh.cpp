// Posing a mesh and the frames of its triangles, and the gradient of that.
#include "lanes.h"
#include "maths/rig.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {

// Blendshapes, skinning and the head's pose of a chunk of vertices.
void rig_vertices(const RigView& f, int chunk) {
  const RigMesh& m = f.mesh;
  const int begin = chunk * kMeshChunk, count = imin(kMeshChunk, m.vertex_count - begin);
  const int64_t from = (int64_t)3 * begin, row = (int64_t)3 * m.vertex_count;
  float blended[3 * kMeshChunk];
  memcpy(blended, m.neutral + from, sizeof(float) * 3 * count);
  for (int e = 0; e < m.expressions; e++) {
    const float* shape = m.basis + e * row + from;
    const float weight = f.pose.expression[e];
    for (int i = 0; i < 3 * count; i++) blended[i] += weight * shape[i];
  }
  memcpy(f.blended + from, blended, sizeof(float) * 3 * count);
  const float *R = f.pose.rotation, *t = f.pose.translation;
  for (int i = 0; i < count; i++) {
    float p[3] = {blended[3 * i], blended[3 * i + 1], blended[3 * i + 2]};
    if (f.skinned) {
      float move[12] = {};
      const float* w = m.skin_weights + (int64_t)kJoints * (begin + i);
      for (int j = 0; j < kJoints; j++)
        for (int k = 0; k < 12; k++) move[k] += w[j] * f.moves[j][k];
      const float x = p[0], y = p[1], z = p[2];
      for (int k = 0; k < 3; k++) p[k] += move[3 * k] * x + move[3 * k + 1] * y + move[3 * k + 2] * z + move[9 + k];
    }
    for (int k = 0; k < 3; k++) {
      f.local[from + 3 * i + k] = p[k];
      f.vertices[from + 3 * i + k] = R[3 * k] * p[0] + R[3 * k + 1] * p[1] + R[3 * k + 2] * p[2] + t[k];
    }
  }
}

// Frames of a chunk of triangles, one per lane.
void rig_frames(const RigView& f, int chunk) {
  const int begin = chunk * kMeshChunk, end = imin(begin + kMeshChunk, f.mesh.face_count);
  for (int first = begin; first < end; first += kLanes) {
    const int count = imin(kLanes, end - first);
    float columns[9][kLanes] = {};
    for (int i = 0; i < count; i++)
      for (int k = 0; k < 3; k++) {
        const float* v = f.vertices + (int64_t)3 * f.mesh.faces[3 * (int64_t)(first + i) + k];
        for (int j = 0; j < 3; j++) f.frames[first + i].corners[k][j] = columns[3 * k + j][i] = v[j];
      }
    vf corners[9], axes[3][3], quat[4];
    for (int k = 0; k < 9; k++) corners[k] = load(columns[k]);
    maths::triangle_frame(corners, corners + 3, corners + 6, axes, quat);
    float out[13][kLanes];
    for (int k = 0; k < 9; k++) store(out[k], axes[k / 3][k % 3]);
    for (int k = 0; k < 4; k++) store(out[9 + k], quat[k]);
    for (int i = 0; i < count; i++) {
      for (int k = 0; k < 9; k++) f.frames[first + i].axes[k / 3][k % 3] = out[k][i];
      for (int k = 0; k < 4; k++) f.frames[first + i].quat[k] = out[9 + k][i];
    }
  }
}

// From dL/d(vertices) of a chunk to its blendshapes, and its part of the gradients of the pose.
void rig_vertices_backward(const RigView& f, int chunk) {
  const RigMesh& m = f.mesh;
  const int begin = chunk * kMeshChunk, end = imin(begin + kMeshChunk, m.vertex_count);
  const float* R = f.pose.rotation;
  double* sums = f.mesh_partials + (int64_t)chunk * kMeshSums;
  float total[kMeshSums] = {};
  for (int64_t i = begin; i < end; i++) {
    const float *g = f.grad_vertices + 3 * i, *p = f.local + 3 * i, *x = f.blended + 3 * i;
    const float* w = m.skin_weights + kJoints * i;
    float h[3], out[3];
    for (int k = 0; k < 3; k++) h[k] = out[k] = R[k] * g[0] + R[3 + k] * g[1] + R[6 + k] * g[2];
    for (int k = 0; k < 9; k++) total[k] += g[k / 3] * p[k % 3];
    for (int k = 0; k < 3; k++) total[9 + k] += g[k];
    for (int j = 0; j < kJoints; j++) {
      if (w[j] == 0.f) continue;
      float* move = total + 12 + 12 * j;
      for (int k = 0; k < 9; k++) move[k] += w[j] * h[k / 3] * x[k % 3];
      for (int k = 0; k < 3; k++) move[9 + k] += w[j] * h[k];
      if (f.skinned)
        for (int k = 0; k < 3; k++)
          out[k] += w[j] * (f.moves[j][k] * h[0] + f.moves[j][3 + k] * h[1] + f.moves[j][6 + k] * h[2]);
    }
    for (int k = 0; k < 3; k++) f.grad_blended[3 * i + k] = out[k];
  }
  for (int k = 0; k < kMeshSums; k++) sums[k] = total[k];
}

// dL/d(expression[e]).
double rig_expression_backward(const RigView& f, int e) {
  const int64_t count = (int64_t)3 * f.mesh.vertex_count;
  const float* shape = f.mesh.basis + e * count;
  vf sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes)
    for (int k = 0; k < 2; k++)
      sums[k] = fma(load(shape + i + k * kLanes), load(f.grad_blended + i + k * kLanes), sums[k]);
  double total = sum(sums[0] + sums[1]);
  for (; i < count; i++) total += shape[i] * f.grad_blended[i];
  return total;
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
