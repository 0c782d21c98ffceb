// The arithmetic of docs/arithmetic.md: what every kernel computes with, operation by operation.
//
// IEEE binary32 throughout, rounded to nearest even: the compiler is called with --fmad=false and without fast math, so
// that `*`, `+`, `/` and sqrtf become mul.rn, add.rn, div.rn and sqrt.rn (PTX ISA, "Floating Point Instructions"), which
// the driver's compiler must not fuse. `cargo xtask kernels` refuses a module that holds any other float arithmetic.
#pragma once

#define WARP 32
#define FULL_MASK 0xffffffffu

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// A launch's dynamic shared memory.
extern __shared__ int4 dynamic_shared[];

// A half-precision float is only stored; its bits are u16 here.
__device__ __forceinline__ float half_to_float(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ u16 float_to_half(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ __forceinline__ float low_half(u32 pair) { return half_to_float((u16)(pair & 0xffff)); }
__device__ __forceinline__ float high_half(u32 pair) { return half_to_float((u16)(pair >> 16)); }

// e^x: 0 below -87, at most e^88, NaN stays NaN. Cody-Waite reduction to |r| <= ln 2 / 2 and a polynomial of degree 6
// (Cephes' expf), each product and each sum rounded; e^0 is exactly 1.
__device__ __forceinline__ float exponential(float x) {
    const float clamped = x > 88.0f ? 88.0f : x;
    const float n = rintf(clamped * 1.44269504f);
    const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.98756915e-4f;
    p = p * r + 1.39819995e-3f;
    p = p * r + 8.33345190e-3f;
    p = p * r + 4.16657960e-2f;
    p = p * r + 1.66666655e-1f;
    p = p * r + 5.00000012e-1f;
    const float value = (p * (r * r) + r) + 1.0f;
    const float power = __uint_as_float((u32)(__float2int_rn(n) + 127) << 23);
    return x < -87.0f ? 0.0f : value * power;
}

// tanh through e^(-2|x|), with the sign of x.
__device__ __forceinline__ float hyperbolic_tangent(float x) {
    const float t = exponential(fabsf(x) * -2.0f);
    return copysignf((1.0f - t) / (1.0f + t), x);
}

// Partial sums of a sum over a row: term i goes to partial i mod 128, in order.
#define STRIDES 128

// Notes a value whose magnitude is at least `limit`, or that is NaN.
__device__ __forceinline__ void note_beyond(float value, float limit, u32* fault) {
    if (!(fabsf(value) < limit)) *fault = 1;
}

// The halving tree over 32 partial sums, one a lane; all lanes get the sum.
__device__ __forceinline__ float warp_tree(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value = value + __shfl_xor_sync(FULL_MASK, value, distance);
    return value;
}

__device__ __forceinline__ float norm_scale(float squares, int width, float epsilon) {
    return 1.0f / sqrtf(squares / (float)width + epsilon);
}

__device__ __forceinline__ int warp_sum(int value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(FULL_MASK, value, distance);
    return value;
}

// One column of a group of 32 that a warp quantises together: lane = column.
struct Quantised {
    int quant;     // -127 to 127
    int residual;  // -127 to 127, 254ths of a step; 0 unless fine
    float scale;   // the same in all lanes; NaN where the group holds anything that is no finite number
    float total;   // sum of the group's values as quants alone keep them; the same in all lanes
    float fine_total;  // the same with their residuals; 0 unless fine
};

#define RESIDUAL_STEP (1.0f / 254.0f)
#define SMALLEST_BITS ((127u - 100u) << 23)  // 2^-100: a smaller group counts as zeros
#define INFINITY_BITS 0x7f800000u

__device__ __forceinline__ Quantised quantise(float value, bool fine) {
    // Of the bits as integers, NaN is the largest: the order of the maximum does not matter.
    u32 bits = __float_as_uint(value) & 0x7fffffffu;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        bits = max(bits, __shfl_xor_sync(FULL_MASK, bits, distance));
    const float none = bits < INFINITY_BITS ? 0.0f : __uint_as_float(0x7fc00000u);
    if (bits < SMALLEST_BITS || bits >= INFINITY_BITS) return {0, 0, none, none, none};
    const float largest = __uint_as_float(bits);
    const float steps = value * (127.0f / largest);
    Quantised out;
    out.scale = largest / 127.0f;
    out.quant = __float2int_rn(steps);
    out.residual = 0;
    const float sum = (float)warp_sum(out.quant);
    out.total = out.scale * sum;
    out.fine_total = 0.0f;
    if (fine) {
        const int residual = __float2int_rn((steps - (float)out.quant) * 254.0f);
        out.residual = max(-127, min(127, residual));
        out.fine_total = out.scale * (sum + (float)warp_sum(out.residual) * RESIDUAL_STEP);
    }
    return out;
}

// Rows of activations, quantised: what a product reads. `columns` is a whole number of groups of 32.
struct Activations {
    const u32* quants;     // [rows, columns / 4], four signed bytes a word, in order of columns
    const u32* residuals;  // the same shape; read where a product is fine
    const float* scales;   // [rows, columns / 32]
    const float* totals;   // [rows, columns / 32]; what products without residuals use
    const float* fine_totals;  // the same shape; what products with residuals use
};

struct ActivationsOut {
    signed char* quants;
    signed char* residuals;  // null where no product that reads them is fine; then fine_totals is not written
    float* scales;
    float* totals;
    float* fine_totals;
};

// Stores the group that the warp holds, lane = column. A group that holds anything that is no finite number is noted in
// `fault`, a flag of its row.
__device__ __forceinline__ void store_group(const ActivationsOut& out, u64 group, int lane, float value, u32* fault) {
    const Quantised kept = quantise(value, out.residuals != nullptr);
    out.quants[group * WARP + lane] = (signed char)kept.quant;
    if (out.residuals) out.residuals[group * WARP + lane] = (signed char)kept.residual;
    if (lane == 0) {
        out.scales[group] = kept.scale;
        out.totals[group] = kept.total;
        if (out.residuals) out.fine_totals[group] = kept.fine_total;
        if (kept.scale != kept.scale) *fault = 1;
    }
}
