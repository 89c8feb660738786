/*
 * The Internet checksum's sum (RFC 1071). The sum of 16-bit words is the same, up to the order of its octets,
 * whichever order each word is read in, and 16-bit carries may be added late; so the kernels add native 64-bit
 * words and the result is folded and turned round once.
 */
#include "shim.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static uint64_t add_carry(uint64_t sum, uint64_t value) {
  sum += value;
  return sum + (sum < value);
}

/** Adds fewer than 8 octets as the leading octets of a 64-bit word in memory order. */
static uint64_t add_tail(uint64_t sum, const uint8_t *p, size_t length) {
  uint64_t word = 0;
  memcpy(&word, p, length);
  return add_carry(sum, word);
}

static uint64_t sum_portable(const uint8_t *p, size_t length, uint64_t sum) {
  uint64_t other = 0, w[4];
  for (; length >= 32; p += 32, length -= 32) {
    memcpy(w, p, 32);
    sum = add_carry(sum, w[0]);
    other = add_carry(other, w[1]);
    sum = add_carry(sum, w[2]);
    other = add_carry(other, w[3]);
  }
  sum = add_carry(sum, other);
  for (; length >= 8; p += 8, length -= 8) {
    memcpy(w, p, 8);
    sum = add_carry(sum, w[0]);
  }
  return add_tail(sum, p, length);
}

static uint64_t (*sum_kernel)(const uint8_t *p, size_t length, uint64_t sum) = sum_portable;

#if defined(__x86_64__)
/** Each 32-bit half goes to a 64-bit lane, which no arena can make overflow. */
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *p, size_t length, uint64_t sum) {
  if (length >= 128) {
    const __m256i low = _mm256_set1_epi64x(0xffffffff);
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (; length >= 64; p += 64, length -= 64) {
      __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
      __m256i u = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
      a = _mm256_add_epi64(a, _mm256_and_si256(v, low));
      b = _mm256_add_epi64(b, _mm256_srli_epi64(v, 32));
      c = _mm256_add_epi64(c, _mm256_and_si256(u, low));
      d = _mm256_add_epi64(d, _mm256_srli_epi64(u, 32));
    }
    uint64_t lanes[4];
    a = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
    _mm256_storeu_si256((__m256i *)(void *)lanes, a);
    /* Dirty upper halves slow down every SSE instruction after this; gcc does not clear them before a tail call. */
    _mm256_zeroupper();
    for (int i = 0; i < 4; i++) sum = add_carry(sum, lanes[i]);
  }
  return sum_portable(p, length, sum);
}
#endif

void checksum_start(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) sum_kernel = sum_avx2;
#endif
}

static uint32_t fold(uint64_t sum) {
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffffffffu) + (sum >> 32);
  uint32_t s = ((uint32_t)sum & 0xffffu) + ((uint32_t)sum >> 16);
  return (s & 0xffffu) + (s >> 16);
}

int32_t shim_checksum(const int32_t *a) {
  int32_t at = a[0], length = a[1];
  if (!inside(at, length)) return -EINVAL;
  uint32_t sum = fold(sum_kernel(arena.data + at, (size_t)length, 0));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  sum = ((sum & 0xffu) << 8) | (sum >> 8);
#endif
  return (int32_t)fold((uint64_t)sum + (uint32_t)a[2]);
}
