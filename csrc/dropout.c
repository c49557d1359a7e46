/* y = x mask / (1 - p): each mask element is 1 with probability 1 - p, drawn as bernoulli is (philox.h), and serves `run`
 * neighbouring elements of x. The factor is 0 or 1 / (1 - p), so what is not finite in x stays so. */
#include "kernel.h"
#include "philox.h"

#define CHUNK 1024                           /* mask elements drawn before they are used; a multiple of PHILOX_WORDS */

typedef uint8_t bytes __attribute__((vector_size(FN_VBYTES / sizeof(fn_t))));

FN_INLINE vec factor(bytes b, fn_t scale) { return (vec)(-__builtin_convertvector(b, mask) & (mask)v_set1(scale)); }

/* y[0..n) = x mask scale, one mask element each */
static void masked(fn_t *y, const fn_t *x, const uint8_t *mask_of, fn_t scale, int64_t n) {
    for (int64_t i = 0; i < n; i += FN_VL) {
        const int m = n - i < FN_VL ? (int)(n - i) : FN_VL;
        bytes b = {0};
        if (m == FN_VL) {
            memcpy(&b, mask_of + i, sizeof b);
            v_store(y + i, v_load(x + i) * factor(b, scale));
        } else {
            memcpy(&b, mask_of + i, (size_t)m);
            v_store_n(y + i, v_load_n(x + i, m) * factor(b, scale), m);
        }
    }
}

/* The same where one mask element serves `run` neighbours. */
static void masked_runs(fn_t *y, const fn_t *x, const uint8_t *mask_of, fn_t scale, int64_t n, int64_t run) {
    for (int64_t k = 0; k < n; k++) {
        const fn_t f = mask_of[k] ? scale : 0;
        for (int64_t i = k * run; i < (k + 1) * run; i++) y[i] = x[i] * f;
    }
}

static void apply(fn_t *y, const fn_t *x, const uint8_t *mask_of, fn_t scale, int64_t lo, int64_t hi, int64_t run) {
    if (run == 1) masked(y + lo, x + lo, mask_of + lo, scale, hi - lo);
    else masked_runs(y + lo * run, x + lo * run, mask_of + lo, scale, hi - lo, run);
}

FN_KERNEL(dropout_fwd) {
    const fn_dropout_args *a = args;
    const uint64_t seed = a->rng[0], draw = a->rng[1] + (uint64_t)a->offset;
    const double p = 1 - a->p;
    const int64_t run = a->run, chunk = run == 1 ? CHUNK : PHILOX_WORDS;
    uint8_t *keep = a->mask;
    int64_t lo, hi;
    fn_share(a->n / run, chunk, t, &lo, &hi);
    for (int64_t i = lo, end; i < hi; i = end) {
        end = hi - i < chunk ? hi : i + chunk;
        int64_t j = i;
        for (; j + PHILOX_WORDS <= end; j += PHILOX_WORDS) philox_below(keep + j, p, seed, draw, (uint64_t)j / 4);
        if (j < end) {
            uint8_t rest[PHILOX_WORDS];
            philox_below(rest, p, seed, draw, (uint64_t)j / 4);
            memcpy(keep + j, rest, (size_t)(end - j));
        }
        apply(a->y, a->x, keep, (fn_t)(1 / p), i, end, run);
    }
}

/* dx = dy mask / (1 - p) */
FN_KERNEL(dropout_bwd) {
    const fn_dropout_args *a = args;
    int64_t lo, hi;
    fn_share(a->n / a->run, 64, t, &lo, &hi);
    apply(a->y, a->x, a->mask, (fn_t)(1 / (1 - a->p)), lo, hi, a->run);
}
