// Decode attention over a paged cache: one block a head of a sequence, pages of 16 tokens, head dimension 64.
// k, v: [page][16][kv_heads][64]; table: [sequence][pages]; out: [sequence][heads][64].
extern "C" __global__ void __launch_bounds__(64)
attend(float* __restrict__ out, const float* __restrict__ q, const float* __restrict__ k, const float* __restrict__ v,
       const int* __restrict__ table, const int* __restrict__ lengths, int heads, int kv_heads, int pages, float scale) {
  __shared__ float query[64];
  __shared__ float weight[16];
  const int head = blockIdx.x, sequence = blockIdx.y, t = threadIdx.x, kv = head / (heads / kv_heads);
  query[t] = q[((size_t)sequence * heads + head) * 64 + t] * scale;
  __syncthreads();
  float most = -3.0e38f, total = 0.0f, sum = 0.0f;
  const int length = lengths[sequence];
  for (int start = 0; start < length; start += 16) {
    const size_t page = (size_t)table[sequence * pages + start / 16] * 16 * kv_heads * 64;
    const int count = min(16, length - start);
    if (t < 16) {
      float dot = -3.0e38f;
      if (t < count) {
        dot = 0.0f;
        const float4* key = (const float4*)(k + page + ((size_t)t * kv_heads + kv) * 64);
        for (int i = 0; i < 16; ++i) {
          const float4 part = key[i];
          dot += part.x * query[4 * i] + part.y * query[4 * i + 1] + part.z * query[4 * i + 2] + part.w * query[4 * i + 3];
        }
      }
      weight[t] = dot;
    }
    __syncthreads();
    float next = most;
    for (int i = 0; i < count; ++i) next = fmaxf(next, weight[i]);
    const float shrink = __expf(most - next);
    total *= shrink;
    sum *= shrink;
    for (int i = 0; i < count; ++i) {
      const float p = __expf(weight[i] - next);
      total += p;
      sum += p * v[page + ((size_t)i * kv_heads + kv) * 64 + t];
    }
    most = next;
    __syncthreads();
  }
  out[((size_t)sequence * heads + head) * 64 + t] = sum / total;
}
