// Products of a quantised matrix with quantised activations, by integer dot products. Compiled once for each weight type
// (FORMAT) and integer instruction (DOT: 4 = dp4a, 2 = dp2a, 1 = multiply and add); all give equal bits. Modules of the
// slower instructions, which the cards that need them use alone, hold batches of 1 and 4 only.
//
// product_{1,2,4,8}
//   operation: for each row r of the activations and each of up to three matrices a, b, c: out[r] = matrix * x[r] (+ bias)
//     (+ residual[r]); or, where `activation` is not negative, one quantised result activation(a * x[r]) * (b * x[r]) of
//     two matrices of one shape: fused query, key and value, and fused gate and up.
//   shapes: weights [columns, 32 * blocks] as weights.cuh lays them; x [rows, 32 * blocks]; out [rows, columns].
//   launch: grid (ceil(rows / ROWS), groups of 32 columns of all matrices, of a alone where gated), block (32, warps), 1 to
//     8 warps: as many as the segments of 256 inputs while there are few rows, 1 where the rows alone fill the card;
//     dynamic shared memory as `product_bytes` in gpu-agent/src/backend/cuda/launch.rs has it.
// A warp takes every warps-th segment; the segments' sums are added in order.
// CPU twin: arithmetic::product.

#include "activation.cuh"
#include "product.cuh"

typedef FORMAT Format;

template <int ROWS>
struct Sums {
    Staged<ROWS>* staged;  // the warp's own
    float* partial;        // sums of segments, two turns of [warps, ROWS, 32]: one is written while the other is read
    float* total;          // sums of rows so far, [matrices, ROWS, 32]; each is touched by one thread alone

    __device__ __forceinline__ Sums() {
        Staged<ROWS>* const all = (Staged<ROWS>*)dynamic_shared;
        staged = all + threadIdx.y;
        partial = (float*)(all + blockDim.y);
        total = partial + 2 * blockDim.y * ROWS * WARP;
    }
};

// Leaves the sums of row `threadIdx.y`, `+ warps`, ... in total[which]. `turn` counts on from call to call.
template <int ROWS>
__device__ __forceinline__ void add_matrix(const Sums<ROWS>& to, const Matrix& m, int group, const Activations& x,
                                           int first_row, int rows, bool fine, int which, int& turn) {
    const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y;
    const int segments = m.segments();
#pragma unroll 1
    for (int start = 0; start < segments; start += warps, turn ^= 1) {
        float* const sums_of_turn = to.partial + turn * warps * ROWS * WARP;
        if (start + warp < segments) {
            __syncwarp();
            stage(*to.staged, x, first_row, rows, m.blocks, start + warp, lane, fine);
            __syncwarp();
            float sums[ROWS];
            add_segment<Format, ROWS>(m, group, start + warp, lane, *to.staged, fine, sums);
#pragma unroll
            for (int r = 0; r < ROWS; ++r) sums_of_turn[(warp * ROWS + r) * WARP + lane] = sums[r];
        }
        __syncthreads();
        const int present = min(warps, segments - start);
#pragma unroll 1
        for (int r = warp; r < ROWS; r += warps) {
            float* const kept = &to.total[(which * ROWS + r) * WARP + lane];
            float sum = start ? *kept : 0.0f;
#pragma unroll 1
            for (int s = 0; s < present; ++s) sum = sum + sums_of_turn[(s * ROWS + r) * WARP + lane];
            *kept = sum;
        }
    }
}

template <int ROWS>
__device__ __forceinline__ void product(const Target& a, const Target& b, const Target& c, int blocks,
                                        const Activations& x, int rows, int activation, const ActivationsOut& out,
                                        u32* faults) {
    const Sums<ROWS> sums;
    const bool is_gated = activation >= 0;
    const Part part(a, b, blockIdx.y, 1);
    const int group = part.index;
    const int first_row = blockIdx.x * ROWS, lane = threadIdx.x;
    int turn = 0;
#pragma unroll 1
    for (int which = 0; which < 1 + is_gated; ++which) {
        const Target target = which ? b : part.of(a, b, c);
        add_matrix<ROWS>(sums, {target.weights, target.columns, blocks}, group, x, first_row, rows, target.fine, which,
                         turn);
    }
    const Target target = part.of(a, b, c);
#pragma unroll 1
    for (int r = threadIdx.y; r < ROWS && first_row + r < rows; r += blockDim.y) {
        const float value = sums.total[r * WARP + lane];
        if (is_gated)
            store_group(out, (u64)(first_row + r) * gridDim.y + group, lane,
                        gated(activation, value, sums.total[(ROWS + r) * WARP + lane]), faults + first_row + r);
        else
            target.store(first_row + r, group * WARP + lane, value);
    }
}

#define PRODUCT(ROWS)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256, 2) product_##ROWS(                                                  \
        Target a, Target b, Target c, int blocks, Activations x, int rows, int activation, ActivationsOut out,         \
        u32* faults) {                                                                                                 \
        product<ROWS>(a, b, c, blocks, x, rows, activation, out, faults);                                              \
    }

PRODUCT(1)
PRODUCT(4)
#if DOT == 4
PRODUCT(2)
PRODUCT(8)
#endif
