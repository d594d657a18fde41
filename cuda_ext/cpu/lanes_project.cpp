// 3D Gaussians to image-plane splats (EWA: Zwicker et al. 2001, "EWA Volume Splatting", eq. 24-31) and back.
#include "lanes.h"

namespace visavis {
namespace VISAVIS_NAMESPACE {
namespace {

constexpr int kBlock = 64;  // Gaussians turned from rows into columns at a time: stays in the first-level cache

// One attribute per row, one Gaussian per column.
template <int K>
struct Columns {
  alignas(64) float v[K][kBlock];
};

template <int K>
VISAVIS_INLINE void read_columns(const float* rows, int first, int count, float (*columns)[kBlock]) {
  for (int i = 0; i < count; i++)
    for (int k = 0; k < K; k++) columns[k][i] = rows[(int64_t)(first + i) * K + k];
  for (int k = 0; k < K; k++)
    for (int i = count; i < kBlock; i++) columns[k][i] = 0.f;
}

template <int K>
VISAVIS_INLINE void write_rows(float* rows, int first, int count, const float (*columns)[kBlock]) {
  for (int i = 0; i < count; i++)
    for (int k = 0; k < K; k++) rows[(int64_t)(first + i) * K + k] = columns[k][i];
}

enum Input { kMean = 0, kQuat = 3, kScale = 7, kOpacity = 10, kColor = 11, kInputs = 14 };

VISAVIS_INLINE void read_inputs(const FrameView& f, int first, int count, Columns<kInputs>& in) {
  read_columns<3>(f.means, first, count, in.v + kMean);
  read_columns<4>(f.quats, first, count, in.v + kQuat);
  read_columns<3>(f.scales, first, count, in.v + kScale);
  read_columns<1>(f.opacities, first, count, in.v + kOpacity);
  read_columns<3>(f.colors, first, count, in.v + kColor);
}

// Everything about the projection that both directions need.
struct Projected {
  vf x, y, z, rz;       // camera space; rz = 1 / max(z, near)
  vf w, p, q, r, rn;    // unit quaternion, 1 / norm
  vf R[3][3];
  vf T[2][3];           // Jacobian of the projection times the camera's rotation
  vf TR[2][3];
  vf s[3];
  vf N[2][3];           // TR diag(s): covariance = N N^T + blur
  vf caa, cab, cbb;     // covariance
  vf A, B, C;           // its inverse
};

VISAVIS_INLINE Projected project_lanes(const Camera& cam, const Columns<kInputs>& in, int at) {
  const float* V = cam.view;
  Projected o;
  const vf m0 = load(in.v[kMean] + at), m1 = load(in.v[kMean + 1] + at), m2 = load(in.v[kMean + 2] + at);
  o.x = V[0] * m0 + V[1] * m1 + V[2] * m2 + V[3];
  o.y = V[4] * m0 + V[5] * m1 + V[6] * m2 + V[7];
  o.z = V[8] * m0 + V[9] * m1 + V[10] * m2 + V[11];
  o.rz = 1.f / max(o.z, broadcast(kNear));
  vf w = load(in.v[kQuat] + at), p = load(in.v[kQuat + 1] + at), q = load(in.v[kQuat + 2] + at),
     r = load(in.v[kQuat + 3] + at);
  o.rn = 1.f / max(sqrt(w * w + p * p + q * q + r * r), broadcast(kMinNorm));
  o.w = w *= o.rn, o.p = p *= o.rn, o.q = q *= o.rn, o.r = r *= o.rn;
  o.R[0][0] = 1.f - 2.f * (q * q + r * r), o.R[0][1] = 2.f * (p * q - w * r), o.R[0][2] = 2.f * (p * r + w * q);
  o.R[1][0] = 2.f * (p * q + w * r), o.R[1][1] = 1.f - 2.f * (p * p + r * r), o.R[1][2] = 2.f * (q * r - w * p);
  o.R[2][0] = 2.f * (p * r - w * q), o.R[2][1] = 2.f * (q * r + w * p), o.R[2][2] = 1.f - 2.f * (p * p + q * q);
  const vf j0 = cam.fx * o.rz, j1 = cam.fy * o.rz, j02 = -j0 * o.x * o.rz, j12 = -j1 * o.y * o.rz;
  for (int k = 0; k < 3; k++) {
    o.T[0][k] = j0 * V[k] + j02 * V[8 + k];
    o.T[1][k] = j1 * V[4 + k] + j12 * V[8 + k];
    o.s[k] = load(in.v[kScale + k] + at);
  }
  for (int k = 0; k < 3; k++)
    for (int a = 0; a < 2; a++) {
      o.TR[a][k] = o.T[a][0] * o.R[0][k] + o.T[a][1] * o.R[1][k] + o.T[a][2] * o.R[2][k];
      o.N[a][k] = o.TR[a][k] * o.s[k];
    }
  const auto& N = o.N;
  o.caa = N[0][0] * N[0][0] + N[0][1] * N[0][1] + N[0][2] * N[0][2] + kBlur;
  o.cab = N[0][0] * N[1][0] + N[0][1] * N[1][1] + N[0][2] * N[1][2];
  o.cbb = N[1][0] * N[1][0] + N[1][1] * N[1][1] + N[1][2] * N[1][2] + kBlur;
  // det = product of variances without the cancellation of caa cbb - cab^2 for needles (Cauchy-Binet for the rest)
  const vf d01 = N[0][0] * N[1][1] - N[0][1] * N[1][0], d02 = N[0][0] * N[1][2] - N[0][2] * N[1][0],
           d12 = N[0][1] * N[1][2] - N[0][2] * N[1][1];
  const vf det = d01 * d01 + d02 * d02 + d12 * d12 + kBlur * (o.caa + o.cbb - kBlur);
  const vf inv = 1.f / det;
  o.A = o.cbb * inv, o.B = -o.cab * inv, o.C = o.caa * inv;
  return o;
}

enum Output { kX, kY, kZ, kA, kB, kC, kPx0, kPx1, kPy0, kPy1, kOutputs };

// The first and last pixel whose centre lies within `extent` of `centre`, as floats clipped to [0, size).
VISAVIS_INLINE void pixel_range(vf centre, vf extent, int size, float* first, float* last) {
  const vf reach = extent * 1.0001f + 0.001f;  // never lose a pixel to rounding: the alpha test decides
  store(first, max(centre - reach - 0.5f, broadcast(-0.5f)));
  store(last, min(centre + reach - 0.5f, broadcast((float)size - 1.f)));
}

VISAVIS_INLINE void project_block(const FrameView& f, const Columns<kInputs>& in, const float* log2_opacity,
                                  Columns<kOutputs>& out) {
  for (int at = 0; at < kBlock; at += kLanes) {
    const Projected o = project_lanes(f.camera, in, at);
    const vf x = f.camera.fx * o.x * o.rz + f.camera.cx, y = f.camera.fy * o.y * o.rz + f.camera.cy;
    // The ellipse log2 alpha = log2(1/255) has half-axes sqrt(reach * variance).
    const vf reach = max((load(log2_opacity + at) - kLog2MinAlpha) * (2.f / kLog2E), broadcast(0.f));
    pixel_range(x, sqrt(reach * o.caa), f.camera.width, out.v[kPx0] + at, out.v[kPx1] + at);
    pixel_range(y, sqrt(reach * o.cbb), f.camera.height, out.v[kPy0] + at, out.v[kPy1] + at);
    store(out.v[kX] + at, x), store(out.v[kY] + at, y), store(out.v[kZ] + at, o.z);
    store(out.v[kA] + at, 0.5f * kLog2E * o.A), store(out.v[kB] + at, kLog2E * o.B);
    store(out.v[kC] + at, 0.5f * kLog2E * o.C);
  }
}

VISAVIS_INLINE void write_splat(const Columns<kInputs>& in, const Columns<kOutputs>& out, const float* log2_opacity,
                                int i, Splat& s) {
  s.x = out.v[kX][i], s.y = out.v[kY][i], s.z = out.v[kZ][i];
  s.a = out.v[kA][i], s.b = out.v[kB][i], s.c = out.v[kC][i], s.l2o = log2_opacity[i];
  s.red = in.v[kColor][i], s.green = in.v[kColor + 1][i], s.blue = in.v[kColor + 2][i];
  // Truncation after +1 is the ceiling for values in [-0.5, size); comparisons are false for NaN: culled.
  const float x0 = out.v[kPx0][i], x1 = out.v[kPx1][i], y0 = out.v[kPy0][i], y1 = out.v[kPy1][i];
  const bool seen = s.z > kNear && s.l2o >= kLog2MinAlpha && x1 >= 0.f && y1 >= 0.f && x0 <= x1 && y0 <= y1;
  s.px0 = 1, s.px1 = 0, s.py0 = 1, s.py1 = 0;
  if (!seen) return;
  const int px0 = (int)__builtin_ceilf(x0), px1 = (int)x1, py0 = (int)__builtin_ceilf(y0), py1 = (int)y1;
  if (px0 > px1 || py0 > py1) return;
  s.px0 = px0, s.px1 = px1, s.py0 = py0, s.py1 = py1;
}

}  // namespace

void project(const FrameView& f, int chunk) {
  const int begin = chunk * f.chunk, end = imin(begin + f.chunk, f.n);
  uint32_t* tiles = f.chunk_tiles + (int64_t)chunk * f.tiles();
  memset(tiles, 0, sizeof(uint32_t) * f.tiles());
  uint32_t pairs = 0, bad = 0;
  Columns<kInputs> in;
  Columns<kOutputs> out;
  alignas(64) float log2_opacity[kBlock], total[kBlock];
  for (int first = begin; first < end; first += kBlock) {
    const int count = imin(kBlock, end - first);
    read_inputs(f, first, count, in);
    for (int i = 0; i < kBlock; i++) total[i] = 0.f;
    for (int k = 0; k < kInputs; k++)
      for (int i = 0; i < kBlock; i++) total[i] += in.v[k][i] * 1e-3f;
    for (int i = 0; i < count; i++) log2_opacity[i] = __builtin_log2f(in.v[kOpacity][i]);
    for (int i = count; i < kBlock; i++) log2_opacity[i] = -100.f;
    project_block(f, in, log2_opacity, out);
    for (int i = 0; i < count; i++) {
      Splat& s = f.splats[first + i];
      write_splat(in, out, log2_opacity, i, s);
      bad += !__builtin_isfinite(total[i]);
      s.first_slot = pairs;
      if (!s.visible()) continue;
      const int tx0 = s.px0 / kTile, tx1 = s.px1 / kTile, ty1 = s.py1 / kTile;
      for (int ty = s.py0 / kTile; ty <= ty1; ty++)
        for (int tx = tx0; tx <= tx1; tx++) tiles[ty * f.tiles_x + tx]++;
      pairs += s.tiles();
    }
  }
  f.chunk_pairs[chunk] = pairs;
  f.chunk_bad[chunk] = bad;
}

namespace {

enum Gradient { kGradMean = 0, kGradQuat = 3, kGradScale = 7, kGradOpacity = 10, kGradColor = 11, kGradients = 14 };

// From the sums of the tile pass to gradients of one vector of Gaussians.
VISAVIS_INLINE void project_lanes_backward(const Camera& cam, const Columns<kInputs>& in, const Columns<kSums>& sums,
                                           int at, Columns<kGradients>& out) {
  const Projected o = project_lanes(cam, in, at);
  const float* V = cam.view;
  const auto S = [&](int k) { return load(sums.v[k] + at); };
  const auto put = [&](int k, vf v) { store(out.v[k] + at, v); };
  put(kGradOpacity, S(kV) / max(load(in.v[kOpacity] + at), broadcast(kMinNorm)));
  for (int k = 0; k < 3; k++) put(kGradColor + k, S(kRed + k));
  // alpha = o exp(-(A dx^2 + 2 B dx dy + C dy^2) / 2), so dL/dx = -(A Sum v dx + B Sum v dy), and so on.
  const vf gx = -(o.A * S(kVx) + o.B * S(kVy)), gy = -(o.B * S(kVx) + o.C * S(kVy));
  // Through the inverse: dL/dcov = -P G P with G = dL/dP, both symmetric.
  const vf gA = -0.5f * S(kVxx), gB = -0.5f * S(kVxy), gC = -0.5f * S(kVyy);
  const vf p00 = o.A * gA + o.B * gB, p01 = o.A * gB + o.B * gC, p10 = o.B * gA + o.C * gB, p11 = o.B * gB + o.C * gC;
  const vf c00 = -(p00 * o.A + p01 * o.B), c01 = -(p00 * o.B + p01 * o.C), c11 = -(p10 * o.B + p11 * o.C);
  vf e[2][3];  // dL/dTR
  for (int k = 0; k < 3; k++) {
    const vf n0 = 2.f * (c00 * o.N[0][k] + c01 * o.N[1][k]), n1 = 2.f * (c01 * o.N[0][k] + c11 * o.N[1][k]);
    put(kGradScale + k, n0 * o.TR[0][k] + n1 * o.TR[1][k]);
    e[0][k] = n0 * o.s[k], e[1][k] = n1 * o.s[k];
  }
  vf G[3][3];  // dL/dR
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 3; k++) G[i][k] = o.T[0][i] * e[0][k] + o.T[1][i] * e[1][k];
  const vf w = o.w, p = o.p, q = o.q, r = o.r;
  const vf gw = 2.f * (p * (G[2][1] - G[1][2]) + q * (G[0][2] - G[2][0]) + r * (G[1][0] - G[0][1]));
  const vf gp = 2.f * (q * (G[1][0] + G[0][1]) + r * (G[2][0] + G[0][2]) + w * (G[2][1] - G[1][2]) -
                       2.f * p * (G[1][1] + G[2][2]));
  const vf gq = 2.f * (p * (G[1][0] + G[0][1]) + r * (G[2][1] + G[1][2]) + w * (G[0][2] - G[2][0]) -
                       2.f * q * (G[0][0] + G[2][2]));
  const vf gr = 2.f * (p * (G[2][0] + G[0][2]) + q * (G[2][1] + G[1][2]) + w * (G[1][0] - G[0][1]) -
                       2.f * r * (G[0][0] + G[1][1]));
  const vf along = gw * w + gp * p + gq * q + gr * r;  // the norm of the quaternion has no effect
  put(kGradQuat, (gw - along * w) * o.rn), put(kGradQuat + 1, (gp - along * p) * o.rn);
  put(kGradQuat + 2, (gq - along * q) * o.rn), put(kGradQuat + 3, (gr - along * r) * o.rn);
  vf J[2][3];  // dL/dJ = dL/dT W^T, W the camera's rotation
  for (int a = 0; a < 2; a++) {
    vf t[3];
    for (int i = 0; i < 3; i++) t[i] = e[a][0] * o.R[i][0] + e[a][1] * o.R[i][1] + e[a][2] * o.R[i][2];
    for (int i = 0; i < 3; i++) J[a][i] = t[0] * V[4 * i] + t[1] * V[4 * i + 1] + t[2] * V[4 * i + 2];
  }
  const vf ax = cam.fx * o.rz, ay = cam.fy * o.rz, axz = ax * o.rz, ayz = ay * o.rz;
  const vf px = ax * gx - axz * J[0][2], py = ay * gy - ayz * J[1][2];
  const vf pz = S(kDepth) - axz * (o.x * gx + J[0][0]) - ayz * (o.y * gy + J[1][1]) +
                2.f * o.rz * (axz * o.x * J[0][2] + ayz * o.y * J[1][2]);
  for (int k = 0; k < 3; k++) put(kGradMean + k, V[k] * px + V[4 + k] * py + V[8 + k] * pz);
}

}  // namespace

void project_backward(const FrameView& f, int chunk) {
  const int begin = chunk * f.chunk, end = imin(begin + f.chunk, f.n);
  Columns<kInputs> in;
  Columns<kSums> sums;
  Columns<kGradients> out;
  for (int first = begin; first < end; first += kBlock) {
    const int count = imin(kBlock, end - first);
    read_inputs(f, first, count, in);
    for (int i = 0; i < kBlock; i++) {
      float total[kSums] = {};
      if (i < count && f.splats[first + i].visible()) {
        const Splat& s = f.splats[first + i];
        const float* slot = f.slots + (int64_t)s.first_slot * kSlot;
        for (int t = s.tiles(); t > 0; t--, slot += kSlot)
          for (int k = 0; k < kSums; k++) total[k] += slot[k];
      }
      for (int k = 0; k < kSums; k++) sums.v[k][i] = total[k];
    }
    for (int at = 0; at < kBlock; at += kLanes) project_lanes_backward(f.camera, in, sums, at, out);
    for (int i = 0; i < count; i++)
      if (!f.splats[first + i].visible())
        for (int k = 0; k < kGradients; k++) out.v[k][i] = 0.f;
    write_rows<3>(f.grad_means, first, count, out.v + kGradMean);
    write_rows<4>(f.grad_quats, first, count, out.v + kGradQuat);
    write_rows<3>(f.grad_scales, first, count, out.v + kGradScale);
    write_rows<1>(f.grad_opacities, first, count, out.v + kGradOpacity);
    write_rows<3>(f.grad_colors, first, count, out.v + kGradColor);
  }
}

}  // namespace VISAVIS_NAMESPACE
}  // namespace visavis
