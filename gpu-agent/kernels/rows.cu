// Operations on single rows between products.
//
// norm_quantise
//   operation: y = weight ? x / sqrt(mean(x^2) + epsilon) * weight : x; stored quantised, and as floats where `out` is given.
//     A row with a magnitude of at least `limit` is noted in faults.
//   shapes: x [.., width], of which `rows` names those that are read, or the first ones; out [rows, width]; quants
//     [rows, 32 * groups], groups = ceil(width / 32), padded with zeros; faults: one flag for each row of x.
//   launch: grid (rows), block (128 to 1024): as many warps as there are groups, since each quantises one after another.
//   CPU twin: arithmetic::rms_norm and arithmetic::quantise.
// norm_add
//   operation: sum[r] = sum[r] + norm(x[r]), the norm and the limit as above.
//   shapes: x, sum [rows, width]. launch: grid (rows), block (128). CPU twin: arithmetic::rms_norm.
// gate_quantise
//   operation: quantised(activation(gate) * up). shapes: gate, up [rows, stride], of which `width` columns count.
//   launch: grid (ceil(groups / 4), rows), block (32, 4). CPU twin: arithmetic::silu or gelu, and arithmetic::quantise.

#include "activation.cuh"

// Columns of a partial sum whose loads are in flight before the first is added.
#define SQUARES_AHEAD 8

// The sum of squares of a row, by the first 128 threads of a block: thread = partial sum; all threads get the sum.
__device__ __forceinline__ float sum_of_squares(const float* x, int width) {
    __shared__ float partial[STRIDES];
    if (threadIdx.x < STRIDES) {
        float sum = 0.0f;
#pragma unroll 1
        for (int start = threadIdx.x; start < width; start += SQUARES_AHEAD * STRIDES) {
            // Beyond the row a square is +0, which changes no sum of squares.
            float values[SQUARES_AHEAD];
#pragma unroll
            for (int i = 0; i < SQUARES_AHEAD; ++i) {
                const int column = start + i * STRIDES;
                values[i] = column < width ? x[column] : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < SQUARES_AHEAD; ++i) sum = sum + values[i] * values[i];
        }
        partial[threadIdx.x] = sum;
    }
    __syncthreads();
    const int lane = threadIdx.x % WARP;
    // Every warp adds the same numbers in the same order, which is cheaper than to hand the result round.
    return warp_tree((partial[lane] + partial[lane + 64]) + (partial[lane + 32] + partial[lane + 96]));
}

extern "C" __global__ void __launch_bounds__(1024)
    norm_quantise(const float* x, const u32* rows, const float* weight, float epsilon, float limit, int width,
                  float* out, ActivationsOut quantised, u32* faults) {
    const int row = blockIdx.x, from = rows ? rows[row] : row, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int groups = (width + WARP - 1) / WARP;
    x += (u64)from * width;
    const float scale = weight ? norm_scale(sum_of_squares(x, width), width, epsilon) : 0.0f;
#pragma unroll 1
    for (int group = warp; group < groups; group += blockDim.x / WARP) {
        const int column = group * WARP + lane;
        float value = column < width ? x[column] : 0.0f;
        note_beyond(value, limit, faults + from);
        if (weight && column < width) value = (value * scale) * weight[column];
        store_group(quantised, (u64)row * groups + group, lane, value, faults + from);
        if (out && column < width) out[(u64)row * width + column] = value;
    }
}

extern "C" __global__ void __launch_bounds__(128)
    norm_add(const float* x, const float* weight, float epsilon, float limit, int width, float* sum, u32* faults) {
    const u64 row = (u64)blockIdx.x * width;
    const float scale = norm_scale(sum_of_squares(x + row, width), width, epsilon);
    for (int column = threadIdx.x; column < width; column += STRIDES) {
        note_beyond(x[row + column], limit, faults + blockIdx.x);
        sum[row + column] = sum[row + column] + (x[row + column] * scale) * weight[column];
    }
}

extern "C" __global__ void __launch_bounds__(128)
    gate_quantise(const float* gate, const float* up, int width, int stride, int activation,
                  ActivationsOut quantised, u32* faults) {
    const int group = blockIdx.x * blockDim.y + threadIdx.y, row = blockIdx.y, lane = threadIdx.x;
    const int groups = (width + WARP - 1) / WARP;
    if (group >= groups) return;
    const int column = group * WARP + lane;
    const u64 at = (u64)row * stride + column;
    const float value = column < width ? gated(activation, gate[at], up[at]) : 0.0f;
    store_group(quantised, (u64)row * groups + group, lane, value, faults + row);
}
