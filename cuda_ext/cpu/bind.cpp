#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "buffer.h"
#include "rig.h"
#include "thread_pool.h"

namespace visavis {
namespace {

constexpr int kChunk = 4096;
constexpr int kPartials = 4;  // fixed, so that sums do not depend on the number of threads
constexpr float kTiny = 1e-12f;

template <class F>
void for_chunks(int count, const F& body) {
  parallel((count + kChunk - 1) / kChunk,
           [&](int chunk) { body(chunk * kChunk, std::min((chunk + 1) * kChunk, count)); });
}

struct Vector {
  float x, y, z;
};

Vector vertex(const Mesh& mesh, int face, int corner) {
  const float* v = mesh.vertices + (int64_t)3 * mesh.faces[(int64_t)3 * face + corner];
  return {v[0], v[1], v[2]};
}

Vector minus(Vector a, Vector b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }

Vector cross(Vector a, Vector b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

Vector normalized(Vector a) {
  const float inv = 1.f / std::max(std::sqrt(a.x * a.x + a.y * a.y + a.z * a.z), kTiny);
  return {a.x * inv, a.y * inv, a.z * inv};
}

// Shepperd's method: divide by the largest of the four components.
void matrix_to_quat(const float* r, float* q) {
  const float trace = r[0] + r[4] + r[8];
  if (trace > 0) {
    const float s = 2.f * std::sqrt(trace + 1.f);
    q[0] = 0.25f * s, q[1] = (r[7] - r[5]) / s, q[2] = (r[2] - r[6]) / s, q[3] = (r[3] - r[1]) / s;
  } else if (r[0] > r[4] && r[0] > r[8]) {
    const float s = 2.f * std::sqrt(1.f + r[0] - r[4] - r[8]);
    q[0] = (r[7] - r[5]) / s, q[1] = 0.25f * s, q[2] = (r[1] + r[3]) / s, q[3] = (r[2] + r[6]) / s;
  } else if (r[4] > r[8]) {
    const float s = 2.f * std::sqrt(1.f + r[4] - r[0] - r[8]);
    q[0] = (r[2] - r[6]) / s, q[1] = (r[1] + r[3]) / s, q[2] = 0.25f * s, q[3] = (r[5] + r[7]) / s;
  } else {
    const float s = 2.f * std::sqrt(1.f + r[8] - r[0] - r[4]);
    q[0] = (r[3] - r[1]) / s, q[1] = (r[2] + r[6]) / s, q[2] = (r[5] + r[7]) / s, q[3] = 0.25f * s;
  }
}

void multiply_quats(const float* p, const float* s, float* o) {
  o[0] = p[0] * s[0] - p[1] * s[1] - p[2] * s[2] - p[3] * s[3];
  o[1] = p[0] * s[1] + p[1] * s[0] + p[2] * s[3] - p[3] * s[2];
  o[2] = p[0] * s[2] - p[1] * s[3] + p[2] * s[0] + p[3] * s[1];
  o[3] = p[0] * s[3] + p[1] * s[2] - p[2] * s[1] + p[3] * s[0];
}

}  // namespace

const char* check_indices(const Mesh& mesh, const Binding& binding) {
  std::atomic<bool> bad_face{false}, bad_triangle{false};
  const auto outside = [](const int32_t* values, int64_t begin, int64_t end, int count) {
    bool bad = false;
    for (int64_t i = begin; i < end; i++) bad |= (uint32_t)values[i] >= (uint32_t)count;
    return bad;
  };
  for_chunks(mesh.face_count, [&](int begin, int end) {
    if (outside(mesh.faces, (int64_t)3 * begin, (int64_t)3 * end, mesh.vertex_count)) bad_face = true;
  });
  for_chunks(binding.count, [&](int begin, int end) {
    if (outside(binding.triangles, begin, end, mesh.face_count)) bad_triangle = true;
  });
  return bad_face ? "faces" : bad_triangle ? "triangles" : nullptr;
}

void triangle_frames(const Mesh& mesh, float* frames) {
  for_chunks(mesh.face_count, [&](int begin, int end) {
    for (int t = begin; t < end; t++) {
      const Vector a = vertex(mesh, t, 0), edge = minus(vertex(mesh, t, 1), a);
      const Vector x = normalized(edge), z = normalized(cross(edge, minus(vertex(mesh, t, 2), a))), y = cross(z, x);
      float* r = frames + (int64_t)kFrame * t;
      r[0] = x.x, r[1] = y.x, r[2] = z.x;
      r[3] = x.y, r[4] = y.y, r[5] = z.y;
      r[6] = x.z, r[7] = y.z, r[8] = z.z;
      matrix_to_quat(r, r + 9);
    }
  });
}

void bind(const Mesh& mesh, const Binding& binding, const float* frames, const float* local_means,
          const float* local_quats, float* means, float* quats) {
  for_chunks(binding.count, [&](int begin, int end) {
    for (int64_t i = begin; i < end; i++) {
      const int t = binding.triangles[i];
      const Vector a = vertex(mesh, t, 0), b = vertex(mesh, t, 1), c = vertex(mesh, t, 2);
      const float *w = binding.barycentrics + 3 * i, *r = frames + (int64_t)kFrame * t, *u = local_means + 3 * i;
      float* m = means + 3 * i;
      m[0] = w[0] * a.x + w[1] * b.x + w[2] * c.x + (r[0] * u[0] + r[1] * u[1] + r[2] * u[2]);
      m[1] = w[0] * a.y + w[1] * b.y + w[2] * c.y + (r[3] * u[0] + r[4] * u[1] + r[5] * u[2]);
      m[2] = w[0] * a.z + w[1] * b.z + w[2] * c.z + (r[6] * u[0] + r[7] * u[1] + r[8] * u[2]);
      multiply_quats(r + 9, local_quats + 4 * i, quats + 4 * i);
    }
  });
}

void bind_backward(const Mesh& mesh, const Binding& binding, const float* frames, const float* grad_means,
                   const float* grad_quats, float* grad_vertices, float* grad_local_means, float* grad_local_quats) {
  for_chunks(binding.count, [&](int begin, int end) {
    for (int64_t i = begin; i < end; i++) {
      const float *r = frames + (int64_t)kFrame * binding.triangles[i], *g = grad_means + 3 * i;
      for (int j = 0; j < 3; j++) grad_local_means[3 * i + j] = r[j] * g[0] + r[3 + j] * g[1] + r[6 + j] * g[2];
      const float conjugate[4] = {r[9], -r[10], -r[11], -r[12]};
      multiply_quats(conjugate, grad_quats + 4 * i, grad_local_quats + 4 * i);
    }
  });
  thread_local Buffer<float> partials;
  const int64_t values = (int64_t)3 * mesh.vertex_count;
  float* const sums = partials.reserve(kPartials * values);
  parallel(kPartials, [&, sums](int part) {
    float* out = sums + part * values;
    std::memset(out, 0, sizeof(float) * values);
    const int64_t begin = (int64_t)binding.count * part / kPartials, end = (int64_t)binding.count * (part + 1) / kPartials;
    for (int64_t i = begin; i < end; i++) {
      const int32_t* corners = mesh.faces + (int64_t)3 * binding.triangles[i];
      for (int k = 0; k < 3; k++)
        for (int j = 0; j < 3; j++)
          out[(int64_t)3 * corners[k] + j] += binding.barycentrics[3 * i + k] * grad_means[3 * i + j];
    }
  });
  for (int64_t i = 0; i < values; i++) {
    float total = 0;
    for (int part = 0; part < kPartials; part++) total += sums[part * values + i];
    grad_vertices[i] = total;
  }
}

}  // namespace visavis
