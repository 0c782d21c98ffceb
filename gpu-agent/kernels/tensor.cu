// Products for many rows on integer tensor cores; the same bits as product.cu. Compiled once for each weight type (FORMAT).
//
// tensor
//   operation: out[r] = matrix * x[r] (+ bias) (+ residual[r]) for each of up to three matrices.
//   shapes: weights [columns, 32 * blocks] as weights.cuh lays them; x [rows, 32 * blocks]; out [rows, columns].
//   launch: grid (ceil(rows / 64), ceil(groups / 4) of each matrix, added up), block (32, 8), dynamic shared memory 64 * 68
//     words where any of the matrices is fine.
//   A block has 4 groups of 32 columns and 64 rows, a warp one group and 32 rows. A block of 32 inputs is one mma for 16
//   columns and 8 rows, exact in integers; then its four sums a lane are scaled and added as product.cu does.
// CPU twin: arithmetic::product.
//
// Fragments (PTX ISA, mma.m16n8k32 and mma.m8n8k16): lane = 4 * g + t holds inputs 4t to 4t + 3 and 16 + 4t to 16 + 4t + 3
// of columns g and g + 8, which are word t of a block as it lies in memory, and of row g; and the sums of columns g and
// g + 8 with rows 2t and 2t + 1.

#include "mma.cuh"
#include "product.cuh"

typedef FORMAT Format;

#define TILE_ROWS 64
#define TILE_GROUPS 4
#define STAGED_STRIDE 68  // words from row to row: 4 mod 32, so that the lanes of a fragment have 32 banks

struct Tile {
    u32 quants[TILE_ROWS][STAGED_STRIDE];
    float scales[SEGMENT_BLOCKS][STAGED_STRIDE];  // of 64 rows; the lanes that stage a row have banks of their own
    float totals[SEGMENT_BLOCKS][STAGED_STRIDE];
};

// The words of one column that a lane's fragments hold.
struct Words {
    u32 first[Format::DOTS], second[Format::DOTS];
};

// Integer sums of 16 columns and 8 rows over one block, as floats.
__device__ __forceinline__ void block_sums(const Words& upper, const Words& lower, u32 b0, u32 b1, int2 upper_halves,
                                           int2 lower_halves, float (&out)[4]) {
    int sums[4];
    if constexpr (Format::HALVES) {
        // Each half of the block has a scale of its own.
        int first[4] = {0, 0, 0, 0}, second[4] = {0, 0, 0, 0};
        multiply(first, upper.first[0], lower.first[0], 0, 0, b0, 0);
        multiply(second, 0, 0, upper.second[0], lower.second[0], 0, b1);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int2 halves = i < 2 ? upper_halves : lower_halves;
            sums[i] = halves.x * first[i] + halves.y * second[i];
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i] = 0;
#pragma unroll
        for (int d = 0; d < Format::DOTS; ++d) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[i] *= 256;
            multiply(sums, upper.first[d], lower.first[d], upper.second[d], lower.second[d], b0, b1);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = (float)(sums[i] >> Format::BACK);
}

__device__ __forceinline__ void stage_tile(Tile& tile, u32 (*residuals)[STAGED_STRIDE], bool fine, const Activations& from,
                                           int first_row, int rows, int blocks, int segment, int count) {
    const int lane = threadIdx.x;
#pragma unroll 1
    for (int r = threadIdx.y; r < TILE_ROWS; r += blockDim.y) {
        const u64 at = (u64)min(first_row + r, rows - 1) * blocks + segment * SEGMENT_BLOCKS;
#pragma unroll 1
        for (int word = lane; word < count * 8; word += WARP) {
            tile.quants[r][word] = from.quants[at * 8 + word];
            if (fine) residuals[r][word] = from.residuals[at * 8 + word];
        }
        if (lane < count) {
            tile.scales[lane][r] = from.scales[at + lane];
            tile.totals[lane][r] = (fine ? from.fine_totals : from.totals)[at + lane];
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    tensor(Target a, Target b, Target c, int blocks, Activations x, int rows) {
    __shared__ Tile tile;
    const Part part(a, b, blockIdx.y, TILE_GROUPS);
    const Target target = part.of(a, b, c);
    u32(*const residuals)[STAGED_STRIDE] = (u32(*)[STAGED_STRIDE])dynamic_shared;
    const bool fine = target.fine;
    const Matrix m = {target.weights, target.columns, blocks};
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    const int group = part.index * TILE_GROUPS + threadIdx.y % TILE_GROUPS;
    const bool present = group < target.groups();
    const int first_row = blockIdx.x * TILE_ROWS, own_row = threadIdx.y / TILE_GROUPS * 32;

    float total[2][4][4];
#pragma unroll
    for (int i = 0; i < 32; ++i) total[i / 16][i / 4 % 4][i % 4] = 0.0f;
#pragma unroll 1
    for (int segment = 0; segment < m.segments(); ++segment) {
        const int count = min(SEGMENT_BLOCKS, blocks - segment * SEGMENT_BLOCKS);
        __syncthreads();
        stage_tile(tile, residuals, fine, x, first_row, rows, blocks, segment, count);
        __syncthreads();
        if (!present) continue;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int upper = half * 16 + g, lower = upper + 8;
            const Format::Segment upper_kept = Format::segment(m, group, segment, upper);
            const Format::Segment lower_kept = Format::segment(m, group, segment, lower);
            float sums[4][4];
#pragma unroll
            for (int i = 0; i < 16; ++i) sums[i / 4][i % 4] = 0.0f;
#pragma unroll 1
            for (int index = 0; index < count; ++index) {
                // 32 bits number the blocks of 2^42 weights, and 64 would take registers that spill.
                const u64 cell = (u32)(group * blocks + segment * SEGMENT_BLOCKS + index);
                Words upper_words, lower_words;
                Format::words(Format::load_piece(m, cell, upper, t), t, upper_words.first, upper_words.second);
                Format::words(Format::load_piece(m, cell, lower, t), t, lower_words.first, lower_words.second);
                const Affine upper_affine = Format::affine(m, upper_kept, cell, index, upper);
                const Affine lower_affine = Format::affine(m, lower_kept, cell, index, lower);
                const int2 upper_halves = half_scales<Format>(upper_kept, index);
                const int2 lower_halves = half_scales<Format>(lower_kept, index);
#pragma unroll
                for (int eight = 0; eight < 4; ++eight) {
                    const int row = own_row + eight * 8;
                    const u32* const words = &tile.quants[row + g][index * 8 + t];
                    float p[4];
                    block_sums(upper_words, lower_words, words[0], words[4], upper_halves, lower_halves, p);
                    if (fine) {
                        const u32* const more = &residuals[row + g][index * 8 + t];
                        float rest[4];
                        block_sums(upper_words, lower_words, more[0], more[4], upper_halves, lower_halves, rest);
#pragma unroll
                        for (int i = 0; i < 4; ++i) p[i] = p[i] + rest[i] * RESIDUAL_STEP;
                    }
                    const float2 scales = *(const float2*)&tile.scales[index][row + 2 * t];
                    const float2 totals = *(const float2*)&tile.totals[index][row + 2 * t];
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const Affine affine = i < 2 ? upper_affine : lower_affine;
                        float& sum = sums[eight][i];
                        sum = sum + (affine.scale * (i % 2 ? scales.y : scales.x)) * p[i];
                        if (Format::MINIMUM) sum = sum + affine.minimum * (i % 2 ? totals.y : totals.x);
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < 16; ++i) total[half][i / 4][i % 4] = total[half][i / 4][i % 4] + sums[i / 4][i % 4];
        }
    }
    if (!present) return;
    const Target stored = part.of(a, b, c);
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int eight = 0; eight < 4; ++eight)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = first_row + own_row + eight * 8 + 2 * t + i % 2;
                const int column = group * WARP + half * 16 + g + i / 2 * 8;
                if (row < rows) stored.store(row, column, total[half][eight][i]);
            }
}
