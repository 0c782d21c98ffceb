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

#include "tile.cuh"

#define TILE_ROWS 64
#define TILE_GROUPS 4
#define STAGED_STRIDE 68  // words from row to row: 4 mod 32, so that the lanes of a fragment have 32 banks

struct Tile {
    u32 quants[TILE_ROWS][STAGED_STRIDE];
    float scales[SEGMENT_BLOCKS][STAGED_STRIDE];  // of 64 rows; the lanes that stage a row have banks of their own
    float totals[SEGMENT_BLOCKS][STAGED_STRIDE];
};

// Whether registers suffice to have more loads in flight: scales that are kept for a segment take them.
constexpr bool AHEAD = Format::LOADED;

// Copies a segment's 64 words of 16 rows at a time, or of all 64: 16 threads have a row.
__device__ __forceinline__ void stage_words(u32 (*to)[STAGED_STRIDE], const u32* from, int first_row, int rows, int blocks,
                                            int segment, int count) {
    constexpr int STEP = 256 / 16, AT_ONCE = AHEAD ? TILE_ROWS / STEP : 1;
    const int thread = threadIdx.y * WARP + threadIdx.x, quad = thread % 16;
    if (quad >= 2 * count) return;
#pragma unroll 1
    for (int start = thread / 16; start < TILE_ROWS; start += AT_ONCE * STEP) {
        int4 words[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            const u64 at = (u64)min(first_row + start + i * STEP, rows - 1) * blocks + segment * SEGMENT_BLOCKS;
            words[i] = ((const int4*)(from + at * 8))[quad];
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) *(int4*)&to[start + i * STEP][4 * quad] = words[i];
    }
}

// Copies a segment of 64 rows.
__device__ __forceinline__ void stage_tile(Tile& tile, u32 (*residuals)[STAGED_STRIDE], bool fine, const Activations& from,
                                           int first_row, int rows, int blocks, int segment, int count) {
    stage_words(tile.quants, from.quants, first_row, rows, blocks, segment, count);
    if (fine) stage_words(residuals, from.residuals, first_row, rows, blocks, segment, count);
    const int thread = threadIdx.y * WARP + threadIdx.x, block = thread % SEGMENT_BLOCKS;
    if (block >= count) return;
#pragma unroll 1
    for (int r = thread / SEGMENT_BLOCKS; r < TILE_ROWS; r += 256 / SEGMENT_BLOCKS) {
        const u64 at = (u64)min(first_row + r, rows - 1) * blocks + segment * SEGMENT_BLOCKS + block;
        tile.scales[block][r] = from.scales[at];
        if (Format::MINIMUM) tile.totals[block][r] = (fine ? from.fine_totals : from.totals)[at];
    }
}

// One column's part of a block.
struct Column {
    Format::Piece piece;
    Affine affine;

    __device__ __forceinline__ void load(const Matrix& m, const Format::Segment& kept, u64 cell, int index, int column,
                                         int t) {
        piece = Format::load_piece(m, cell, column, t);
        affine = Format::affine(m, kept, cell, index, column);
    }
};

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
            // 32 bits number the blocks of 2^42 weights, and 64 would take registers that spill.
            const u32 cells = group * blocks + segment * SEGMENT_BLOCKS;
            Column now[2], next[2];
            if constexpr (AHEAD) {
                now[0].load(m, upper_kept, cells, 0, upper, t);
                now[1].load(m, lower_kept, cells, 0, lower, t);
            }
#pragma unroll 1
            for (int index = 0; index < count; ++index) {
                if constexpr (AHEAD) {
                    if (index + 1 < count) {
                        next[0].load(m, upper_kept, cells + index + 1, index + 1, upper, t);
                        next[1].load(m, lower_kept, cells + index + 1, index + 1, lower, t);
                    }
                } else {
                    now[0].load(m, upper_kept, cells + index, index, upper, t);
                    now[1].load(m, lower_kept, cells + index, index, lower, t);
                }
                Words upper_words, lower_words;
                Format::words(now[0].piece, t, upper_words.first, upper_words.second);
                Format::words(now[1].piece, t, lower_words.first, lower_words.second);
                const Affine upper_affine = now[0].affine, lower_affine = now[1].affine;
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
                        const Affine& affine = i < 2 ? upper_affine : lower_affine;
                        float& sum = sums[eight][i];
                        sum = sum + (affine.scale * (i % 2 ? scales.y : scales.x)) * p[i];
                        if (Format::MINIMUM) sum = sum + affine.minimum * (i % 2 ? totals.y : totals.x);
                    }
                }
                if constexpr (AHEAD) {
                    now[0] = next[0];
                    now[1] = next[1];
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
