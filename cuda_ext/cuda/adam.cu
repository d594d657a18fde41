// Adam over many tensors. Grid (blocks per tensor, tensors).
//
// tensors (t, 5): addresses of values, gradients, first and second moments, then the number of values.
// rates (t, 7): the members of AdamRates in their order.
#include "device.h"
#include "maths/adam.h"

using visavis::maths::AdamRates;

constexpr int kTensorNumbers = 5, kRates = 7;
enum { kParam, kGrad, kFirst, kSecond, kCount };

__device__ __forceinline__ float* address(const long long* tensor, int which) {
  return reinterpret_cast<float*>(tensor[which]);
}

// bad: the lowest index of a tensor whose gradient holds a NaN or infinity; at first the number of tensors.
extern "C" __global__ void __launch_bounds__(256) adam_check(const long long* tensors, int* bad) {
  const long long* tensor = tensors + blockIdx.y * kTensorNumbers;
  const float* grad = address(tensor, kGrad);
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  bool fine = true;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < tensor[kCount]; i += step)
    fine = fine && grad[i] - grad[i] == 0.f;
  if (!fine) atomicMin(bad, static_cast<int>(blockIdx.y));
}

extern "C" __global__ void __launch_bounds__(256)
    adam(const long long* tensors, const float* rates, const int* bad) {
  if (*bad < static_cast<int>(gridDim.y)) return;  // nothing is changed then
  const long long* tensor = tensors + blockIdx.y * kTensorNumbers;
  const float* r = rates + blockIdx.y * kRates;
  const AdamRates<float> mine{r[0], r[1], r[2], r[3], r[4], r[5], r[6]};
  const float* grad = address(tensor, kGrad);
  float *param = address(tensor, kParam), *first = address(tensor, kFirst), *second = address(tensor, kSecond);
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < tensor[kCount]; i += step)
    visavis::maths::adam_update(mine, grad[i], param[i], first[i], second[i]);
}
