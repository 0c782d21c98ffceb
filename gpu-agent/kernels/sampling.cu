// From logits to tokens, one block a row, so that only ids cross the bus.
//
// soft_cap
//   operation: x = cap * tanh(x / cap). shapes: x [count]. launch: grid (ceil(count / 256)), block (256).
// sample
//   operation: the next token of each row by its specification: mask, penalties, the likeliest where the temperature is 0,
//     else top-k, min-p, top-p and a draw; and what its log-probability is made of.
//   shapes: logits [rows, vocabulary]; scratch [rows, vocabulary] floats; specs [rows]; seen: (token, count) pairs of all
//     rows; masks [.., ceil(vocabulary / 32)]; out [rows].
//   launch: grid (rows), block (1024).
//   CPU twin: the sampler of docs/arithmetic.md, section 8.
//
// Weights become integers, so that sums of them are exact in any order. Candidates are ordered by one 64-bit key: the logit,
// largest first, then the id. A set "the first candidates whose weights reach a sum" is found by its last key, eight bits at
// a time: a histogram of weights over the next byte of the keys, then the bin in which the sum is reached.

#include "arithmetic.cuh"

#define SAMPLE_THREADS 1024
#define BINS 256

struct Spec {
    float inverse_temperature;  // 0: the likeliest token
    u32 top_p;                  // in 2^-32ths of the mass; 0 with all_p
    u64 min_p;                  // the least mass
    u64 random;                 // uniform
    u32 top_k;                  // 0: all
    u32 mask;                   // row of masks; the largest value: all tokens are allowed
    u32 seen_start, seen_count;
    float repetition, presence, frequency;
    u32 all_p;                  // whether top-p keeps all
};

struct Seen {
    u32 token;
    u32 completion;  // how often the completion has it
};

struct Sample {
    u32 token;
    u32 bad;         // whether a logit was NaN or +infinity: there is no token then
    float logit;     // of the token, as it was before penalties
    float largest;   // of all logits, as they were
    u64 mass;        // sum of all weights e^(logit - largest), in units of 2^-40
};

extern "C" __global__ void __launch_bounds__(256) soft_cap(float* x, float cap, u64 count) {
    const u64 at = (u64)blockIdx.x * 256 + threadIdx.x;
    if (at < count) x[at] = hyperbolic_tangent(x[at] / cap) * cap;
}

#define ALL 0xffffffffu
#define NO_KEY 0xffffffffffffffffull

// Ascending keys are descending logits, then ascending ids.
__device__ __forceinline__ u64 key_of(float logit, u32 token) {
    const u32 bits = __float_as_uint(logit == 0.0f ? 0.0f : logit);
    const u32 ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (u64)~ascending << 32 | token;
}

// 2^40 * e^x, rounded down, for x <= 0: 2^20 of them fit 61 bits. NaN has none.
__device__ __forceinline__ u64 mass_of(float x) {
    return x >= -28.0f ? __float2ull_rz(exponential(x) * 1099511627776.0f) : 0;
}

template <class Combine>
__device__ __forceinline__ u64 block_reduce(u64 value, u64* shared, Combine combine) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value = combine(value, __shfl_xor_sync(FULL_MASK, value, distance));
    __syncthreads();
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = value;
    __syncthreads();
    value = shared[threadIdx.x % WARP];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value = combine(value, __shfl_xor_sync(FULL_MASK, value, distance));
    return value;
}

__device__ __forceinline__ u64 smaller(u64 a, u64 b) { return a < b ? a : b; }
__device__ __forceinline__ u64 sum(u64 a, u64 b) { return a + b; }

struct Row {
    const float* logits;  // after penalties; -infinity where a token is not allowed
    int vocabulary;
    float largest;
    float inverse_temperature;
    u64 min_p;

    // What a candidate weighs in the draw; 0 for what min-p or the mask takes out.
    __device__ __forceinline__ u64 mass(float logit) const {
        const u64 mass = mass_of((logit - largest) * inverse_temperature);
        return mass >= min_p ? mass : 0;
    }
};

// The last key of the smallest prefix, in order of keys up to `last`, whose weights sum to at least `wanted` >= 1; `last` if
// all of them do not reach it.
template <class Weigh>
__device__ __forceinline__ u64 prefix_end(const Row& row, u64 last, u64 wanted, u64* histogram, u64* found, Weigh weigh) {
    u64 prefix = 0;
#pragma unroll 1
    for (int shift = 56; shift >= 0; shift -= 8) {
        if (threadIdx.x < BINS) histogram[threadIdx.x] = 0;
        __syncthreads();
        for (int token = threadIdx.x; token < row.vocabulary; token += SAMPLE_THREADS) {
            const float logit = row.logits[token];
            const u64 key = key_of(logit, token);
            if (key > last || (shift < 56 && key >> (shift + 8) != prefix)) continue;
            const u64 weight = weigh(logit);
            if (weight) atomicAdd(&histogram[key >> shift & (BINS - 1)], weight);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            u64 before = 0;
            int bin = 0;
            while (bin < BINS && before + histogram[bin] < wanted) before += histogram[bin++];
            found[0] = bin;
            found[1] = before;
        }
        __syncthreads();
        if (found[0] == BINS) return last;
        prefix = prefix << 8 | found[0];
        wanted -= found[1];
        __syncthreads();
    }
    return prefix;
}

extern "C" __global__ void __launch_bounds__(1024, 1)
    sample(const float* all_logits, float* all_scratch, int vocabulary, const Spec* specs, const Seen* seen,
           const u32* masks, Sample* out) {
    __shared__ u64 shared[WARP], histogram[BINS], found[2];
    const Spec spec = specs[blockIdx.x];
    const float* const logits = all_logits + (u64)blockIdx.x * vocabulary;
    float* const scratch = all_scratch + (u64)blockIdx.x * vocabulary;
    const float lowest = __uint_as_float(0xff800000u), infinity = __uint_as_float(INFINITY_BITS);
    const int thread = threadIdx.x, words = (vocabulary + 31) / 32;

    // What the logits are, and what penalties apply to.
    u64 best = NO_KEY;
    u64 bad = 0;
    for (int token = thread; token < vocabulary; token += SAMPLE_THREADS) {
        const float logit = logits[token];
        scratch[token] = logit;
        if (logit < infinity) best = smaller(best, key_of(logit, token));
        else bad = 1;
    }
    best = block_reduce(best, shared, smaller);
    bad = block_reduce(bad, shared, sum);
    if (bad || best == NO_KEY || logits[(u32)best] == lowest) {
        if (thread == 0) out[blockIdx.x] = {0, 1, 0.0f, 0.0f, 0};
        return;
    }
    const float largest = logits[(u32)best];
    u64 mass = 0;
    for (int token = thread; token < vocabulary; token += SAMPLE_THREADS)
        mass += mass_of(logits[token] - largest);
    mass = block_reduce(mass, shared, sum);
    for (int index = thread; index < spec.seen_count; index += SAMPLE_THREADS) {
        const Seen one = seen[spec.seen_start + index];
        float logit = logits[one.token];
        logit = logit > 0.0f ? logit / spec.repetition : logit * spec.repetition;
        if (one.completion) {
            logit = logit - spec.presence;
            logit = logit - spec.frequency * (float)one.completion;
        }
        scratch[one.token] = logit;
    }
    __syncthreads();
    if (spec.mask != ALL)
        for (int token = thread; token < vocabulary; token += SAMPLE_THREADS)
            if (!(masks[(u64)spec.mask * words + token / 32] >> (token % 32) & 1)) scratch[token] = lowest;
    __syncthreads();

    best = NO_KEY;
    for (int token = thread; token < vocabulary; token += SAMPLE_THREADS)
        if (scratch[token] > lowest) best = smaller(best, key_of(scratch[token], token));
    best = block_reduce(best, shared, smaller);
    if (best == NO_KEY || scratch[(u32)best] >= infinity) {
        if (thread == 0) out[blockIdx.x] = {0, 1, 0.0f, largest, mass};
        return;
    }
    u32 token = (u32)best;
    if (spec.inverse_temperature > 0.0f) {
        const Row row = {scratch, vocabulary, scratch[token], spec.inverse_temperature, spec.min_p};
        const auto weigh = [&](float logit) { return row.mass(logit); };
        u64 last = NO_KEY;
        if (spec.top_k)
            last = prefix_end(row, last, spec.top_k, histogram, found,
                              [&](float logit) { return logit == lowest ? (u64)0 : (u64)1; });
        const auto kept_mass = [&](u64 last) {
            u64 mass = 0;
            for (int id = thread; id < vocabulary; id += SAMPLE_THREADS)
                if (key_of(scratch[id], id) <= last) mass += row.mass(scratch[id]);
            return block_reduce(mass, shared, sum);
        };
        u64 kept = kept_mass(last);
        if (!spec.all_p) {
            // A share of 64 bits: (kept * top_p) >> 32.
            const u64 wanted = __umul64hi(kept, (u64)spec.top_p << 32);
            last = prefix_end(row, last, wanted ? wanted : 1, histogram, found, weigh);
            kept = kept_mass(last);
        }
        // The draw walks the kept candidates in order of their ids: warps have neighbouring runs of them.
        const u64 target = __umul64hi(spec.random, kept);
        const int run = (vocabulary + SAMPLE_THREADS - 1) / SAMPLE_THREADS * WARP;
        const int warp = thread / WARP, lane = thread % WARP;
        const int from = warp * run, to = min(vocabulary, from + run);
        u64 own = 0;
        for (int id = from + lane; id < to; id += WARP)
            if (key_of(scratch[id], id) <= last) own += row.mass(scratch[id]);
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) own += __shfl_xor_sync(FULL_MASK, own, distance);
        __syncthreads();
        if (lane == 0) shared[warp] = own;
        if (thread == 0) found[0] = token;
        __syncthreads();
        u64 before = 0;
        for (int other = 0; other < warp; ++other) before += shared[other];
        if (target >= before && target < before + own) {
            for (int start = from; start < to; start += WARP) {
                const int id = start + lane;
                const u64 weight = id < to && key_of(scratch[id], id) <= last ? row.mass(scratch[id]) : 0;
                u64 through = weight;
#pragma unroll
                for (int distance = 1; distance < WARP; distance *= 2) {
                    const u64 lower = __shfl_up_sync(FULL_MASK, through, distance);
                    if (lane >= distance) through += lower;
                }
                if (weight && target >= before + through - weight && target < before + through) found[0] = id;
                before += __shfl_sync(FULL_MASK, through, WARP - 1);
            }
        }
        __syncthreads();
        token = (u32)found[0];
    }
    if (thread == 0) out[blockIdx.x] = {token, 0, logits[token], largest, mass};
}
