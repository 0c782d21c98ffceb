// Products whose segments of 256 inputs are computed side by side by the warps of a block, and added in order.
//
// Unit is how a warp computes one segment of a group of 32 columns for some rows of activations:
//   ROWS     rows of activations
//   STRIDE   floats from row to row of a segment's sums in shared memory, at least 32
//   TURNS    segments that a warp computes before the block adds what there is
//   BUFFERS  2: the sums of the next turns are written while the last ones are read; 1: they wait
//   Shared   a warp's own shared memory
//   segment  computes one segment, and writes `[ROWS, STRIDE]` sums, column = lane
// Launches: grid (ceil(rows / ROWS), groups of 32 columns of all matrices, of a alone where gated), block (32, warps); dynamic
// shared memory as `Split` in gpu-agent/src/backend/cuda/launch.rs has it.
#pragma once

#include "activation.cuh"
#include "product.cuh"

template <class Unit>
struct Sums {
    static constexpr int SEGMENT = Unit::ROWS * Unit::STRIDE;
    typename Unit::Shared* own;
    float* partial;  // sums of segments, [BUFFERS, TURNS * warps, ROWS, STRIDE]
    float* total;    // sums of rows so far, [matrices, ROWS, 32]; each is touched by one thread alone

    __device__ __forceinline__ Sums() {
        typename Unit::Shared* const all = (typename Unit::Shared*)dynamic_shared;
        own = all + threadIdx.y;
        partial = (float*)(all + blockDim.y);
        total = partial + Unit::BUFFERS * Unit::TURNS * blockDim.y * SEGMENT;
    }
};

// Leaves the sums of row `threadIdx.y`, `+ warps`, ... in total[which]. `turn` counts on from call to call.
template <class Unit>
__device__ __forceinline__ void add_matrix(const Sums<Unit>& to, const Matrix& m, int group, const Activations& x,
                                           int first_row, int rows, bool fine, int which, int& turn) {
    constexpr int SEGMENT = Sums<Unit>::SEGMENT;
    const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y;
    const int segments = m.segments();
#pragma unroll 1
    for (int start = 0; start < segments; start += Unit::TURNS * warps) {
        float* const sums_of_turn = to.partial + turn * Unit::TURNS * warps * SEGMENT;
        const int present = min(Unit::TURNS * warps, segments - start);
#pragma unroll 1
        for (int s = warp; s < present; s += warps)
            Unit::segment(*to.own, m, group, start + s, x, first_row, rows, fine, sums_of_turn + s * SEGMENT);
        __syncthreads();
#pragma unroll 1
        for (int r = warp; r < Unit::ROWS; r += warps) {
            float* const kept = &to.total[(which * Unit::ROWS + r) * WARP + lane];
            float sum = start ? *kept : 0.0f;
#pragma unroll 4
            for (int s = 0; s < present; ++s) sum = sum + sums_of_turn[s * SEGMENT + r * Unit::STRIDE + lane];
            *kept = sum;
        }
        if (Unit::BUFFERS == 2)
            turn ^= 1;
        else
            __syncthreads();
    }
}

// out[r] = matrix * x[r] (+ bias) (+ residual[r]) for each of up to three matrices; or, where `activation` is not negative, one
// quantised result activation(a * x[r]) * (b * x[r]) of two matrices of one shape.
template <class Unit>
__device__ __forceinline__ void product(const Target& a, const Target& b, const Target& c, int blocks,
                                        const Activations& x, int rows, int activation, const ActivationsOut& out,
                                        u32* faults) {
    const Sums<Unit> sums;
    const bool is_gated = activation >= 0;
    const Part part(a, b, blockIdx.y, 1);
    const int group = part.index;
    const int first_row = blockIdx.x * Unit::ROWS, lane = threadIdx.x;
    int turn = 0;
#pragma unroll 1
    for (int which = 0; which < 1 + is_gated; ++which) {
        const Target target = which ? b : part.of(a, b, c);
        add_matrix<Unit>(sums, {target.weights, target.columns, blocks}, group, x, first_row, rows, target.fine, which,
                         turn);
    }
    const Target target = part.of(a, b, c);
#pragma unroll 1
    for (int r = threadIdx.y; r < Unit::ROWS && first_row + r < rows; r += blockDim.y) {
        const float value = sums.total[r * WARP + lane];
        if (is_gated)
            store_group(out, (u64)(first_row + r) * gridDim.y + group, lane,
                        gated(activation, value, sums.total[(Unit::ROWS + r) * WARP + lane]), faults + first_row + r);
        else
            target.store(first_row + r, group * WARP + lane, value);
    }
}

// What every kernel of such products is given.
#define PRODUCT_PARAMETERS                                                                                             \
    Target a, Target b, Target c, int blocks, Activations x, int rows, int activation, ActivationsOut out, u32 *faults
