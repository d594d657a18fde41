// What depends on where the camera stands: the direction it sees a Gaussian in, and which way the Gaussian faces.
#pragma once

#include "ewa.h"

namespace visavis {
namespace maths {

// The camera's position in the world, -R^T t; a general matrix [R | t] is taken at its word.
template <class S>
VISAVIS_HD void camera_centre(const Camera<S>& cam, S* centre) {
  const S* V = cam.view;
  for (int k = 0; k < 3; k++) centre[k] = -(V[k] * V[3] + V[4 + k] * V[7] + V[8 + k] * V[11]);
}

// From dL/dcentre to dL/d[R | t], added.
template <class S, class G>
VISAVIS_HD void camera_centre_backward(const Camera<S>& cam, const G* gcentre, G* gview) {
  const S* V = cam.view;
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 3; k++) {
      gview[4 * i + k] -= V[4 * i + 3] * gcentre[k];
      gview[4 * i + 3] -= V[4 * i + k] * gcentre[k];
    }
}

// Unnormalised direction of view in the world: from the camera to the Gaussian; all rays of an orthographic camera are
// parallel to its axis, so there dL/dview_vector goes to row 2 of R, elsewhere to the mean and minus that to the centre.
template <CameraModel M, class S, class T>
VISAVIS_HD void view_vector(const Camera<S>& cam, const S* centre, const T* mean, T* out) {
  for (int k = 0; k < 3; k++) {
    if constexpr (M == kOrthographic)
      out[k] = constant<T>(cam.view[8 + k]);
    else
      out[k] = mean[k] - centre[k];
  }
}

// The normal: the axis of the smallest scale (the first such), turned towards the camera, in camera axes.
// `weight[k]` is +-1 for that axis and 0 for the others: normal = R_camera sum_k weight_k R[:, k].
template <CameraModel M, class S, class T>
VISAVIS_HD void gaussian_normal(const Camera<S>& cam, const Shape<T>& shape, const T* point, T* normal, T* weight) {
  using R = Real<T>;
  const T one = constant<T>(1), *s = shape.scale;
  const auto y_first = R::ge(s[2], s[1]);
  const T smaller = R::min(s[1], s[2]);
  const auto x_first = R::ge(smaller, s[0]);
  weight[0] = R::select(x_first, one, T{});
  weight[1] = R::select(x_first, T{}, R::select(y_first, one, T{}));
  weight[2] = R::select(x_first, T{}, R::select(y_first, T{}, one));
  T world[3];
  for (int i = 0; i < 3; i++) world[i] = dot3(shape.R[i], weight);
  const S* W = cam.view;
  for (int i = 0; i < 3; i++) normal[i] = W[4 * i] * world[0] + W[4 * i + 1] * world[1] + W[4 * i + 2] * world[2];
  T towards;
  if constexpr (M == kOrthographic)
    towards = -normal[2];
  else
    towards = -dot3(normal, point);
  const T sign = R::select(R::ge(towards, T{}), one, -one);
  for (int k = 0; k < 3; k++) normal[k] *= sign, weight[k] *= sign;
}

// Adds dL/dR of the shape and dL/d[R | t]; which axis and which side it shows count as constant.
template <class S, class T>
VISAVIS_HD void gaussian_normal_backward(const Camera<S>& cam, const Shape<T>& shape, const T* weight, const T* gnormal,
                                         T (*gR)[3], T* gview) {
  const S* W = cam.view;
  for (int i = 0; i < 3; i++) {
    const T gworld = W[i] * gnormal[0] + W[4 + i] * gnormal[1] + W[8 + i] * gnormal[2], world = dot3(shape.R[i], weight);
    for (int k = 0; k < 3; k++) gR[i][k] += gworld * weight[k], gview[4 * k + i] += gnormal[k] * world;
  }
}

}  // namespace maths
}  // namespace visavis
