// Attention over the paged cache, and what writes the cache.
//
// rotate_store
//   operation: normalises heads of queries and keys (where weights are given), rotates them, writes the queries back and
//     keys and values into the cache as halves.
//     A key or value that a half does not hold is noted in faults.
//   shapes: queries [rows, heads * size]; faults [rows]; new_keys, new_values [rows, kv_heads * size]; positions, slots [rows], slot =
//     block * 16 + place;
//     angles [position, rotated / 2, (cos, sin)]; keys, values as attention.cuh lays them.
//   launch: grid (rows, ceil((heads + 2 * kv_heads) / 4)), block (32, 4), dynamic shared memory 4 * size floats.
//   bank conflicts: two lanes to a bank where a lane takes two neighbours of an adjacent pair (words 2 * lane), and where it
//     packs eight (words 8 * lane of 8 to 16 lanes): one pass more for a request, 52 in all for a head of 64, of a kernel whose
//     time is that of its loads from global memory, one after the other.
//   CPU twin: arithmetic::rms_norm and arithmetic::rotate_pair.
// attend_chunk_{1,2,4}
//   operation: one query row a sequence, one chunk of 64 positions: largest score, sum of weights, weighted values.
//   shapes: queries as above; rows, sequences [items]; block_offsets [sequences + 1] into tables; sums
//     [items, heads, chunks, size], stats [items, heads, chunks, (largest, total)].
//   launch: grid (chunks, kv_heads, items), block (128), dynamic shared memory group * (size + 64) floats, group =
//     heads / kv_heads; the number in the name is how many queries a thread takes at a time.
// attend_combine
//   operation: combines the chunks of each head in order; out = sums / total, as floats or, where size is a multiple of
//     32, quantised. launch: grid (heads, items), block (size rounded up to 32).
// attend_rows
//   operation: the same for many query rows of one sequence: a block takes 16 (row, head of the group) pairs and all
//     chunks in order.
//   shapes: tiles [tiles, 2]: sequence, first pair; starts [sequences + 1]: rows of the sequence; out
//     [rows, heads * size].
//   launch: grid (tiles, kv_heads), block (128), dynamic shared memory 16 * (2 * size + 64) floats.
//   CPU twin: arithmetic::attend.

#include "attention.cuh"

#define PAIRS_ADJACENT 0
// The smallest magnitude that a half rounds to infinity.
#define LARGEST_HALF 65520.0f

// The partial sums i mod 128 of one head's squares lie at lanes i mod 32, in up to four registers.
__device__ __forceinline__ float head_norm_scale(const float* head, int size, float epsilon, int lane) {
    float partial[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        partial[i] = 0.0f;
        for (int e = lane + i * WARP; e < size; e += STRIDES) partial[i] = partial[i] + head[e] * head[e];
    }
    return norm_scale(warp_tree((partial[0] + partial[2]) + (partial[1] + partial[3])), size, epsilon);
}

extern "C" __global__ void __launch_bounds__(128, 4)
    rotate_store(float* queries, const float* new_keys, const float* new_values, int heads, int kv_heads, int size, const float* query_norm, const float* key_norm,
                 float epsilon, const float* angles, int rotated, int pairs, const u32* positions, const u32* slots,
                 u16* keys, u16* values, u32* faults) {
    float* const shared = (float*)dynamic_shared;
    const int row = blockIdx.x, lane = threadIdx.x;
    const int which = blockIdx.y * blockDim.y + threadIdx.y;
    if (which >= heads + 2 * kv_heads) return;
    const bool is_query = which < heads, is_value = which >= heads + kv_heads;
    const int kv_head = which - heads - (is_value ? kv_heads : 0);
    const float* const from = is_query ? queries + ((u64)row * heads + which) * size
                                       : (is_value ? new_values : new_keys) + ((u64)row * kv_heads + kv_head) * size;
    float* const head = shared + threadIdx.y * size;
    const float* const norm = is_value ? nullptr : is_query ? query_norm : key_norm;
    const float scale = norm ? head_norm_scale(from, size, epsilon, lane) : 0.0f;
    for (int e = lane; e < size; e += WARP) head[e] = norm ? (from[e] * scale) * norm[e] : from[e];
    __syncwarp();
    if (!is_value) {
        const float2* const turn = (const float2*)angles + (u64)positions[row] * (rotated / 2);
        for (int pair = lane; pair < rotated / 2; pair += WARP) {
            const int first = pairs == PAIRS_ADJACENT ? 2 * pair : pair;
            const int second = pairs == PAIRS_ADJACENT ? first + 1 : first + rotated / 2;
            const float a = head[first], b = head[second];
            head[first] = a * turn[pair].x - b * turn[pair].y;
            head[second] = a * turn[pair].y + b * turn[pair].x;
        }
        __syncwarp();
    }
    if (is_query) {
        for (int e = lane; e < size; e += WARP) queries[((u64)row * heads + which) * size + e] = head[e];
        return;
    }
    const u32 slot = slots[row];
    const int place = slot % BLOCK_POSITIONS;
    const u64 block = ((u64)(slot / BLOCK_POSITIONS) * kv_heads + kv_head) * BLOCK_POSITIONS * size;
    for (int eight = lane; eight < size / 8; eight += WARP) {
        u32 packed[4];
#pragma unroll
        for (int i = 0; i < 8; ++i) note_beyond(head[eight * 8 + i], LARGEST_HALF, faults + row);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            packed[i] = float_to_half(head[eight * 8 + 2 * i]) | (u32)float_to_half(head[eight * 8 + 2 * i + 1]) << 16;
        u16* const to = is_value ? values + block + place * size + eight * 8
                                 : keys + block + (eight * BLOCK_POSITIONS + place) * 8;
        *(uint4*)to = make_uint4(packed[0], packed[1], packed[2], packed[3]);
    }
}

template <int QUERIES>
__device__ __forceinline__ void attend_chunk(const float* all_queries, int heads, Head head, const u32* rows,
                                             const u32* sequences, const u32* positions, const u32* tables,
                                             const u32* block_offsets, int window, Scoring scoring, int chunks,
                                             float* sums, float* stats) {
    float* const shared = (float*)dynamic_shared;
    const int chunk = blockIdx.x, item = blockIdx.z, thread = threadIdx.x;
    head.head = blockIdx.y;
    const u32 row = rows[item];
    const Visible visible = Visible::in_chunk(positions[row], window, chunk);
    if (visible.end <= visible.start) return;
    head.table = tables + block_offsets[sequences[item]];
    const int group = heads / head.heads, first_head = head.head * group;
    float* const queries = shared;
    float* const scores = shared + group * head.size;
    for (int e = thread; e < group * head.size; e += ATTENTION_THREADS)
        queries[e] = all_queries[((u64)row * heads + first_head) * head.size + e];
    __syncthreads();

    const int t = thread % CHUNK, part = thread / CHUNK;
    if (t >= visible.start && t < visible.end) {
#pragma unroll 1
        for (int g = part; g < group; g += 2 * QUERIES) {
            float chains[QUERIES][4];
            // A query beyond the last is computed as the last one, and not kept.
            score<QUERIES>(head, chunk * CHUNK + t,
                           [&](int i) { return queries + min(g + 2 * i, group - 1) * head.size; }, chains);
#pragma unroll
            for (int i = 0; i < QUERIES; ++i)
                if (g + 2 * i < group) scores[(g + 2 * i) * CHUNK + t] = scoring.finish(chains[i]);
        }
    }
    __syncthreads();
    const u64 out = ((u64)item * heads + first_head) * chunks + chunk;
    for (int g = thread / WARP; g < group; g += ATTENTION_THREADS / WARP) {
        const Weights weights = weigh(scores + g * CHUNK, visible, thread % WARP);
        if (thread % WARP == 0) *(float2*)(stats + (out + (u64)g * chunks) * 2) = make_float2(weights.largest, weights.total);
    }
    __syncthreads();
    const int pairs = head.size / 2, subsets = ATTENTION_THREADS / pairs;
    const int pair = thread % pairs, subset = thread / pairs;
    if (subset >= subsets) return;
#pragma unroll 1
    for (int g = subset; g < group; g += subsets * QUERIES) {
        float found[QUERIES][2];
        weighted_values<QUERIES>(
            head, chunk, pair, [&](int i) { return scores + min(g + i * subsets, group - 1) * CHUNK; }, visible,
            [](int, int) { return true; }, found);
#pragma unroll
        for (int i = 0; i < QUERIES; ++i)
            if (g + i * subsets < group)
                *(float2*)(sums + (out + (u64)(g + i * subsets) * chunks) * head.size + 2 * pair) =
                    make_float2(found[i][0], found[i][1]);
    }
}

#define ATTEND_CHUNK(QUERIES)                                                                                        \
    extern "C" __global__ void __launch_bounds__(128, 4) attend_chunk_##QUERIES(                                        \
        const float* queries, int heads, int kv_heads, int size, const u16* keys, const u16* values, const u32* rows,\
        const u32* sequences, const u32* positions, const u32* tables, const u32* block_offsets, int window,         \
        float scale, float cap, int chunks, float* sums, float* stats) {                                             \
        attend_chunk<QUERIES>(queries, heads, {keys, values, nullptr, kv_heads, 0, size}, rows, sequences, positions,    \
                              tables, block_offsets, window, {scale, cap}, chunks, sums, stats);                     \
    }

ATTEND_CHUNK(1)
ATTEND_CHUNK(2)
ATTEND_CHUNK(4)

// What two runs of chunks weigh against each other: factors of the one before and of the next.
struct Factors {
    float before, next, largest;

    static __device__ __forceinline__ Factors of(float before, float next) {
        const float largest = next > before ? next : before;
        return {exponential(before - largest), exponential(next - largest), largest};
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    attend_combine(int heads, int size, const u32* rows, const u32* positions, int window, int chunks,
                   const float* sums, const float* stats, float* out, ActivationsOut quantised, u32* faults) {
    const int head = blockIdx.x, item = blockIdx.y, e = threadIdx.x;
    const u32 row = rows[item];
    const int position = positions[row];
    const int first = window > 0 ? max(0, position + 1 - window) / CHUNK : 0, last = position / CHUNK;
    const u64 at = ((u64)item * heads + head) * chunks;
    const bool present = e < size;
    float largest = stats[(at + first) * 2], total = stats[(at + first) * 2 + 1];
    float sum = present ? sums[(at + first) * size + e] : 0.0f;
#pragma unroll 1
    for (int chunk = first + 1; chunk <= last; ++chunk) {
        const float2 next = *(const float2*)(stats + (at + chunk) * 2);
        const Factors factors = Factors::of(largest, next.x);
        largest = factors.largest;
        total = total * factors.before + next.y * factors.next;
        if (present) sum = sum * factors.before + sums[(at + chunk) * size + e] * factors.next;
    }
    const float value = sum * (1.0f / total);
    const u64 column = ((u64)row * heads + head) * size + e;
    if (quantised.quants)
        store_group(quantised, column / WARP, e % WARP, value, faults + row);
    else if (present)
        out[column] = value;
}

#define TILE 16
#define TILE_HALF (TILE / 2)

extern "C" __global__ void __launch_bounds__(128, 4)
    attend_rows(const float* all_queries, int heads, int kv_heads, int size, const u16* keys, const u16* values,
                const u32* tiles, const u32* starts, const u32* positions, const u32* tables, const u32* block_offsets,
                int window, float scale, float cap, float* out) {
    float* const shared = (float*)dynamic_shared;
    __shared__ float largest[TILE], total[TILE], before[TILE], next[TILE];
    const int thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    const u32 sequence = tiles[blockIdx.x * 2], first_pair = tiles[blockIdx.x * 2 + 1];
    const Head head = {keys, values, tables + block_offsets[sequence], kv_heads, (int)blockIdx.y, size};
    const Scoring scoring = {scale, cap};
    const int group = heads / kv_heads;
    const u32 start = starts[sequence];
    const int count = min(TILE, (int)(starts[sequence + 1] - start) * group - (int)first_pair);
    float* const queries = shared;
    float* const running = shared + TILE * size;
    float* const scores = running + TILE * size;
    const auto row_of = [&](int i) { return start + (first_pair + i) / group; };
    const auto head_of = [&](int i) { return head.head * group + (int)(first_pair + i) % group; };
    const auto see = [&](int i, int chunk) { return Visible::in_chunk(positions[row_of(i)], window, chunk); };

    for (int at = thread; at < count * size; at += ATTENTION_THREADS) {
        const int i = at / size;
        queries[at] = all_queries[((u64)row_of(i) * heads + head_of(i)) * size + at % size];
        running[at] = 0.0f;
    }
    const int last_position = positions[row_of(count - 1)], first_position = positions[row_of(0)];
    const int from = window > 0 ? max(0, first_position + 1 - window) / CHUNK : 0;
#pragma unroll 1
    for (int chunk = from; chunk <= last_position / CHUNK; ++chunk) {
        // What the first row sees begins first, and what the last one sees ends last.
        const Visible any = {see(0, chunk).start, see(count - 1, chunk).end};
        __syncthreads();
        const int t = thread % CHUNK, part = thread / CHUNK;
        if (t >= any.start && t < any.end && part * TILE_HALF < count) {
            float chains[TILE_HALF][4];
            score<TILE_HALF>(head, chunk * CHUNK + t,
                             [&](int i) { return queries + min(part * TILE_HALF + i, count - 1) * size; }, chains);
#pragma unroll
            for (int i = 0; i < TILE_HALF; ++i)
                if (part * TILE_HALF + i < count)
                    scores[(part * TILE_HALF + i) * CHUNK + t] = scoring.finish(chains[i]);
        }
        __syncthreads();
        for (int i = warp; i < count; i += ATTENTION_THREADS / WARP) {
            const Visible own = see(i, chunk);
            if (own.end <= own.start) {
                // The chunk does not count for this query.
                if (lane == 0) before[i] = 1.0f, next[i] = -1.0f;
                continue;
            }
            const Weights weights = weigh(scores + i * CHUNK, own, lane);
            const int position = positions[row_of(i)];
            const int first_chunk = window > 0 ? max(0, position + 1 - window) / CHUNK : 0;
            if (lane != 0) continue;
            if (chunk == first_chunk) {
                before[i] = 0.0f, next[i] = 1.0f;
                largest[i] = weights.largest, total[i] = weights.total;
            } else {
                const Factors factors = Factors::of(largest[i], weights.largest);
                before[i] = factors.before, next[i] = factors.next;
                largest[i] = factors.largest;
                total[i] = total[i] * factors.before + weights.total * factors.next;
            }
        }
        __syncthreads();
        const int pairs = size / 2, subsets = ATTENTION_THREADS / pairs;
        const int pair = thread % pairs, subset = thread / pairs;
        if (subset >= subsets) continue;
#pragma unroll 1
        for (int i = subset; i < count; i += subsets * 4) {
            float found[4][2];
            Visible own[4];
#pragma unroll
            for (int q = 0; q < 4; ++q) own[q] = see(min(i + q * subsets, count - 1), chunk);
            weighted_values<4>(
                head, chunk, pair, [&](int q) { return scores + min(i + q * subsets, count - 1) * CHUNK; }, any,
                [&](int q, int t) { return t >= own[q].start && t < own[q].end; }, found);
#pragma unroll
            for (int q = 0; q < 4; ++q) {
                const int query = i + q * subsets;
                if (query >= count || next[query] < 0.0f) continue;
                float2* const kept = (float2*)(running + query * size + 2 * pair);
                const float2 was = *kept;
                *kept = make_float2(was.x * before[query] + found[q][0] * next[query],
                                    was.y * before[query] + found[q][1] * next[query]);
            }
        }
    }
    __syncthreads();
    for (int at = thread; at < count * size; at += ATTENTION_THREADS) {
        const int i = at / size;
        out[((u64)row_of(i) * heads + head_of(i)) * size + at % size] = running[at] * (1.0f / total[i]);
    }
}
