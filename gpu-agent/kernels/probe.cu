// How fast a card is at what products are built from: measured at start, since mining cards have some instructions at a
// fraction of the usual rate.
//
// probe_dp4a, probe_dp2a, probe_mad
//   operation: dots of four products of signed bytes, by each instruction, as product.cu has them.
// probe_scale
//   operation: what a product does with the sum of a block: a conversion, two products and a sum, in floats.
//   launch of all: grid (any), block (256); out [threads]: what each thread found, so that nothing is left out.
//   A thread does WORK_OF_A_ROUND of them a round, in CHAINS chains side by side: as many as hide an instruction's latency.
//   CPU twin: none; what they find means nothing, and gpu-agent/src/backend/cuda/probe.rs times them.

#include "weights.cuh"

#define CHAINS 8
#define WORK_OF_A_ROUND 32

template <int BY>
__device__ __forceinline__ void probe_dots(int rounds, int* out) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    int sums[CHAINS];
    u32 activations[CHAINS];
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) {
        sums[i] = thread * (i + 1);
        activations[i] = thread + (0x01020304u << i);
    }
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
        // A weight is another one each time: the next chain's sum.
#pragma unroll
        for (int i = 0; i < WORK_OF_A_ROUND; ++i)
            sums[i % CHAINS] = dot_by<BY>(sums[(i + 1) % CHAINS], activations[i % CHAINS], sums[i % CHAINS]);
    }
    int all = 0;
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) all ^= sums[i];
    out[thread] = all;
}

#define PROBE_DOTS(NAME, BY)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) probe_##NAME(int rounds, int* out) { probe_dots<BY>(rounds, out); }

PROBE_DOTS(dp4a, 4)
PROBE_DOTS(dp2a, 2)
PROBE_DOTS(mad, 1)

extern "C" __global__ void __launch_bounds__(256) probe_scale(int rounds, int* out) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    float sums[CHAINS], scales[CHAINS];
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) {
        sums[i] = (float)(thread + i);
        scales[i] = (float)(thread - i);
    }
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int i = 0; i < WORK_OF_A_ROUND; ++i) {
            const float dot = (float)__float_as_int(sums[(i + 2) % CHAINS]);
            sums[i % CHAINS] = sums[i % CHAINS] + (scales[i % CHAINS] * sums[(i + 1) % CHAINS]) * dot;
        }
    }
    int all = 0;
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) all ^= __float_as_int(sums[i]);
    out[thread] = all;
}
