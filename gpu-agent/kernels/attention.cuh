// Attention of some query heads over one chunk of 64 positions of one key/value head.
//
// Cache of one layer, blocks of 16 positions, halves: keys [block, head, element / 8, position, element % 8], so that a
// lane reads eight elements of its own position with one load and a warp reads whole sectors; values
// [block, head, position, element].
#pragma once

#include "arithmetic.cuh"

#define CHUNK 64
#define BLOCK_POSITIONS 16
#define ATTENTION_THREADS 128
// Loads that are in flight before the first is used: of 16 bytes of a key, and of 4 bytes of values.
#define KEYS_AHEAD 4
#define VALUES_AHEAD 8

struct Head {
    const u16* keys;
    const u16* values;
    const u32* table;  // the sequence's blocks, in order of position
    int heads;         // key/value heads
    int head;          // this one
    int size;          // elements, a multiple of 8, at most 256

    __device__ __forceinline__ u64 block(int position) const {
        return ((u64)table[position / BLOCK_POSITIONS] * heads + head) * BLOCK_POSITIONS * size;
    }
    __device__ __forceinline__ uint4 key(int position, int eight) const {
        const int inside = position % BLOCK_POSITIONS;
        return *(const uint4*)(keys + block(position) + (eight * BLOCK_POSITIONS + inside) * 8);
    }
};

struct Scoring {
    float scale;
    float cap;  // scores lie between minus and plus this; 0: no cap

    __device__ __forceinline__ float finish(const float (&chains)[4]) const {
        const float score = ((chains[0] + chains[1]) + (chains[2] + chains[3])) * scale;
        return cap > 0.0f ? hyperbolic_tangent(score / cap) * cap : score;
    }
};

// Scores of QUERIES queries with the key of `position`: four interleaved sums each.
// query(i) is [size] in shared memory; all lanes read the same element at a time.
template <int QUERIES, class Query>
__device__ __forceinline__ void score(const Head& head, int position, Query query, float (&chains)[QUERIES][4]) {
#pragma unroll
    for (int i = 0; i < QUERIES; ++i)
#pragma unroll
        for (int c = 0; c < 4; ++c) chains[i][c] = 0.0f;
#pragma unroll 1
    for (int start = 0; start < head.size / 8; start += KEYS_AHEAD) {
        uint4 raw[KEYS_AHEAD];
#pragma unroll
        for (int j = 0; j < KEYS_AHEAD; ++j)
            if (start + j < head.size / 8) raw[j] = head.key(position, start + j);
#pragma unroll
        for (int j = 0; j < KEYS_AHEAD; ++j)
            if (start + j < head.size / 8) {
                const float k[8] = {low_half(raw[j].x), high_half(raw[j].x), low_half(raw[j].y), high_half(raw[j].y),
                                    low_half(raw[j].z), high_half(raw[j].z), low_half(raw[j].w), high_half(raw[j].w)};
#pragma unroll
                for (int i = 0; i < QUERIES; ++i) {
                    const float4* const q = (const float4*)(query(i) + (start + j) * 8);
                    const float4 a = q[0], b = q[1];
                    chains[i][0] = chains[i][0] + a.x * k[0];
                    chains[i][1] = chains[i][1] + a.y * k[1];
                    chains[i][2] = chains[i][2] + a.z * k[2];
                    chains[i][3] = chains[i][3] + a.w * k[3];
                    chains[i][0] = chains[i][0] + b.x * k[4];
                    chains[i][1] = chains[i][1] + b.y * k[5];
                    chains[i][2] = chains[i][2] + b.z * k[6];
                    chains[i][3] = chains[i][3] + b.w * k[7];
                }
            }
    }
}

// Which of a chunk's positions a query sees, counted from the chunk's first; empty where end <= start.
struct Visible {
    int start, end;

    // Query at `position`; `window`: how many positions it sees, itself included; 0: all before it.
    __device__ __forceinline__ static Visible in_chunk(int position, int window, int chunk) {
        const int from = window > 0 ? max(0, position + 1 - window) : 0;
        return {max(0, from - chunk * CHUNK), min(CHUNK, position + 1 - chunk * CHUNK)};
    }
};

struct Weights {
    float largest;
    float total;
};

// Turns the scores of one query into weights, in place; by one warp, whose lanes all get the result.
__device__ __forceinline__ Weights weigh(float* scores, Visible visible, int lane) {
    const bool first = lane >= visible.start && lane < visible.end;
    const bool second = lane + WARP >= visible.start && lane + WARP < visible.end;
    const float lowest = __uint_as_float(0xff800000u);
    const float a = first ? scores[lane] : lowest, b = second ? scores[lane + WARP] : lowest;
    float largest = fmaxf(fmaxf(lowest, a), b);
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(FULL_MASK, largest, distance));
    const float weight_a = first ? exponential(a - largest) : 0.0f;
    const float weight_b = second ? exponential(b - largest) : 0.0f;
    scores[lane] = weight_a;
    scores[lane + WARP] = weight_b;
    return {largest, warp_tree(weight_a + weight_b)};
}

// sums[i] = sum over visible positions, in order, of weight * value, for elements 2 * pair and 2 * pair + 1.
// weights(i) is [CHUNK] in shared memory; `visible` covers what any query sees, sees(i, t) is whether query i sees t.
template <int QUERIES, class Of, class Sees>
__device__ __forceinline__ void weighted_values(const Head& head, int chunk, int pair, Of weights, Visible visible,
                                                Sees sees, float (&sums)[QUERIES][2]) {
#pragma unroll
    for (int i = 0; i < QUERIES; ++i) sums[i][0] = sums[i][1] = 0.0f;
#pragma unroll 1
    for (int start = visible.start; start < visible.end; start += VALUES_AHEAD) {
        u32 raw[VALUES_AHEAD];
#pragma unroll
        for (int j = 0; j < VALUES_AHEAD; ++j)
            if (start + j < visible.end) {
                const int position = chunk * CHUNK + start + j;
                raw[j] = *(const u32*)(head.values + head.block(position) +
                                       (position % BLOCK_POSITIONS) * head.size + 2 * pair);
            }
#pragma unroll
        for (int j = 0; j < VALUES_AHEAD; ++j)
            if (start + j < visible.end) {
                const int t = start + j;
                const float first = low_half(raw[j]), second = high_half(raw[j]);
#pragma unroll
                for (int i = 0; i < QUERIES; ++i) {
                    const float weight = weights(i)[t];
                    if (sees(i, t)) {
                        sums[i][0] = sums[i][0] + weight * first;
                        sums[i][1] = sums[i][1] + weight * second;
                    }
                }
            }
    }
}
