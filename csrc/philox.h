/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011), a group of
 * PHILOX_LANES blocks at a time, or PHILOX_SIDE groups side by side.
 *
 * A block is four 32-bit words, the bijection of counter (block, draw) under key seed, 64 bits each, low half first.
 * Word i of a draw is word i % 4 of block i / 4; a 64-bit number takes two words, low first. The integers are the same
 * on every instruction set, and where a share begins does not matter. */
#ifndef FN_PHILOX_H
#define FN_PHILOX_H
#include "intrin.h"
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define PHILOX_LANES 8
#elif defined(__AVX2__)
#define PHILOX_LANES 4
#else
#define PHILOX_LANES 2
#endif
#define PHILOX_WORDS (4 * PHILOX_LANES)      /* 32-bit words of a group */
#define PHILOX_SIDE 2
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

/* The high halves of the lanes, low, with dirt above. Where there is a shuffle: shifts crowd the port of the products. */
static inline philox_v philox_high(philox_v a) {
#if defined(__AVX512F__)
    return (philox_v)_mm512_shuffle_epi32((__m512i)a, _MM_PERM_DDBB);
#elif defined(__AVX2__)
    return (philox_v)_mm256_shuffle_epi32((__m256i)a, _MM_SHUFFLE(3, 3, 1, 1));
#elif defined(__SSE2__)
    return (philox_v)_mm_shuffle_epi32((__m128i)a, _MM_SHUFFLE(3, 3, 1, 1));
#else
    return a >> 32;
#endif
}

/* x[g][w], low halves: word w of the blocks of group g, one a lane; the first is block. High halves are dirt.
 * A round waits for the products of the one before, so that one group alone leaves half of the time unused. */
static PHILOX_INLINE void philox_groups(philox_v x[][4], int groups, uint64_t seed, uint64_t draw, uint64_t block) {
    philox_v lane;
    for (int i = 0; i < PHILOX_LANES; i++) lane[i] = (uint64_t)i;
    for (int g = 0; g < groups; g++) {
        x[g][0] = lane + (block + (uint64_t)(g * PHILOX_LANES)), x[g][1] = x[g][0] >> 32;
        x[g][2] = (philox_v){0} + draw, x[g][3] = x[g][2] >> 32;
    }
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9, k1 += 0xbb67ae85)
        for (int g = 0; g < groups; g++) {
            const philox_v p0 = philox_mul(x[g][0], 0xd2511f53), p1 = philox_mul(x[g][2], 0xcd9e8d57);
            x[g][0] = philox_high(p1) ^ x[g][1] ^ k0;
            x[g][1] = p1;
            x[g][2] = philox_high(p0) ^ x[g][3] ^ k1;
            x[g][3] = p0;
        }
}
static PHILOX_INLINE void philox(philox_v x[4], uint64_t seed, uint64_t draw, uint64_t block) {
    philox_groups((philox_v(*)[4])x, 1, seed, draw, block);
}

/* Lanes of two words, low and high. */
static inline philox_v philox_pair(philox_v low, philox_v high) {
#if defined(__AVX512F__)
    return (philox_v)_mm512_mask_shuffle_epi32((__m512i)low, 0xaaaa, (__m512i)high, _MM_PERM_CCAA);
#elif defined(__AVX2__)
    return (philox_v)_mm256_blend_epi32((__m256i)low, _mm256_slli_epi64((__m256i)high, 32), 0xaa);
#else
    return (low & 0xffffffff) | (high << 32);
#endif
}

/* The words of a group in order */
static PHILOX_INLINE void philox_order(uint32_t *w, const philox_v x[4]) {
    philox_v low, high;
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
/* The PHILOX_WORDS words from word 4*block on, in order. */
static PHILOX_INLINE void philox_words(uint32_t *w, uint64_t seed, uint64_t draw, uint64_t block) {
    philox_v x[4];
    philox(x, seed, draw, block);
    philox_order(w, x);
}

/* hit[i] = 1 where word 4*block + i is below p 2^32, which has probability p, else 0; `groups` of PHILOX_WORDS. */
static PHILOX_INLINE void philox_hits(uint8_t *hit, int groups, double p, uint64_t seed, uint64_t draw, uint64_t block) {
    typedef uint32_t words __attribute__((vector_size(8 * PHILOX_LANES)));
    const uint32_t below = (uint32_t)(p < 1 ? p * 0x1p32 : 0), last = below - 1;
    const uint8_t one = p >= 1 || below;     /* no word is below 0, yet all are at most 0 - 1 */
    philox_v x[PHILOX_SIDE][4];
    words w[2 * PHILOX_SIDE];
    philox_groups(x, groups, seed, draw, block);
    for (int g = 0; g < groups; g++) philox_order((uint32_t *)(w + 2 * g), x[g]);
    for (int g = 0; g < groups; g++) {
        uint8_t *const to = hit + g * PHILOX_WORDS;
#if defined(__AVX512F__)
        for (int k = 0; k < 2; k++) {
            const __mmask16 at = _mm512_cmple_epu32_mask((__m512i)w[2 * g + k], _mm512_set1_epi32((int)last));
            _mm_storeu_si128((__m128i *)(to + 16 * k), _mm_maskz_mov_epi8(at, _mm_set1_epi8((char)one)));
        }
#elif defined(__AVX2__)
        const __m256i at = _mm256_packs_epi32((__m256i)(w[2 * g] <= last), (__m256i)(w[2 * g + 1] <= last)), in_order = _mm256_permute4x64_epi64(at, 0xd8);
        const __m128i b = _mm_packs_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1));
        _mm_storeu_si128((__m128i *)to, _mm_and_si128(b, _mm_set1_epi8((char)one)));
#elif defined(__SSE2__)
        const __m128i at = _mm_packs_epi32((__m128i)(w[2 * g] <= last), (__m128i)(w[2 * g + 1] <= last));
        _mm_storel_epi64((__m128i *)to, _mm_and_si128(_mm_packs_epi16(at, at), _mm_set1_epi8((char)one)));
#else
        for (int i = 0; i < PHILOX_WORDS; i++) to[i] = ((const uint32_t *)(w + 2 * g))[i] <= last ? one : 0;
#endif
    }
}
static PHILOX_INLINE void philox_below(uint8_t *hit, double p, uint64_t seed, uint64_t draw, uint64_t block) {
    philox_hits(hit, 1, p, seed, draw, block);
}
#endif
