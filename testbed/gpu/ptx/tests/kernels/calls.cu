// Functions that stay functions, a table of constants, a module-scope variable, local arrays and a switch.
__constant__ float table[4] = {1.0f, 2.5f, -3.0f, 0.125f};
__device__ unsigned int visits;

__device__ __noinline__ int factorial(int n) { return n <= 1 ? 1 : n * factorial(n - 1); }

__device__ __noinline__ float pick(int which, float x, double y) {
  switch (which) {
    case 0: return x + table[0];
    case 1: return x * table[1];
    case 2: return x - (float)y;
    case 3: return sqrtf(x) * table[3];
    case 4: return x / 3.0f;
    case 5: return (float)(y / 7.0);
    default: return table[which & 3];
  }
}

extern "C" __global__ void calls(float* out, int* local_sums, const float* in, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int kept[16];
  for (int j = 0; j < 16; ++j) kept[(j * 7 + i) & 15] = j * i;
  int sum = 0;
  for (int j = 0; j < 16; ++j) sum += kept[(j + in[i] > 1.0f ? j : 15 - j)] * (j + 1);
  local_sums[i] = sum + factorial(i & 7);
  out[i] = pick(i & 7, in[i], (double)i);
  atomicAdd(&visits, 1u);
}
