// Blendshapes, linear blend skinning and the head's pose of a batch of frames, and back. Frames are grid y.
#include "device.h"

constexpr int kJoints = 4;
constexpr int kPoseSums = 12 + 12 * kJoints;  // gradients of rotation, translation and the joints' moves
constexpr int kPoseRow = 64;                  // floats per frame: kPoseSums, padded

// moves (frames, 4, 12): per joint the linear part minus 1, row by row, then the offset; rotation (frames, 3, 3).
// blended, local, vertices (frames, v, 3): after the blendshapes, after skinning, in the world.
extern "C" __global__ void __launch_bounds__(128)
    mesh_vertices(const float* neutral, const float* basis, const float* skin_weights, const float* expression,
                  const float* moves, const float* rotation, const float* translation, int v, int m, float* blended,
                  float* local, float* vertices) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  if (i >= v) return;
  const long long to = 3 * (static_cast<long long>(frame) * v + i);
  float x[3], p[3];
#pragma unroll
  for (int c = 0; c < 3; c++) x[c] = neutral[3 * i + c];
  for (int e = 0; e < m; e++) {
    const float weight = expression[frame * m + e];
    const float* shape = basis + 3 * (static_cast<long long>(e) * v + i);
#pragma unroll
    for (int c = 0; c < 3; c++) x[c] = fmaf(weight, shape[c], x[c]);
  }
  float move[12] = {};
  for (int j = 0; j < kJoints; j++) {
    const float weight = skin_weights[kJoints * i + j];
#pragma unroll
    for (int c = 0; c < 12; c++) move[c] = fmaf(weight, moves[(frame * kJoints + j) * 12 + c], move[c]);
  }
#pragma unroll
  for (int c = 0; c < 3; c++)
    p[c] = x[c] + move[3 * c] * x[0] + move[3 * c + 1] * x[1] + move[3 * c + 2] * x[2] + move[9 + c];
  const float* R = rotation + 9 * frame;
#pragma unroll
  for (int c = 0; c < 3; c++) {
    blended[to + c] = x[c], local[to + c] = p[c];
    vertices[to + c] = R[3 * c] * p[0] + R[3 * c + 1] * p[1] + R[3 * c + 2] * p[2] + translation[3 * frame + c];
  }
}

// grad_blended (frames, v, 3), written; pose_sums (frames, 64), added to: rotation (9), translation (3), moves (4, 12).
extern "C" __global__ void __launch_bounds__(128)
    mesh_vertices_backward(const float* skin_weights, const float* moves, const float* rotation, const float* blended,
                           const float* local, const float* grad_vertices, int v, float* grad_blended,
                           float* pose_sums) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  const bool inside = i < v;
  const long long at = inside ? 3 * (static_cast<long long>(frame) * v + i) : 0;
  const float* R = rotation + 9 * frame;
  float g[3], h[3], out[3], x[3], p[3], weights[kJoints];
#pragma unroll
  for (int c = 0; c < 3; c++) g[c] = inside ? grad_vertices[at + c] : 0.f, x[c] = blended[at + c], p[c] = local[at + c];
#pragma unroll
  for (int c = 0; c < 3; c++) h[c] = out[c] = R[c] * g[0] + R[3 + c] * g[1] + R[6 + c] * g[2];
#pragma unroll
  for (int j = 0; j < kJoints; j++) {
    weights[j] = inside ? skin_weights[kJoints * i + j] : 0.f;
    const float* move = moves + (frame * kJoints + j) * 12;
#pragma unroll
    for (int c = 0; c < 3; c++) out[c] += weights[j] * (move[c] * h[0] + move[3 + c] * h[1] + move[6 + c] * h[2]);
  }
  if (inside)
    for (int c = 0; c < 3; c++) grad_blended[at + c] = out[c];
#pragma unroll
  for (int start = 0; start < kPoseSums; start += 16) {
    float values[16];
#pragma unroll
    for (int l = 0; l < 16; l++) {
      const int k = start + l, c = (k - 12) % 12, j = k < 12 ? 0 : (k - 12) / 12;
      if (k < 9)
        values[l] = g[k / 3] * p[k % 3];
      else if (k < 12)
        values[l] = g[k - 9];
      else if (k >= kPoseSums)
        values[l] = 0.f;
      else
        values[l] = weights[j] * (c < 9 ? h[c / 3] * x[c % 3] : h[c - 9]);
    }
    const float sum = warp_sums(values);
    const int lane = lane_index();
    if (lane < 16 && start + lane < kPoseSums) atomicAdd(pose_sums + frame * kPoseRow + start + lane, sum);
  }
}

// grad_expression (frames, m), written: one block per blendshape (grid x).
extern "C" __global__ void __launch_bounds__(128)
    mesh_expression_backward(const float* basis, const float* grad_blended, int v, int m, float* grad_expression) {
  __shared__ float partials[4];
  const float* shape = basis + 3 * static_cast<long long>(blockIdx.x) * v;
  const float* grad = grad_blended + 3 * static_cast<long long>(blockIdx.y) * v;
  float sum = 0.f;
  for (int i = threadIdx.x; i < 3 * v; i += blockDim.x) sum = fmaf(shape[i], grad[i], sum);
  sum = warp_sum(sum);
  if (lane_index() == 0) partials[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0)
    grad_expression[blockIdx.y * m + blockIdx.x] = partials[0] + partials[1] + partials[2] + partials[3];
}
