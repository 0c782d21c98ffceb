// y[row] = sum over blocks of 32: w_scale * x_scale * dot(int8, int8). One warp a row; weights lie in blocks of 32 bytes.
__device__ int dp4a(int a, int b, int c) {
  int d;
  asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

extern "C" __global__ void __launch_bounds__(128)
gemv_q8(float* __restrict__ y, const int4* __restrict__ wq, const float* __restrict__ wd, const int4* __restrict__ xq,
        const float2* __restrict__ xd, int rows, int blocks) {
  const int row = blockIdx.x * 4 + (threadIdx.x >> 5), lane = threadIdx.x & 31;
  if (row >= rows) return;
  const int4* w = wq + (size_t)row * blocks * 2;
  float sum = 0.0f;
#pragma unroll 4
  for (int b = lane; b < blocks; b += 32) {
    const int4 w0 = w[2 * b], w1 = w[2 * b + 1], x0 = xq[2 * b], x1 = xq[2 * b + 1];
    int dot = dp4a(w0.x, x0.x, 0);
    dot = dp4a(w0.y, x0.y, dot);
    dot = dp4a(w0.z, x0.z, dot);
    dot = dp4a(w0.w, x0.w, dot);
    dot = dp4a(w1.x, x1.x, dot);
    dot = dp4a(w1.y, x1.y, dot);
    dot = dp4a(w1.z, x1.z, dot);
    dot = dp4a(w1.w, x1.w, dot);
    sum += wd[(size_t)row * blocks + b] * xd[b].x * (float)dot;
  }
  for (int step = 16; step > 0; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane == 0) y[row] = sum;
}
