// Quantises rows to int8 in blocks of 32: q = round(x / d), d = max|x| / 127. One warp a block of 32, one lane an element.
extern "C" __global__ void __launch_bounds__(256)
quantise_q8(signed char* __restrict__ q, float2* __restrict__ d, const float* __restrict__ x, int blocks) {
  const int block = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
  if (block >= blocks) return;
  const float v = x[block * 32 + lane];
  float most = fabsf(v), sum = v;
  for (int step = 16; step > 0; step >>= 1) {
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  }
  const float scale = most / 127.0f;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  q[block * 32 + lane] = (signed char)rintf(v * inverse);
  if (lane == 0) d[block] = make_float2(scale, sum);
}
