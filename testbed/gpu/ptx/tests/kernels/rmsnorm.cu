// RMSNorm: y[row][i] = x[row][i] / sqrt(mean(x[row]^2) + eps) * w[i]. One block of 128 threads a row.
__device__ float block_sum(float v, float* part) {
  for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = v;
  __syncthreads();
  float total = 0.0f;
  for (int w = 0; w < (int)(blockDim.x >> 5); ++w) total += part[w];
  return total;
}

extern "C" __global__ void __launch_bounds__(128)
rmsnorm(float* __restrict__ y, const float* __restrict__ x, const float* __restrict__ w, int n, float eps) {
  __shared__ float part[4];
  const float* row = x + (size_t)blockIdx.x * n;
  float squares = 0.0f;
  for (int i = threadIdx.x; i < n; i += blockDim.x) squares += row[i] * row[i];
  const float scale = 1.0f / sqrtf(block_sum(squares, part) / n + eps);
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[(size_t)blockIdx.x * n + i] = row[i] * scale * w[i];
}

// The same without the barrier between writing and reading the partial sums: a race.
extern "C" __global__ void rmsnorm_without_barrier(float* y, const float* x, int n) {
  __shared__ float part[4];
  float v = 0.0f;
  for (int i = threadIdx.x; i < n; i += blockDim.x) v += x[i] * x[i];
  for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = v;
  float total = 0.0f;
  for (int w = 0; w < (int)(blockDim.x >> 5); ++w) total += part[w];
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i] * total;
}
