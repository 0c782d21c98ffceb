// c[m][n] = sum_k a[m][k] * b[n][k] in int8 on tensor cores. One warp a tile of 16 x 8; a is brought to shared memory by
// cp.async and read by ldmatrix, two stages. m, n are multiples of 16 and 8, k of 32.
extern "C" __global__ void __launch_bounds__(32)
gemm_s8(int* __restrict__ c, const signed char* __restrict__ a, const signed char* __restrict__ b, int n, int k) {
  __shared__ __align__(16) signed char tile[2][16 * 32];
  const int lane = threadIdx.x, m0 = blockIdx.y * 16, n0 = blockIdx.x * 8, g = lane >> 2, t = lane & 3;
  int acc[4] = {0, 0, 0, 0};
  const int row = lane >> 1, half = lane & 1;
  const unsigned base = (unsigned)__cvta_generic_to_shared(&tile[0][0]);
  const unsigned put = base + row * 32 + half * 16, get = base + (lane & 15) * 32 + (lane >> 4) * 16;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(put), "l"(a + (size_t)(m0 + row) * k + half * 16));
  asm volatile("cp.async.commit_group;");
  for (int k0 = 0, stage = 0; k0 < k; k0 += 32, stage ^= 1) {
    if (k0 + 32 < k)
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(put + (stage ^ 1) * 512),
                   "l"(a + (size_t)(m0 + row) * k + k0 + 32 + half * 16));
    asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncwarp();
    unsigned f[4];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3]) : "r"(get + stage * 512));
    const signed char* col = b + (size_t)(n0 + g) * k + k0 + t * 4;
    const unsigned b0 = *(const unsigned*)col, b1 = *(const unsigned*)(col + 16);
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
                 : "r"(f[0]), "r"(f[1]), "r"(f[2]), "r"(f[3]), "r"(b0), "r"(b1));
    __syncwarp();
  }
  int* out = c + (size_t)(m0 + g) * n + n0 + t * 2;
  out[0] = acc[0];
  out[1] = acc[1];
  out[8 * n] = acc[2];
  out[8 * n + 1] = acc[3];
}
