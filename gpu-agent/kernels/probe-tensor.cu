// How fast a card's integer tensor cores are.
//
// probe_tensor
//   operation: products of 16 x 32 by 32 x 8 signed bytes, as tensor.cu has them: 4,096 products each.
//   launch: grid (any), block (256); out [threads]. A warp does MULTIPLIES_OF_A_ROUND a round, in CHAINS chains.
//   CPU twin: none, as in probe.cu.

#include "mma.cuh"

#define CHAINS 8
#define MULTIPLIES_OF_A_ROUND 16

extern "C" __global__ void __launch_bounds__(256) probe_tensor(int rounds, int* out) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    int sums[CHAINS][4];
#pragma unroll
    for (int i = 0; i < CHAINS * 4; ++i) sums[i / 4][i % 4] = i;
    const u32 word = thread * 0x01030507u;
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int i = 0; i < MULTIPLIES_OF_A_ROUND; ++i)
            multiply(sums[i % CHAINS], word, word ^ 1, word ^ 2, word ^ 3, word ^ 4, word ^ 5);
    }
    int all = 0;
#pragma unroll
    for (int i = 0; i < CHAINS * 4; ++i) all ^= sums[i / 4][i % 4];
    out[thread] = all;
}
