// Gaussians that ride on the triangles of a skinned mesh, and the derivatives of that.
//
// A triangle's frame has x along its first edge and z along its normal. Frames are rotations, so whatever depends on
// one depends on its corners through an infinitesimal turn only: gradients reach the mesh as a force on a point and a
// torque on the frame.
#pragma once

#include "real.h"

namespace visavis {
namespace maths {

template <class T>
VISAVIS_HD void cross3(const T* a, const T* b, T* out) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

// Hamilton product p q of quaternions wxyz.
template <class T>
VISAVIS_HD void multiply_quats(const T* p, const T* q, T* out) {
  out[0] = p[0] * q[0] - p[1] * q[1] - p[2] * q[2] - p[3] * q[3];
  out[1] = p[0] * q[1] + p[1] * q[0] + p[2] * q[3] - p[3] * q[2];
  out[2] = p[0] * q[2] - p[1] * q[3] + p[2] * q[0] + p[3] * q[1];
  out[3] = p[0] * q[3] + p[1] * q[2] - p[2] * q[1] + p[3] * q[0];
}

// From dL/d(p q) to dL/dq for a unit quaternion p.
template <class T>
VISAVIS_HD void multiply_quats_backward(const T* p, const T* g, T* out) {
  const T conjugate[4] = {p[0], -p[1], -p[2], -p[3]};
  multiply_quats(conjugate, g, out);
}

// Quaternion wxyz of a rotation, given as m[row][column]: divides by the largest of the four components (Shepperd 1978).
template <class T>
VISAVIS_HD void quat_of_rotation(const T (*m)[3], T* q) {
  using R = Real<T>;
  using S = Scalar<T>;
  const T trace = m[0][0] + m[1][1] + m[2][2], zero = constant<T>(0);
  const auto w_large = R::ge(trace, zero);
  const auto x_large = R::ge(m[0][0], m[1][1]) & R::ge(m[0][0], m[2][2]);
  const auto y_large = R::ge(m[1][1], m[2][2]);
  const auto pick = [&](T w, T x, T y, T z) {
    return R::select(w_large, w, R::select(x_large, x, R::select(y_large, y, z)));
  };
  const T two = S(2) * pick(m[0][0], m[0][0], m[1][1], m[2][2]);
  const T square = R::select(w_large, trace, two - trace) + S(1);  // 4 (largest component)^2
  const T root = R::sqrt(R::max(square, constant<T>(kMinNorm)));
  const T large = S(0.5) * root, over = S(0.5) / root;
  const T wx = (m[2][1] - m[1][2]) * over, wy = (m[0][2] - m[2][0]) * over, wz = (m[1][0] - m[0][1]) * over;
  const T xy = (m[0][1] + m[1][0]) * over, xz = (m[0][2] + m[2][0]) * over, yz = (m[1][2] + m[2][1]) * over;
  q[0] = pick(large, wx, wy, wz);
  q[1] = pick(wx, large, xy, xz);
  q[2] = pick(wy, xy, large, yz);
  q[3] = pick(wz, xz, yz, large);
}

// axes[k] is the frame's k-th axis in the world.
template <class T>
VISAVIS_HD void triangle_frame(const T* a, const T* b, const T* c, T (*axes)[3], T* quat) {
  using S = Scalar<T>;
  using R = Real<T>;
  T edge[3], other[3], normal[3], rows[3][3];
  for (int i = 0; i < 3; i++) edge[i] = b[i] - a[i], other[i] = c[i] - a[i];
  cross3(edge, other, normal);
  const T along = S(1) / R::max(R::sqrt(dot3(edge, edge)), constant<T>(kMinNorm));
  const T up = S(1) / R::max(R::sqrt(dot3(normal, normal)), constant<T>(kMinNorm));
  for (int i = 0; i < 3; i++) axes[0][i] = edge[i] * along, axes[2][i] = normal[i] * up;
  cross3(axes[2], axes[0], axes[1]);
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 3; k++) rows[i][k] = axes[k][i];
  quat_of_rotation(rows, quat);
}

// From the torque on a frame to dL/db and dL/dc of its corners; dL/da is minus their sum.
//
// A corner that leaves the plane tilts the frame; one that moves in the plane across the first edge turns it about z.
template <class T>
VISAVIS_HD void triangle_frame_backward(const T* a, const T* b, const T* c, const T (*axes)[3], const T* torque, T* gb,
                                        T* gc) {
  using S = Scalar<T>;
  using R = Real<T>;
  T edge[3], other[3];
  for (int i = 0; i < 3; i++) edge[i] = b[i] - a[i], other[i] = c[i] - a[i];
  const T length = S(1) / R::max(dot3(edge, axes[0]), constant<T>(kMinNorm));
  const T height = S(1) / R::max(dot3(other, axes[1]), constant<T>(kMinNorm));
  const T tilt = dot3(torque, axes[0]) * height, turn = dot3(torque, axes[2]) * length;
  const T lift = -(tilt * dot3(other, axes[0]) + dot3(torque, axes[1])) * length;
  for (int i = 0; i < 3; i++) {
    gb[i] = axes[2][i] * lift + axes[1][i] * turn;
    gc[i] = axes[2][i] * tilt;
  }
}

// The torque that dL/dq of a quaternion q exerts on the frame it turns with.
template <class T>
VISAVIS_HD void quat_torque(const T* q, const T* g, T* torque) {
  T turned[3];
  cross3(q + 1, g + 1, turned);
  for (int i = 0; i < 3; i++) torque[i] = Scalar<T>(0.5) * (q[0] * g[1 + i] - g[0] * q[1 + i] + turned[i]);
}

}  // namespace maths
}  // namespace visavis
