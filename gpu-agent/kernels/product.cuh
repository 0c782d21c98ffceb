// The product of a lane's weight row with some rows of activations, one segment of 256 columns at a time.
#pragma once

#include "weights.cuh"

#define SEGMENT_BLOCKS 8
#define SEGMENT_WORDS 64

// A warp's own copy of one segment of ROWS activation rows in shared memory; all lanes read the same word at a time.
template <int ROWS>
struct Staged {
    int4 quants[ROWS][SEGMENT_WORDS / 4];
    int4 residuals[ROWS][SEGMENT_WORDS / 4];
    float scales[ROWS][SEGMENT_BLOCKS];
    float totals[ROWS][SEGMENT_BLOCKS];
};

// Copies rows first to first + ROWS - 1; rows past the last one repeat it, and their results are not stored. The lanes' loads
// of some rows are in flight together: 16 lanes have a row's quants, 8 its scales and 8 its totals.
template <int ROWS>
__device__ __forceinline__ void stage(Staged<ROWS>& to, const Activations& from, int first, int rows, int blocks,
                                      int segment, int lane, bool fine) {
    constexpr int AT_ONCE = ROWS < 4 ? ROWS : 4;
    const int count = min(SEGMENT_BLOCKS, blocks - segment * SEGMENT_BLOCKS);
    const bool has_quants = lane < 2 * count;
    const int scale = lane - 16, total = lane - 24;
    const bool has_scale = scale >= 0 && scale < count, has_total = total >= 0 && total < count;
    const float* const totals = fine ? from.fine_totals : from.totals;
#pragma unroll 1
    for (int start = 0; start < ROWS; start += AT_ONCE) {
        int4 quants[AT_ONCE], residuals[AT_ONCE];
        float value[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            const u64 at = (u64)min(first + start + i, rows - 1) * blocks + segment * SEGMENT_BLOCKS;
            if (has_quants) quants[i] = ((const int4*)(from.quants + at * 8))[lane];
            if (has_quants && fine) residuals[i] = ((const int4*)(from.residuals + at * 8))[lane];
            if (has_scale) value[i] = from.scales[at + scale];
            if (has_total) value[i] = totals[at + total];
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            const int r = start + i;
            if (has_quants) to.quants[r][lane] = quants[i];
            if (has_quants && fine) to.residuals[r][lane] = residuals[i];
            if (has_scale) to.scales[r][scale] = value[i];
            if (has_total) to.totals[r][total] = value[i];
        }
    }
}

// Whether a block's integer sum may be counted from OFFSET_BITS on: one dot of 32 products of signed bytes, below 2^22.
template <class F>
constexpr bool IS_SMALL = F::DOTS == 1 && !F::HALVES;

// The bits of 1.5 * 2^(23 - BACK). As an integer n is added to them, n * 2^-BACK is added to the float, exactly: so a sum that
// begins with them needs no shift, and a subtraction converts it, where a conversion has half the rate or less ("CUDA C++
// Programming Guide", throughput of native arithmetic instructions).
template <class F>
constexpr u32 OFFSET_BITS = ((u32)(127 + 23 - F::BACK) << 23) | 0x400000u;

template <class F>
__device__ __forceinline__ float without_offset(int sum) {
    return __int_as_float(sum) - __uint_as_float(OFFSET_BITS<F>);
}

// One block's integer dot as a float, before it is scaled.
template <class F>
__device__ __forceinline__ float block_dot(const u32 (&words)[F::DOTS][8], const int4* activations, int2 halves) {
    const int4 a = activations[0], b = activations[1];
    const u32 x[8] = {(u32)a.x, (u32)a.y, (u32)a.z, (u32)a.w, (u32)b.x, (u32)b.y, (u32)b.z, (u32)b.w};
    int sums[2 * F::DOTS];
#pragma unroll
    for (int d = 0; d < F::DOTS; ++d) {
        sums[2 * d] = IS_SMALL<F> ? OFFSET_BITS<F> : 0;
        sums[2 * d + 1] = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            sums[2 * d] = dot(words[d][j], x[j], sums[2 * d]);
            sums[2 * d + 1] = dot(words[d][4 + j], x[4 + j], sums[2 * d + 1]);
        }
    }
    if (F::DOTS == 2) return (float)(256 * (sums[0] + sums[1]) + (sums[2 * F::DOTS - 2] + sums[2 * F::DOTS - 1]));
    if (F::HALVES) return (float)((halves.x * sums[0] + halves.y * sums[1]) >> F::BACK);
    return without_offset<F>(sums[0] + sums[1]);
}

template <class F>
__device__ __forceinline__ int2 half_scales(const typename F::Segment& kept, int index) {
    if constexpr (F::HALVES) return F::scales(kept, index);
    return make_int2(1, 1);
}

// All words of one block.
template <class F>
__device__ __forceinline__ void unpack(const typename F::Raw& raw, u32 (&words)[F::DOTS][8]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        u32 low[F::DOTS], high[F::DOTS];
        F::words(F::piece(raw, j), j, low, high);
#pragma unroll
        for (int d = 0; d < F::DOTS; ++d) {
            words[d][j] = low[d];
            words[d][4 + j] = high[d];
        }
    }
}

// Adds one block's products to the sums of its segment.
template <class F, int ROWS>
__device__ __forceinline__ void add_block(const typename F::Raw& raw, const Affine& affine, int2 halves, int block,
                                          const Staged<ROWS>& x, bool fine, float (&sums)[ROWS]) {
    u32 words[F::DOTS][8];
    unpack<F>(raw, words);
    float p[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) p[r] = block_dot<F>(words, &x.quants[r][block * 2], halves);
    if (fine) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
            p[r] = p[r] + block_dot<F>(words, &x.residuals[r][block * 2], halves) * RESIDUAL_STEP;
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        sums[r] = sums[r] + (affine.scale * x.scales[r][block]) * p[r];
        if (F::MINIMUM) sums[r] = sums[r] + affine.minimum * x.totals[r][block];
    }
}

// Some blocks of a lane's row as they lie in memory, on their way.
template <class F, int COUNT>
struct Loads {
    typename F::Raw raw[COUNT];
    Affine affine[COUNT];

    __device__ __forceinline__ void load(const Matrix& m, const typename F::Segment& kept, u64 cells, int start, int count,
                                         int lane) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
            if (start + i < count) {
                raw[i] = F::load(m, cells + start + i, lane);
                if (F::LOADED) affine[i] = F::affine(m, kept, cells + start + i, start + i, lane);
            }
    }

    // Scale and minimum of block `start + i`.
    __device__ __forceinline__ Affine of(const Matrix& m, const typename F::Segment& kept, u64 cells, int start, int i,
                                         int lane) const {
        return F::LOADED ? affine[i] : F::affine(m, kept, cells + start + i, start + i, lane);
    }
};

// The blocks of one segment, added in order to sums that begin at +0. The weights' loads begin before the activations are
// staged, and those of the next blocks before a block is used.
template <class F, int ROWS>
__device__ __forceinline__ void add_segment(const Matrix& m, int group, int segment, int lane, Staged<ROWS>& own,
                                            const Activations& x, int first_row, int rows, bool fine,
                                            float (&sums)[ROWS]) {
    // A block of 16-bit weights has four loads, and its bytes apart take 64 registers where they are multiplied one by one.
    constexpr int AHEAD = ROWS <= 2 && F::DOTS == 1 ? 2 : 1;
    const int first = segment * SEGMENT_BLOCKS;
    const int count = min(SEGMENT_BLOCKS, m.blocks - first);
    const u64 cells = (u64)group * m.blocks + first;
    const typename F::Segment kept = F::segment(m, group, segment, lane);
    Loads<F, AHEAD> now, next;
    now.load(m, kept, cells, 0, count, lane);
    __syncwarp();
    stage(own, x, first_row, rows, m.blocks, segment, lane, fine);
    __syncwarp();
#pragma unroll
    for (int r = 0; r < ROWS; ++r) sums[r] = 0.0f;
#pragma unroll 1
    for (int start = 0; start < count; start += AHEAD) {
        next.load(m, kept, cells, start + AHEAD, count, lane);
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            if (start + i < count)
                add_block<F, ROWS>(now.raw[i], now.of(m, kept, cells, start, i, lane), half_scales<F>(kept, start + i),
                                   start + i, own, fine, sums);
        now = next;
    }
}

// One matrix of a launch, and where its product goes:
// out[row][column] = residual[row][column] + (product + bias[column]); bias and residual may be null.
struct Target {
    const u8* weights;      // null: there is no such target
    float* out;             // [rows, columns]
    const float* bias;      // [columns]
    const float* residual;  // the shape of out, and may be out itself
    int columns;            // rows of the matrix
    int fine;               // whether the activations' residuals count

    __device__ __forceinline__ int groups() const { return weights ? (columns + WARP - 1) / WARP : 0; }
    __device__ __forceinline__ void store(int row, int column, float value) const {
        if (column >= columns) return;
        if (bias) value = value + bias[column];
        const u64 at = (u64)row * columns + column;
        if (residual) value = residual[at] + value;
        out[at] = value;
    }
};

// Which of three matrices a block computes, and where in it. `unit` groups of a matrix belong to a block.
struct Part {
    int which;
    int index;

    __device__ __forceinline__ Part(const Target& a, const Target& b, int index, int unit) : which(0), index(index) {
        const Target* const targets[2] = {&a, &b};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int parts = (targets[i]->groups() + unit - 1) / unit;
            if (which == i && this->index >= parts) {
                this->index -= parts;
                ++which;
            }
        }
    }

    // The matrix. It is chosen anew for each use, from parameters in constant memory, so that its addresses take no registers
    // in between: the compiler cannot see that `which` stays what it is.
    __device__ __forceinline__ Target of(const Target& a, const Target& b, const Target& c) const {
        int chosen = which;
        asm volatile("" : "+r"(chosen));
        return chosen == 0 ? a : chosen == 1 ? b : c;
    }
};
