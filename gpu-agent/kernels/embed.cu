// embed_<type>
//   operation: out[r] = (row tokens[r] of the table) * factor.
//   shapes: table [vocabulary, 32 * blocks] as weights.cuh lays it; tokens [rows]; out [rows, width], width <= 32 * blocks.
//   launch: grid (rows), block (128). tokens are below the table's rows: the batch is checked before it is staged.
//   CPU twin: the decoded row, docs/arithmetic.md, section 2. One row is read by pieces of 4 to 16 bytes: it is a
//   thousandth of what a step reads.

#include "weights.cuh"

// The integer of one column of a block.
template <class F>
__device__ __forceinline__ int step_of(const Matrix& table, u64 cell, int row, int column) {
    const int j = column % 16 / 4;
    u32 first[F::DOTS], second[F::DOTS];
    F::words(F::load_piece(table, cell, row, j), j, first, second);
    int value = 0;
#pragma unroll
    for (int d = 0; d < F::DOTS; ++d) {
        const u32 word = column < 16 ? first[d] : second[d];
        value = value * 256 + (int)(signed char)(word >> (8 * (column % 4)) & 0xff);
    }
    return value >> F::BACK;
}

template <class F>
__device__ __forceinline__ void embed(const Matrix& table, const u32* tokens, int width, float factor, float* out) {
    const u32 token = tokens[blockIdx.x];
    const int group = token / WARP, row = token % WARP;
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        const int block = column / WARP;
        const u64 cell = (u64)group * table.blocks + block;
        const auto kept = F::segment(table, group, block / 8, row);
        const Affine affine = F::affine(table, kept, cell, block % 8, row);
        int steps = step_of<F>(table, cell, row, column % WARP);
        if constexpr (F::HALVES) {
            const int2 halves = F::scales(kept, block % 8);
            steps *= column % WARP < 16 ? halves.x : halves.y;
        }
        float value = affine.scale * (float)steps;
        if (F::MINIMUM) value = value + affine.minimum;
        out[(u64)blockIdx.x * width + column] = value * factor;
    }
}

#define EMBED(TYPE)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128)                                                               \
        embed_##TYPE(const u8* weights, int vocabulary, int blocks, const u32* tokens, int width, float factor,     \
                     float* out) {                                                                                  \
        embed<TYPE>({weights, vocabulary, blocks}, tokens, width, factor, out);                                     \
    }

EMBED(Q4_0)
EMBED(Q4_1)
EMBED(Q5_0)
EMBED(Q5_1)
EMBED(Q8_0)
EMBED(Q4_K)
EMBED(Q5_K)
EMBED(Q6_K)
EMBED(FIXED)
