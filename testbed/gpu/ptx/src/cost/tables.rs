//! The cards. Rates of full chips are those of "CUDA C++ Programming Guide", table "Throughput of Native Arithmetic
//! Instructions", by compute capability; multiprocessors, clocks and bandwidth are from the makers' data sheets. What
//! mining cards are slowed down in is from public measurements, named with each.

use super::card::{Card, Rates};

/// `sm_61`: GP104.
const PASCAL: Rates = Rates {
    integer: 128.0,
    // A 32-bit product is a sequence of 16-bit ones.
    multiply: 32.0,
    dot: 128.0,
    half_dot: 128.0,
    shift: 64.0,
    bits: 32.0,
    convert: 32.0,
    single: 128.0,
    fused: 128.0,
    half: 2.0,
    double: 4.0,
    special: 32.0,
    warp: 32.0,
    memory: 32.0,
    tensor: 0.0,
};

/// `sm_75`.
const TURING: Rates = Rates {
    integer: 64.0,
    multiply: 64.0,
    dot: 64.0,
    half_dot: 64.0,
    shift: 64.0,
    bits: 16.0,
    convert: 16.0,
    single: 64.0,
    fused: 64.0,
    half: 64.0,
    double: 2.0,
    special: 16.0,
    warp: 32.0,
    memory: 16.0,
    tensor: 2_048.0,
};

/// `sm_80`.
const AMPERE_100: Rates = Rates {
    half: 128.0,
    double: 32.0,
    memory: 32.0,
    tensor: 4_096.0,
    ..TURING
};

/// `sm_86` and `sm_89`.
const AMPERE: Rates = Rates {
    single: 128.0,
    fused: 128.0,
    half: 128.0,
    memory: 32.0,
    ..TURING
};

/// `sm_90`.
const HOPPER: Rates = Rates {
    single: 128.0,
    fused: 128.0,
    half: 256.0,
    double: 64.0,
    memory: 32.0,
    tensor: 8_192.0,
    ..TURING
};

/// All cards with a table.
pub const CARDS: [Card; 7] = [
    Card {
        name: "RTX 3090",
        capability: 86,
        multiprocessors: 82,
        gigahertz: 1.70,
        bandwidth: 936.0,
        rates: AMPERE,
        source: "CUDA C++ Programming Guide, throughput table, 8.6; NVIDIA GA102 whitepaper",
    },
    Card {
        name: "RTX 4090",
        capability: 89,
        multiprocessors: 128,
        gigahertz: 2.52,
        bandwidth: 1_008.0,
        rates: AMPERE,
        source: "CUDA C++ Programming Guide, throughput table, 8.9; NVIDIA Ada whitepaper",
    },
    Card {
        name: "H100",
        capability: 90,
        multiprocessors: 132,
        gigahertz: 1.83,
        bandwidth: 3_350.0,
        rates: HOPPER,
        source: "CUDA C++ Programming Guide, throughput table, 9.0; NVIDIA H100 whitepaper (SXM5)",
    },
    Card {
        name: "CMP 50HX",
        capability: 75,
        multiprocessors: 56,
        gigahertz: 1.54,
        bandwidth: 560.0,
        // FMA and dp4a are slow, separate products and sums and dp2a are not; without FMA the card reaches 92 of 104
        // tokens/s.
        rates: Rates {
            fused: 64.0 / 14.0,
            dot: 64.0 / 29.0,
            tensor: 2_048.0 / 200.0,
            ..TURING
        },
        source: "throughput table, 7.5; slow FMA and dp4a: llama.cpp issue 24616; the factors are those measured on the CMP 90HX",
    },
    Card {
        name: "CMP 90HX",
        capability: 86,
        multiprocessors: 50,
        gigahertz: 1.71,
        bandwidth: 760.0,
        rates: Rates {
            fused: 128.0 / 14.0,
            single: 128.0 / 15.0,
            dot: 64.0 / 29.0,
            // Not named among what is at full speed, so taken for as slow as dp4a.
            half_dot: 64.0 / 29.0,
            tensor: 2_048.0 / 200.0,
            ..AMPERE
        },
        source: "throughput table, 8.6; FFMA 14 times, FADD and FMUL 15 times, DP4A 29 times slower: Rhonstin/llama-cpp-cmp90hx",
    },
    Card {
        name: "CMP 170HX",
        capability: 80,
        multiprocessors: 70,
        gigahertz: 1.41,
        bandwidth: 1_493.0,
        // 0.39 TFLOP/s with FMA are 2.0 a clock and multiprocessor; 6.2 with separate products and sums are 62.8.
        rates: Rates {
            fused: 2.0,
            single: 62.8,
            ..AMPERE_100
        },
        source: "throughput table, 8.0; FP32 with FMA 0.39 TF, with separate mul and add 6.2 TF: FluidX3D issue 8",
    },
    Card {
        name: "P104-100",
        capability: 61,
        multiprocessors: 15,
        gigahertz: 1.73,
        bandwidth: 320.0,
        rates: PASCAL,
        source: "CUDA C++ Programming Guide, throughput table, 6.1; GP104 data sheet",
    },
];
