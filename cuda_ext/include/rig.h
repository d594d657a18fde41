// Gaussians that ride on mesh triangles.
#pragma once

#include <cstdint>

namespace visavis {

struct Mesh {
  const float* vertices;  // (v, 3)
  const int32_t* faces;   // (f, 3)
  int vertex_count, face_count;
};

struct Binding {
  const int32_t* triangles;   // (n)
  const float* barycentrics;  // (n, 3)
  int count;
};

constexpr int kFrame = 13;  // floats per triangle frame: rotation matrix (9, row major), quaternion wxyz (4)

// The first face or binding entry that points outside the mesh, as text; null when all is well.
const char* check_indices(const Mesh& mesh, const Binding& binding);

// Frames (f, kFrame): x = first edge, z = normal.
void triangle_frames(const Mesh& mesh, float* frames);

void bind(const Mesh& mesh, const Binding& binding, const float* frames, const float* local_means,
          const float* local_quats, float* means, float* quats);

// grad_vertices (v, 3) goes through the barycentric point only: the frames count as constant.
void bind_backward(const Mesh& mesh, const Binding& binding, const float* frames, const float* grad_means,
                   const float* grad_quats, float* grad_vertices, float* grad_local_means, float* grad_local_quats);

}  // namespace visavis
