/* Random numbers from Philox (philox.h): what element i gets depends on the seed, the draw and i alone, not on n or
 * the team. A group is what one call of philox() makes; shares are cut at groups, and the last one is made whole and
 * stored in part. */
#include "kernel.h"
#include "philox.h"
#if FN_REAL
#include "vmath.h"
#endif


#if FN_REAL
#define GROUP (2 * FN_VL)                    /* elements of a group; each takes a word of its own width */

FN_INLINE vec real_of(vbits u) { return __builtin_convertvector((mask)u, vec); }     /* below half the range */
FN_INLINE void store(fn_t *y, vec v, int64_t n) {
    if (n >= FN_VL) v_store(y, v);
    else if (n > 0) v_store_n(y, v, (int)n);
}

/* u = bits / 2^bits cut to the mantissa, in [0, 1);  y = s + (s2 - s) u, below s2 though it may round up to it */
FN_KERNEL(uniform) {
    const fn_random_args *a = args;
    fn_t *y = a->y;
    const uint64_t seed = a->rng[0], draw = a->rng[1] + (uint64_t)a->offset;
    const fn_t s = (fn_t)a->s, end = (fn_t)a->s2;
    const fn_t last = end > s ? (FN_DT == 0 ? (fn_t)nextafterf((float)end, (float)s) : (fn_t)nextafter(end, s)) : s;
    const vec scale = v_set1((fn_t)((a->s2 - a->s) * (FN_DT == 0 ? 0x1p-24 : 0x1p-53)));
    const vec low = v_set1(s), high = v_set1(last);
    int64_t lo, hi;
    fn_share(a->n, GROUP, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i += GROUP) {
        vbits u[2];
        philox_words((uint32_t *)u, seed, draw, (uint64_t)i * sizeof(fn_t) / 16);
        for (int k = 0; k < 2; k++) {
            const vec v = v_fma(real_of(u[k] >> (FN_DT == 0 ? 8 : 11)), scale, low);
            store(y + i + k * FN_VL, v_select(v < high, v, high), hi - i - k * FN_VL);
        }
    }
}

/* Box and Muller: elements 2i and 2i+1 are r cos(angle) and r sin(angle), r = sqrt(-2 log u), u in (0, 1] from the first
 * word, angle = (q + f) pi/2 from the second: q its top two bits, f the others, in [-1/2, 1/2). */
FN_KERNEL(normal) {
    const fn_random_args *a = args;
    fn_t *y = a->y;
    const uint64_t seed = a->rng[0], draw = a->rng[1] + (uint64_t)a->offset;
    const vec mean = v_set1((fn_t)a->s), deviation = v_set1((fn_t)a->s2), half = v_set1((fn_t)0.5), one = v_set1(1);
    const vec unit = v_set1((fn_t)(FN_DT == 0 ? 0x1p-31 : 0x1p-63));
    const vec quarter_turn = unit * v_set1((fn_t)0x1.921fb54442d18p-1);
    int64_t lo, hi;
    fn_share(a->n, GROUP, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i += GROUP) {
        philox_v x[4];
        philox(x, seed, draw, (uint64_t)i * sizeof(fn_t) / 16);
        const int wide = FN_DT == 1;         /* f64 joins words 0 1 and 2 3, f32 keeps 0 2 and 1 3 side by side */
        const vbits w0 = (vbits)philox_pair(x[0], x[wide ? 1 : 2]), w1 = (vbits)philox_pair(x[wide ? 2 : 1], x[3]);

        const vec r = v_sqrt(v_set1(-2) * v_log((real_of(w0 >> 1) + half) * unit));
        const vec f = __builtin_convertvector((mask)(w1 << 2), vec) * quarter_turn, z = f * f;
        const vec sine = v_fma(f * z, v_poly(z, FN_SIN_C), f);
        const vec cosine = v_fma(z * z, v_poly(z, FN_COS_C), one - half * z);
        const mask odd = (mask)(w1 << 1) < 0;
        const vbits sign = (vbits)v_set1((fn_t)-0.0), flip0 = (w1 ^ (w1 << 1)) & sign, flip1 = w1 & sign;
        const vec z0 = (vec)((vbits)(r * v_select(odd, sine, cosine)) ^ flip0);
        const vec z1 = (vec)((vbits)(r * v_select(odd, cosine, sine)) ^ flip1);

        const vec e0 = v_fma(z0, deviation, mean), e1 = v_fma(z1, deviation, mean);
        fn_t e[GROUP];
        for (int j = 0; j < FN_VL; j++) e[2 * j] = e0[j], e[2 * j + 1] = e1[j];
        store(y + i, v_load(e), hi - i);
        store(y + i + FN_VL, v_load(e + FN_VL), hi - i - FN_VL);
    }
}
#endif

/* y = 1 with probability p: a word is below p 2^32; with p an array, its top 24 bits are below p 2^24 */
FN_KERNEL(bernoulli) {
    const fn_random_args *a = args;
    fn_t *y = a->y;
    const uint64_t seed = a->rng[0], draw = a->rng[1] + (uint64_t)a->offset;
    const double chance = a->s;
    int64_t lo, hi;
    fn_share(a->n, PHILOX_WORDS, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i += PHILOX_WORDS) {
        const int64_t m = least(hi - i, PHILOX_WORDS);
#if FN_REAL
        const fn_t *p = a->p;
        if (p) {
            uint32_t w[PHILOX_WORDS];
            philox_words(w, seed, draw, (uint64_t)i / 4);
            for (int64_t j = 0; j < m; j++) y[i + j] = (fn_t)(int32_t)(w[j] >> 8) * (fn_t)0x1p-24 < p[i + j];
            continue;
        }
#endif
        uint8_t hit[PHILOX_WORDS];
        philox_below(hit, chance, seed, draw, (uint64_t)i / 4);
        for (int64_t j = 0; j < m; j++) y[i + j] = hit[j];
    }
}

#if !FN_BOOLEAN
/* The top 64 bits of a b. */
static inline uint64_t times_high(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)a * b >> 64);
}

/* y = k + floor((k2 - k) u / 2^64), u of 64 bits: no value is favoured by more than (k2 - k) / 2^64 */
FN_KERNEL(randint) {
    const fn_random_args *a = args;
    fn_t *y = a->y;
    const uint64_t seed = a->rng[0], draw = a->rng[1] + (uint64_t)a->offset;
    const uint64_t k = (uint64_t)a->k, range = (uint64_t)a->k2 - k;
    int64_t lo, hi;
    fn_share(a->n, PHILOX_WORDS / 2, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i += PHILOX_WORDS / 2) {
        const int64_t m = least(hi - i, PHILOX_WORDS / 2);
        uint64_t u[PHILOX_WORDS / 2];
        philox_words((uint32_t *)u, seed, draw, (uint64_t)i / 2);
        for (int64_t j = 0; j < m; j++) y[i + j] = (fn_t)(int64_t)(k + times_high(range, u[j]));
    }
}

/* Fisher and Yates, inside out: element i goes where one of the first i+1 lay, and that one to i. One rank does it all. */
FN_KERNEL(randperm) {
    const fn_random_args *a = args;
    fn_t *y = a->y;
    const uint64_t seed = a->rng[0], draw = a->rng[1] + (uint64_t)a->offset;
    const int64_t n = t.rank ? 0 : a->n;
    for (int64_t i = 0; i < n; i += PHILOX_WORDS / 2) {
        const int64_t m = least(n - i, PHILOX_WORDS / 2);
        uint64_t u[PHILOX_WORDS / 2];
        philox_words((uint32_t *)u, seed, draw, (uint64_t)i / 2);
        for (int64_t j = 0; j < m; j++) {
            const int64_t at = (int64_t)times_high((uint64_t)(i + j) + 1, u[j]);
            y[i + j] = y[at];
            y[at] = (fn_t)(i + j);
        }
    }
}
#endif
