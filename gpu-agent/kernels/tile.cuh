// Sums of one block of 32 inputs for 16 columns and 8 rows on integer tensor cores.
//
// Fragments (PTX ISA, mma.m16n8k32 and mma.m8n8k16): lane = 4 * g + t holds inputs 4t to 4t + 3 and 16 + 4t to 16 + 4t + 3
// of columns g and g + 8, which are word t of a block as it lies in memory, and of row g; and the sums of columns g and
// g + 8 with rows 2t and 2t + 1.
#pragma once

#include "mma.cuh"
#include "product.cuh"

typedef FORMAT Format;

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
        for (int i = 0; i < 4; ++i) sums[i] = IS_SMALL<Format> ? OFFSET_BITS<Format> : 0;
#pragma unroll
        for (int d = 0; d < Format::DOTS; ++d) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[i] = d ? sums[i] * 256 : sums[i];
            multiply(sums, upper.first[d], lower.first[d], upper.second[d], lower.second[d], b0, b1);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        out[i] = IS_SMALL<Format> ? without_offset<Format>(sums[i]) : (float)(sums[i] >> Format::BACK);
}
