// Products of a quantised matrix with quantised activations, by integer dot products. Compiled once for each weight type
// (FORMAT) and integer instruction (DOT: 4 = dp4a, 2 = dp2a, 1 = multiply and add); all give equal bits. Modules of the
// slower instructions, which the cards that need them use alone, hold batches of 1 and 4 only.
//
// product_{1,2,4,8}
//   operation: for each row r of the activations and each of up to three matrices a, b, c: out[r] = matrix * x[r] (+ bias)
//     (+ residual[r]); or, where `activation` is not negative, one quantised result activation(a * x[r]) * (b * x[r]) of
//     two matrices of one shape: fused query, key and value, and fused gate and up.
//   shapes: weights [columns, 32 * blocks] as weights.cuh lays them; x [rows, 32 * blocks]; out [rows, columns].
//   launch: as segments.cuh has it; as many warps as there are segments of 256 inputs while there are few rows, 2 where the rows
//     alone fill the card.
// CPU twin: arithmetic::product.

#include "segments.cuh"

typedef FORMAT Format;

template <int COUNT>
struct Dots {
    static constexpr int ROWS = COUNT;
    static constexpr int STRIDE = WARP;
    static constexpr int TURNS = COUNT == 1 ? 2 : 1;
    static constexpr int BUFFERS = 2;
    typedef Staged<COUNT> Shared;

    static __device__ __forceinline__ void segment(Shared& own, const Matrix& m, int group, int segment,
                                                   const Activations& x, int first_row, int rows, bool fine,
                                                   float* out) {
        const int lane = threadIdx.x;
        float sums[COUNT];
        add_segment<Format, COUNT>(m, group, segment, lane, own, x, first_row, rows, fine, sums);
#pragma unroll
        for (int r = 0; r < COUNT; ++r) out[r * STRIDE + lane] = sums[r];
    }
};

#define PRODUCT(COUNT, THREADS)                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) product_##COUNT(PRODUCT_PARAMETERS) {                     \
        product<Dots<COUNT>>(a, b, c, blocks, x, rows, activation, out, faults);                                       \
    }

// As many warps as gpu-agent/src/backend/cuda/launch.rs has at most.
#if DOT == 4
PRODUCT(1, 640)
PRODUCT(2, 512)
PRODUCT(8, 256)
#else
PRODUCT(1, 384)
#endif
PRODUCT(4, DOT == 1 ? 256 : 384)
