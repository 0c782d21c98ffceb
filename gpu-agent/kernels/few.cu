// Products for a few rows on integer tensor cores; the same bits as product.cu. Compiled once for each weight type (FORMAT).
//
// few_{8,16}
//   operation, shapes, launch: as product.cu has them, for 8 or 16 rows a block. Weights are read once for all
//     rows of a block, and the rows that there are not cost as much as those that there are.
//   A warp computes a segment of 256 inputs for a group of 32 columns; a block of 32 inputs is two mma for each 8 rows. Rows of
//   activations come by way of the cache, since all groups read them.
// CPU twin: arithmetic::product.

#include "segments.cuh"
#include "tile.cuh"

template <int TILES>
struct Few {
    static constexpr int ROWS = 8 * TILES;
    static constexpr int STRIDE = 36;  // 4 mod 32, so that the sums of a fragment have 32 banks
    static constexpr int TURNS = 1;
    static constexpr int BUFFERS = 1;
    struct Shared {
        float scales[SEGMENT_BLOCKS][ROWS + 4];  // the lanes that stage 8 blocks of 4 rows have banks of their own
        float totals[SEGMENT_BLOCKS][ROWS + 4];
    };

    static __device__ __forceinline__ void stage(Shared& own, const Activations& x, int first_row, int rows, int blocks,
                                                 int first, int count, bool fine) {
        const int lane = threadIdx.x, block = lane % SEGMENT_BLOCKS;
        __syncwarp();
#pragma unroll
        for (int i = 0; i < ROWS; i += WARP / SEGMENT_BLOCKS) {
            const int r = i + lane / SEGMENT_BLOCKS;
            if (block < count) {
                const u64 at = (u64)min(first_row + r, rows - 1) * blocks + first + block;
                own.scales[block][r] = x.scales[at];
                if (Format::MINIMUM) own.totals[block][r] = (fine ? x.fine_totals : x.totals)[at];
            }
        }
        __syncwarp();
    }

    static __device__ __forceinline__ void segment(Shared& own, const Matrix& m, int group, int segment,
                                                   const Activations& x, int first_row, int rows, bool fine,
                                                   float* out) {
        const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
        const int first = segment * SEGMENT_BLOCKS, count = min(SEGMENT_BLOCKS, m.blocks - first);
        Format::Segment kept[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) kept[q] = Format::segment(m, group, segment, q * 8 + g);
        u64 words_at[TILES];
        float sums[TILES][2][4];
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            words_at[tile] = ((u64)min(first_row + tile * 8 + g, rows - 1) * m.blocks + first) * 8 + t;
#pragma unroll
            for (int i = 0; i < 8; ++i) sums[tile][i / 4][i % 4] = 0.0f;
        }
        stage(own, x, first_row, rows, m.blocks, first, count, fine);
        // 32 bits number the blocks of 2^42 weights, and 64 would take registers that spill. Two scales a block take the registers
        // that a second block in flight would need.
        const u32 cells = group * m.blocks + first;
#pragma unroll(Format::HALVES ? 1 : 2)
        for (int index = 0; index < count; ++index) {
            Words words[4];
            Affine affine[4];
            int2 halves[4];
#pragma unroll
            for (int q = 0; q < 4; ++q) {
                const int column = q * 8 + g;
                Format::words(Format::load_piece(m, cells + index, column, t), t, words[q].first, words[q].second);
                affine[q] = Format::affine(m, kept[q], cells + index, index, column);
                halves[q] = half_scales<Format>(kept[q], index);
            }
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const u64 at = words_at[tile] + index * 8;
                const u32 b0 = x.quants[at], b1 = x.quants[at + 4];
                const float2 scales = *(const float2*)&own.scales[index][tile * 8 + 2 * t];
                float2 totals = make_float2(0.0f, 0.0f);
                if (Format::MINIMUM) totals = *(const float2*)&own.totals[index][tile * 8 + 2 * t];
                u32 c0 = 0, c1 = 0;
                if (fine) {
                    c0 = x.residuals[at];
                    c1 = x.residuals[at + 4];
                }
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int q = 2 * half;
                    float p[4];
                    block_sums(words[q], words[q + 1], b0, b1, halves[q], halves[q + 1], p);
                    if (fine) {
                        float rest[4];
                        block_sums(words[q], words[q + 1], c0, c1, halves[q], halves[q + 1], rest);
#pragma unroll
                        for (int i = 0; i < 4; ++i) p[i] = p[i] + rest[i] * RESIDUAL_STEP;
                    }
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        float& sum = sums[tile][half][i];
                        const Affine& of = affine[q + i / 2];
                        sum = sum + (of.scale * (i % 2 ? scales.y : scales.x)) * p[i];
                        if (Format::MINIMUM) sum = sum + of.minimum * (i % 2 ? totals.y : totals.x);
                    }
                }
            }
        }
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
            for (int i = 0; i < 8; ++i)
                out[(tile * 8 + 2 * t + i % 2) * STRIDE + i / 4 * 16 + i / 2 % 2 * 8 + g] = sums[tile][i / 4][i % 4];
    }
};

#define FEW(TILES, ROWS, THREADS)                                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) few_##ROWS(PRODUCT_PARAMETERS) {                          \
        product<Few<TILES>>(a, b, c, blocks, x, rows, activation, out, faults);                                        \
    }

FEW(1, 8, 512)
FEW(2, 16, 384)
