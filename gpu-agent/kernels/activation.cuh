// The gated activations of a feed-forward layer.
#pragma once

#include "arithmetic.cuh"

#define ACTIVATION_SILU 0
#define ACTIVATION_GELU 1

// activation(gate) * up. GELU by tanh, as (1 + tanh u) / 2 = sigmoid(2u).
__device__ __forceinline__ float gated(int activation, float gate, float up) {
    const float inner =
        activation == ACTIVATION_SILU ? gate : (gate * 1.5957692f) * ((gate * gate) * 0.044715f + 1.0f);
    return (gate / (1.0f + exponential(-inner))) * up;
}
