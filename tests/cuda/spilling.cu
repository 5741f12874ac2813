// Needs more registers than its launch bounds leave; never linked.
__global__ void __launch_bounds__(1024, 2) spilling_kernel(float* x) {
  constexpr int kCount = 48;
  float values[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = x[i * threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int round = 0; round < 8; ++round) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] *= values[(7 * i + round) % kCount];
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) x[i * threadIdx.x] = values[i];
}
