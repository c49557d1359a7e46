/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011), PHILOX_LANES blocks
 * at a time.
 *
 * A block is four 32-bit words, the bijection of counter (block, draw) under key seed, 64 bits each, low half first.
 * Word i of a draw is word i % 4 of block i / 4; a 64-bit number takes two words, low first. The integers are the same
 * on every instruction set, and where a share begins does not matter. */
#ifndef FN_PHILOX_H
#define FN_PHILOX_H
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define PHILOX_LANES 8
#elif defined(__AVX2__)
#define PHILOX_LANES 4
#else
#define PHILOX_LANES 2
#endif
#define PHILOX_WORDS (4 * PHILOX_LANES)      /* 32-bit words of one call */
#define PHILOX_INLINE inline __attribute__((always_inline))

typedef uint64_t philox_v __attribute__((vector_size(8 * PHILOX_LANES)));

/* The 64-bit products of the low halves of the lanes; the high halves may hold anything. */
static inline philox_v philox_mul(philox_v a, uint32_t m) {
    const philox_v b = (philox_v){0} + m;
#if defined(__AVX512F__)
    return (philox_v)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (philox_v)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (philox_v)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif defined(__ARM_NEON)
    return (philox_v)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
    return (a & 0xffffffff) * b;
#endif
}

/* x[w], low halves: word w of blocks block, block + 1, ... one a lane. High halves are dirt. */
static PHILOX_INLINE void philox(philox_v x[4], uint64_t seed, uint64_t draw, uint64_t block) {
    philox_v x0 = (philox_v){0} + block, x1, x2 = (philox_v){0} + draw, x3 = x2 >> 32;
    for (int i = 0; i < PHILOX_LANES; i++) x0[i] += (uint64_t)i;
    x1 = x0 >> 32;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9, k1 += 0xbb67ae85) {
        const philox_v p0 = philox_mul(x0, 0xd2511f53), p1 = philox_mul(x2, 0xcd9e8d57);
        x0 = (p1 >> 32) ^ x1 ^ k0;
        x1 = p1;
        x2 = (p0 >> 32) ^ x3 ^ k1;
        x3 = p0;
    }
    x[0] = x0, x[1] = x1, x[2] = x2, x[3] = x3;
}

/* Lanes of two words, low and high. */
static inline philox_v philox_pair(philox_v low, philox_v high) { return (low & 0xffffffff) | (high << 32); }

/* The PHILOX_WORDS words from word 4*block on, in order. */
static PHILOX_INLINE void philox_words(uint32_t *w, uint64_t seed, uint64_t draw, uint64_t block) {
    philox_v x[4], low, high;
    philox(x, seed, draw, block);
    const philox_v a = philox_pair(x[0], x[1]), b = philox_pair(x[2], x[3]);
#if PHILOX_LANES == 8
    low = (philox_v){a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]};
    high = (philox_v){a[4], b[4], a[5], b[5], a[6], b[6], a[7], b[7]};
#elif PHILOX_LANES == 4
    low = (philox_v){a[0], b[0], a[1], b[1]};
    high = (philox_v){a[2], b[2], a[3], b[3]};
#else
    low = (philox_v){a[0], b[0]};
    high = (philox_v){a[1], b[1]};
#endif
    memcpy(w, &low, sizeof low);
    memcpy(w + PHILOX_WORDS / 2, &high, sizeof high);
}

/* hit[i] = 1 where word 4*block + i is below p 2^32, which has probability p, else 0; PHILOX_WORDS of them. */
static PHILOX_INLINE void philox_below(uint8_t *hit, double p, uint64_t seed, uint64_t draw, uint64_t block) {
    typedef uint32_t words __attribute__((vector_size(8 * PHILOX_LANES)));
    typedef int32_t flags __attribute__((vector_size(8 * PHILOX_LANES)));
    typedef uint8_t bytes __attribute__((vector_size(2 * PHILOX_LANES)));
    const uint32_t below = (uint32_t)(p < 1 ? p * 0x1p32 : 0), always = p >= 1;
    words w[2];
    philox_words((uint32_t *)w, seed, draw, block);
    for (int k = 0; k < 2; k++) {
        const bytes b = __builtin_convertvector((flags)(w[k] < below), bytes) & 1;
        const bytes h = b | (uint8_t)always;
        memcpy(hit + k * PHILOX_WORDS / 2, &h, sizeof h);
    }
}
#endif
