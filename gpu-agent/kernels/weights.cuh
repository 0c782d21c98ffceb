// How each weight type lies in device memory, and how a lane decodes it.
//
// A matrix of `rows` x 32 * `blocks` is cut into groups of 32 rows, the last one padded with zeros: lane = row of the
// group. For each group and each block of 32 columns, the 32 lanes' pieces lie side by side, so that a warp reads whole
// sectors. Planes follow each other in one allocation: low, high, scales, packed scales. The host's twin of this page is
// gpu-agent/src/backend/cuda/layout.rs.
//
// A block means s * w + m for integers w. Word j of a block holds four w as signed bytes: columns 4j to 4j + 3. Types
// without a minimum keep w in the upper bits of each byte, the top bit flipped, so that the byte is w * 2^SHIFT in two's
// complement and the zero point costs nothing; the integer dot is shifted back, exactly.
#pragma once

#include "arithmetic.cuh"

struct Matrix {
    const u8* base;
    int rows;
    int blocks;

    __device__ __forceinline__ u64 cells() const { return (u64)((rows + WARP - 1) / WARP) * blocks; }
    __device__ __forceinline__ int segments() const { return (blocks + 7) / 8; }
};

__device__ __forceinline__ u32 read32(const u8* at) { return __ldg((const u32*)at); }
__device__ __forceinline__ uint2 read64(const u8* at) { return __ldg((const uint2*)at); }
__device__ __forceinline__ uint4 read128(const u8* at) { return __ldg((const uint4*)at); }
__device__ __forceinline__ u16 read16(const u8* at) { return __ldg((const u16*)at); }
__device__ __forceinline__ u32 pick(const uint4& words, int j) {
    return j == 0 ? words.x : j == 1 ? words.y : j == 2 ? words.z : words.w;
}

// Scale and minimum of one block of one row, exact.
struct Affine {
    float scale;
    float minimum;
};

// --- Integers: nibbles with or without higher bits, bytes, 16-bit fixed point. ---

// Plane: 16 bytes a lane; word j: low nibbles are columns 4j to 4j + 3, high ones columns 16 + 4j to 16 + 4j + 3.
// HIGH_BITS more bits of each column: one word (bit j of byte c: column 4j + c) or two (bits 2j of byte c: columns 4j + c
// and 16 + 4j + c). SHIFT: how far the integers are shifted up in their byte.
template <int HIGH_BITS, int SHIFT>
struct Nibbles {
    static constexpr int LOW_BYTES = 16 * WARP;
    static constexpr int HIGH_BYTES = 4 * HIGH_BITS * WARP;
    static constexpr int BYTES = LOW_BYTES + HIGH_BYTES;
    static constexpr int DOTS = 1;
    static constexpr int BACK = SHIFT;

    struct Raw {
        uint4 low;
        uint2 high;
    };
    struct Piece {
        u32 low;
        uint2 high;
    };

    static __device__ __forceinline__ uint2 load_high(const Matrix& m, u64 cell, int row) {
        const u8* plane = m.base + m.cells() * LOW_BYTES + cell * HIGH_BYTES;
        if (HIGH_BITS == 1) return make_uint2(read32(plane + row * 4), 0);
        if (HIGH_BITS == 2) return read64(plane + row * 8);
        return make_uint2(0, 0);
    }
    static __device__ __forceinline__ Raw load(const Matrix& m, u64 cell, int row) {
        return {read128(m.base + cell * LOW_BYTES + row * 16), load_high(m, cell, row)};
    }
    static __device__ __forceinline__ Piece load_piece(const Matrix& m, u64 cell, int row, int j) {
        return {read32(m.base + cell * LOW_BYTES + row * 16 + j * 4), load_high(m, cell, row)};
    }
    static __device__ __forceinline__ Piece piece(const Raw& raw, int j) { return {pick(raw.low, j), raw.high}; }

    // Higher bits of word j (0 to 7) at their place above the nibble.
    static __device__ __forceinline__ u32 high(const uint2& bits, int j) {
        if (HIGH_BITS == 1) return (bits.x >> j & 0x01010101u) << (4 + SHIFT);
        if (HIGH_BITS == 2) return ((j < 4 ? bits.x : bits.y) >> (2 * (j & 3)) & 0x03030303u) << (4 + SHIFT);
        return 0;
    }
    // Columns 4j to 4j + 3 and 16 + 4j to 16 + 4j + 3, j from 0 to 3.
    static __device__ __forceinline__ void words(const Piece& piece, int j, u32 (&first)[1], u32 (&second)[1]) {
        first[0] = (piece.low & 0x0f0f0f0fu) << SHIFT | high(piece.high, j);
        second[0] = (piece.low >> 4 & 0x0f0f0f0fu) << SHIFT | high(piece.high, j + 4);
    }
};

// Plane: two runs of 16 bytes a lane, columns 0 to 15 of all lanes, then 16 to 31.
struct Bytes {
    static constexpr int BYTES = 32 * WARP;
    static constexpr int DOTS = 1;
    static constexpr int BACK = 0;

    struct Raw {
        uint4 first, second;
    };
    struct Piece {
        u32 first, second;
    };

    static __device__ __forceinline__ Raw load(const Matrix& m, u64 cell, int row) {
        const u8* at = m.base + cell * BYTES + row * 16;
        return {read128(at), read128(at + 16 * WARP)};
    }
    static __device__ __forceinline__ Piece load_piece(const Matrix& m, u64 cell, int row, int j) {
        const u8* at = m.base + cell * BYTES + row * 16 + j * 4;
        return {read32(at), read32(at + 16 * WARP)};
    }
    static __device__ __forceinline__ Piece piece(const Raw& raw, int j) {
        return {pick(raw.first, j), pick(raw.second, j)};
    }
    static __device__ __forceinline__ void words(const Piece& piece, int, u32 (&first)[1], u32 (&second)[1]) {
        first[0] = piece.first;
        second[0] = piece.second;
    }
};

// w = 256 * upper + lower, both signed bytes. Plane: four runs of 16 bytes a lane, upper bytes as in Bytes, then lower.
struct Fixed16 {
    static constexpr int BYTES = 64 * WARP;
    static constexpr int DOTS = 2;
    static constexpr int BACK = 0;

    struct Raw {
        uint4 upper_first, upper_second, lower_first, lower_second;
    };
    struct Piece {
        u32 upper_first, upper_second, lower_first, lower_second;
    };

    static __device__ __forceinline__ Raw load(const Matrix& m, u64 cell, int row) {
        const u8* at = m.base + cell * BYTES + row * 16;
        return {read128(at), read128(at + 16 * WARP), read128(at + 32 * WARP), read128(at + 48 * WARP)};
    }
    static __device__ __forceinline__ Piece load_piece(const Matrix& m, u64 cell, int row, int j) {
        const u8* at = m.base + cell * BYTES + row * 16 + j * 4;
        return {read32(at), read32(at + 16 * WARP), read32(at + 32 * WARP), read32(at + 48 * WARP)};
    }
    static __device__ __forceinline__ Piece piece(const Raw& raw, int j) {
        return {pick(raw.upper_first, j), pick(raw.upper_second, j), pick(raw.lower_first, j),
                pick(raw.lower_second, j)};
    }
    static __device__ __forceinline__ void words(const Piece& piece, int, u32 (&first)[2], u32 (&second)[2]) {
        first[0] = piece.upper_first;
        second[0] = piece.upper_second;
        first[1] = piece.lower_first;
        second[1] = piece.lower_second;
    }
};

// --- Scales. `Segment` is what a lane keeps for the eight blocks of a segment; a block's own scales are loaded with its integers,
// where it has any: LOADED. ---

// One half a block: 2 bytes a lane.
template <class I>
struct HalfScale : I {
    static constexpr bool MINIMUM = false;
    static constexpr bool LOADED = true;
    static constexpr bool HALVES = false;
    struct Segment {};
    static __device__ __forceinline__ Segment segment(const Matrix&, int, int, int) { return {}; }
    static __device__ __forceinline__ Affine affine(const Matrix& m, const Segment&, u64 cell, int, int row) {
        return {half_to_float(read16(m.base + m.cells() * I::BYTES + (cell * WARP + row) * 2)), 0.0f};
    }
};

// Scale and minimum as halves: 4 bytes a lane.
template <class I>
struct HalfPair : I {
    static constexpr bool MINIMUM = true;
    static constexpr bool LOADED = true;
    static constexpr bool HALVES = false;
    struct Segment {};
    static __device__ __forceinline__ Segment segment(const Matrix&, int, int, int) { return {}; }
    static __device__ __forceinline__ Affine affine(const Matrix& m, const Segment&, u64 cell, int, int row) {
        const u32 pair = read32(m.base + m.cells() * I::BYTES + (cell * WARP + row) * 4);
        return {low_half(pair), high_half(pair)};
    }
};

// One float a block: 4 bytes a lane.
template <class I>
struct FloatScale : I {
    static constexpr bool MINIMUM = false;
    static constexpr bool LOADED = true;
    static constexpr bool HALVES = false;
    struct Segment {};
    static __device__ __forceinline__ Segment segment(const Matrix&, int, int, int) { return {}; }
    static __device__ __forceinline__ Affine affine(const Matrix& m, const Segment&, u64 cell, int, int row) {
        return {__uint_as_float(read32(m.base + m.cells() * I::BYTES + (cell * WARP + row) * 4)), 0.0f};
    }
};

// Super-blocks of 256 columns: two halves (4 bytes a lane), then eight scales and eight minima (16 bytes a lane).
// s = d * scale and m = -(dmin * minimum) are exact: 11 by 6 bits.
template <class I>
struct SuperPair : I {
    static constexpr bool MINIMUM = true;
    static constexpr bool LOADED = false;
    static constexpr bool HALVES = false;
    struct Segment {
        u32 halves;
        uint4 packed;
    };
    static __device__ __forceinline__ Segment segment(const Matrix& m, int group, int segment, int row) {
        const u8* scales = m.base + m.cells() * I::BYTES;
        const u64 cells = m.cells() / 8;
        const u64 cell = ((u64)group * m.segments() + segment) * WARP + row;
        return {read32(scales + cell * 4), read128(scales + cells * WARP * 4 + cell * 16)};
    }
    static __device__ __forceinline__ u32 byte(u32 first, u32 second, int index) {
        return (index < 4 ? first : second) >> (8 * (index & 3)) & 0xff;
    }
    static __device__ __forceinline__ Affine affine(const Matrix&, const Segment& kept, u64, int index, int) {
        const float scale = (float)byte(kept.packed.x, kept.packed.y, index);
        const float minimum = (float)byte(kept.packed.z, kept.packed.w, index);
        return {low_half(kept.halves) * scale, -(high_half(kept.halves) * minimum)};
    }
};

// Super-blocks with one half (2 bytes a lane), then sixteen signed scales (16 bytes a lane), one for 16 columns.
template <class I>
struct SuperHalves : I {
    static constexpr bool MINIMUM = false;
    static constexpr bool LOADED = false;
    static constexpr bool HALVES = true;
    struct Segment {
        u16 scale;
        uint4 packed;
    };
    static __device__ __forceinline__ Segment segment(const Matrix& m, int group, int segment, int row) {
        const u8* scales = m.base + m.cells() * I::BYTES;
        const u64 cells = m.cells() / 8;
        const u64 cell = ((u64)group * m.segments() + segment) * WARP + row;
        return {read16(scales + cell * 2), read128(scales + cells * WARP * 2 + cell * 16)};
    }
    static __device__ __forceinline__ Affine affine(const Matrix&, const Segment& kept, u64, int, int) {
        return {half_to_float(kept.scale), 0.0f};
    }
    // The scales of the block's two halves.
    static __device__ __forceinline__ int2 scales(const Segment& kept, int index) {
        const u32 pair = pick(kept.packed, index >> 1) >> (16 * (index & 1));
        return make_int2((int)(signed char)(pair & 0xff), (int)(signed char)(pair >> 8 & 0xff));
    }
};

typedef HalfScale<Nibbles<0, 4>> Q4_0;
typedef HalfPair<Nibbles<0, 0>> Q4_1;
typedef HalfScale<Nibbles<1, 3>> Q5_0;
typedef HalfPair<Nibbles<1, 0>> Q5_1;
typedef HalfScale<Bytes> Q8_0;
typedef SuperPair<Nibbles<0, 0>> Q4_K;
typedef SuperPair<Nibbles<1, 0>> Q5_K;
typedef SuperHalves<Nibbles<2, 2>> Q6_K;
typedef FloatScale<Fixed16> FIXED;

// --- Integer dot products of four signed bytes, exact whichever instruction computes them. ---

#ifndef DOT
#define DOT 4
#endif

// A signed byte of a word. Bit 3 of a selector repeats the byte's sign, which __byte_perm does not do.
template <int BYTE>
__device__ __forceinline__ int signed_byte(u32 word) {
    int value;
    asm("prmt.b32 %0, %1, 0, %2;" : "=r"(value) : "r"(word), "n"(0x8880 + 0x1111 * BYTE));
    return value;
}

// a is of a weight, b of an activation. BY: 4 = dp4a, 2 = dp2a, 1 = multiply and add.
template <int BY>
__device__ __forceinline__ int dot_by(u32 a, u32 b, int sum) {
    int out;
    if constexpr (BY == 4) {
        asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(sum));
    } else if constexpr (BY == 2) {
        // Two signed 16-bit halves from two bytes.
        u32 first, second;
        asm("prmt.b32 %0, %1, 0, 0x9180;" : "=r"(first) : "r"(a));
        asm("prmt.b32 %0, %1, 0, 0xb3a2;" : "=r"(second) : "r"(a));
        asm("dp2a.lo.s32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(first), "r"(b), "r"(sum));
        asm("dp2a.hi.s32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(second), "r"(b), "r"(out));
    } else {
        const int low = signed_byte<0>(a) * signed_byte<0>(b) + sum;
        const int middle = signed_byte<1>(a) * signed_byte<1>(b) + low;
        const int high = signed_byte<2>(a) * signed_byte<2>(b) + middle;
        out = signed_byte<3>(a) * signed_byte<3>(b) + high;
    }
    return out;
}

__device__ __forceinline__ int dot(u32 a, u32 b, int sum) { return dot_by<DOT>(a, b, sum); }
