/* y = x mask / (1 - p): each mask element is 1 with probability 1 - p, drawn as bernoulli is (philox.h), and serves `run`
 * neighbouring elements of x. The factor is 0 or 1 / (1 - p), so what is not finite in x stays so. */
#include "kernel.h"
#include "philox.h"

#define AHEAD (PHILOX_SIDE * PHILOX_WORDS)   /* mask elements drawn before they are used */

/* y[0..n) = x mask scale, one mask element each */
FN_INLINE void masked(fn_t *y, const fn_t *x, const uint8_t *keep, fn_t scale, int64_t n) {
    int64_t i = 0;
    for (; i + FN_VL <= n; i += FN_VL) v_store(y + i, v_load(x + i) * v_select(m_bytes(keep + i, FN_VL) != 0, v_set1(scale), v_zero()));
    const int m = (int)(n - i);
    if (m > 0) v_store_n(y + i, v_load_n(x + i, m) * v_select(m_bytes(keep + i, m) != 0, v_set1(scale), v_zero()), m);
}

/* The same where one mask element serves `run` neighbours. */
static void masked_runs(fn_t *y, const fn_t *x, const uint8_t *keep, fn_t scale, int64_t n, int64_t run) {
    for (int64_t k = 0; k < n; k++) {
        const fn_t f = keep[k] ? scale : 0;
        for (int64_t i = k * run; i < (k + 1) * run; i++) y[i] = x[i] * f;
    }
}

FN_KERNEL(dropout_fwd) {
    const fn_dropout_args *a = args;
    const uint64_t seed = a->rng[0], draw = a->rng[1] + (uint64_t)a->offset;
    const double p = 1 - a->p;
    const fn_t scale = (fn_t)(1 / p), *const x = a->x;
    const int64_t run = a->run;
    fn_t *const y = a->y;
    uint8_t *const keep = a->mask;
    int64_t lo, hi;
    fn_share(a->n / run, AHEAD, t, &lo, &hi);
    int64_t i = lo;
    for (; i + AHEAD <= hi; i += AHEAD) {
        philox_hits(keep + i, PHILOX_SIDE, p, seed, draw, (uint64_t)i / 4);
        if (run == 1) masked(y + i, x + i, keep + i, scale, AHEAD);
        else masked_runs(y + i * run, x + i * run, keep + i, scale, AHEAD, run);
    }
    if (i < hi) {
        uint8_t rest[AHEAD];
        philox_hits(rest, PHILOX_SIDE, p, seed, draw, (uint64_t)i / 4);
        memcpy(keep + i, rest, (size_t)(hi - i));
        if (run == 1) masked(y + i, x + i, rest, scale, hi - i);
        else masked_runs(y + i * run, x + i * run, rest, scale, hi - i, run);
    }
}

/* dx = dy mask / (1 - p) */
FN_KERNEL(dropout_bwd) {
    const fn_dropout_args *a = args;
    int64_t lo, hi;
    const fn_t scale = (fn_t)(1 / (1 - a->p));
    const int64_t run = a->run;
    fn_share(a->n / run, 64, t, &lo, &hi);
    if (run == 1) masked((fn_t *)a->y + lo, (const fn_t *)a->x + lo, a->mask + lo, scale, hi - lo);
    else masked_runs((fn_t *)a->y + lo * run, (const fn_t *)a->x + lo * run, a->mask + lo, scale, hi - lo, run);
}
