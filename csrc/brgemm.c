/* The micro-kernel (brgemm.h), one text for every tile, and the FMA peak it is measured against. */
#include "brgemm.h"
#include <time.h>
#if defined(_WIN32)
#include <windows.h>
#endif

#define AHEAD 8                  /* rows of B fetched ahead of their use */
#define LONG 64                  /* k over which FAR tiles pay */
#define LINE (64 / (int)sizeof(fn_t))
#define SHARE(rows) ((rows) + 2) /* of the numbers of a row, for each of k / rows steps, which are rounded down */

enum { APART, BESIDE, FAR };     /* rows of A: any, next to each other, or in memory */

/* One k of a tile. */
FN_INLINE void step(const int rows, const int nv, vec acc[][4], const fn_t *const *a, int64_t a_m, const fn_t *b) {
    vec bv[4];
    UNROLL for (int v = 0; v < nv; v++) bv[v] = v_load(b + v * FN_VL);
    UNROLL for (int i = 0; i < rows; i++) {
        const vec s = v_set1(a[i / 3][i % 3 * a_m]);
        UNROLL for (int v = 0; v < nv; v++) acc[i][v] = v_fma(s, bv[v], acc[i][v]);
    }
}
/* And on to the next; the rows lie beside each other in A. */
FN_INLINE void step_beside(const int rows, const int nv, vec acc[][4], const fn_t **a, int64_t a_k, const fn_t **b,
                           int64_t b_k, const fn_t **ahead, int64_t ahead_k) {
    const fn_t *a_j[(FN_ROWS1 + 2) / 3];
    if (*ahead) {
        UNROLL for (int v = 0; v < nv; v++) __builtin_prefetch(*ahead + v * FN_VL);
        *ahead += ahead_k;
    }
    UNROLL for (int i = 0; i < rows; i += 3) a_j[i / 3] = *a + i;
    step(rows, nv, acc, a_j, 1, *b);
    *a += a_k, *b += b_k;
    __asm__("" : "+r"(*a));                  /* one address, not one for each row */
}
/* Three rows of A share a pointer, {0, 1, 2} a_m apart: addresses the instruction forms itself. Rows that lie beside each
 * other (a_m is 1) share one, and B, which a tile of theirs finds near, is not fetched ahead unasked. During FAR ones the next
 * tile's are fetched, row after row. */
FN_INLINE void tile(const int rows, const int nv, const int kind, const fn_brgemm *p, fn_t *c, const fn_t *init,
                    const fn_t *a, const fn_t *b, const fn_t *ahead) {
    const int64_t K = p->k, a_m = kind == BESIDE ? 1 : p->a_m, a_k = p->a_k, b_k = p->b_k, ldc = p->ldc, ld_init = p->ld_init;
    vec acc[FN_ROWS1][4];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < nv; v++) acc[i][v] = init ? v_load(init + i * ld_init + v * FN_VL) : v_zero();
    for (int64_t j = 0; j < p->count; j++) {
        const fn_t *a_j[(FN_ROWS1 + 2) / 3], *const at = a + (p->a_at ? p->a_at[j] : 0), *b_j = b + (p->b_at ? p->b_at[j] : 0);
        UNROLL for (int i = 0; i < rows; i += 3) a_j[i / 3] = at + i * a_m;
        if (kind == BESIDE) {
            int64_t k = 0;
            for (; k + 2 <= K; k += 2)
                UNROLL for (int u = 0; u < 2; u++) step_beside(rows, nv, acc, &a_j[0], a_k, &b_j, b_k, &ahead, p->ahead_k);
            if (k < K) step_beside(rows, nv, acc, &a_j[0], a_k, &b_j, b_k, &ahead, p->ahead_k);
            continue;
        }
        const int64_t f_k = ahead ? p->ahead_k : b_k;
        const fn_t *f = ahead ? ahead : b_j + AHEAD * b_k;
        const int shares = kind == FAR ? rows : 1;
        for (int i = 0; i < shares; i++) {
            const int64_t steps = i < shares - 1 ? K / shares : K - (shares - 1) * (K / shares);
            const fn_t *next = at + (rows + i) * a_m;
            for (int64_t k = 0; k < steps; k++) {
                UNROLL for (int v = 0; v < nv; v++) __builtin_prefetch(f + v * FN_VL);
                f += f_k;
                if (kind == FAR) {
                    UNROLL for (int q = 0; q < SHARE(rows); q += LINE) __builtin_prefetch(next + q, 0, 2);
                    next += SHARE(rows);
                }
                step(rows, nv, acc, a_j, a_m, b_j);
                UNROLL for (int q = 0; q < rows; q += 3) a_j[q / 3] += a_k;
                b_j += b_k;
            }
        }
    }
    if (p->relu)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int v = 0; v < nv; v++) acc[i][v] = v_relu(acc[i][v]);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < nv; v++) v_store(c + i * ldc + v * FN_VL, acc[i][v]);
}

#define TO_2(X, nv) X(1, nv) X(2, nv)
#define TO_6(X, nv) TO_2(X, nv) X(3, nv) X(4, nv) X(5, nv) X(6, nv)
#define TO_12(X, nv) TO_6(X, nv) X(7, nv) X(8, nv) X(9, nv) X(10, nv) X(11, nv) X(12, nv)
#define TO_14(X, nv) TO_12(X, nv) X(13, nv) X(14, nv)
#define EACH__(rows, X, nv) TO_##rows(X, nv)
#define EACH_(rows, X, nv) EACH__(rows, X, nv)
#define TILE_ARGS const fn_brgemm *p, fn_t *c, const fn_t *init, const fn_t *a, const fn_t *b, const fn_t *ahead
#define DEFINE(rows, nv) static void tile_##rows##x##nv(TILE_ARGS) { tile(rows, nv, APART, p, c, init, a, b, ahead); }
#define DEFINE_BESIDE(rows, nv) static void beside_##rows##x##nv(TILE_ARGS) { tile(rows, nv, BESIDE, p, c, init, a, b, ahead); }
#define DEFINE_FAR(rows, nv) static void far_##rows##x##nv(TILE_ARGS) { tile(rows, nv, FAR, p, c, init, a, b, ahead); }
#define NAME(rows, nv) tile_##rows##x##nv,
#define NAME_BESIDE(rows, nv) beside_##rows##x##nv,
#define NAME_FAR(rows, nv) far_##rows##x##nv,
EACH_(FN_ROWS1, DEFINE, 1)
EACH_(FN_ROWS2, DEFINE, 2)
EACH_(FN_ROWS4, DEFINE, 4)
EACH_(FN_ROWS2, DEFINE_BESIDE, 2)
EACH_(FN_ROWS2, DEFINE_FAR, 2)
EACH_(FN_ROWS4, DEFINE_FAR, 4)
typedef void (*tile_fn)(TILE_ARGS);
static const tile_fn tile_1[] = {EACH_(FN_ROWS1, NAME, 1)}, tile_2[] = {EACH_(FN_ROWS2, NAME, 2)};
static const tile_fn tile_4[] = {EACH_(FN_ROWS4, NAME, 4)};
static const tile_fn beside_2[] = {EACH_(FN_ROWS2, NAME_BESIDE, 2)};
static const tile_fn far_2[] = {EACH_(FN_ROWS2, NAME_FAR, 2)}, far_4[] = {EACH_(FN_ROWS4, NAME_FAR, 4)};
static const tile_fn *const tile_of[] = {0, tile_1, tile_2, 0, tile_4}, *const far_of[] = {0, tile_1, far_2, 0, far_4};

#define TILES(m, rows) (((m) + (rows) - 1) / (rows))
/* Tiles of nearly equal height; the rows of A of one tile stay in the nearest cache while the panels of B pass. */
void FN_NAME(brgemm)(const fn_brgemm *p) {
    const int64_t m = p->m, n = p->n, nv = p->nv;
    const int64_t tiles = nv == 2 ? TILES(m, FN_ROWS2) : nv == 1 ? TILES(m, FN_ROWS1) : TILES(m, FN_ROWS4);
    const tile_fn *const pairs = p->a_m == 1 ? beside_2 : tile_of[2];
    const int far_a = p->far_a && p->k >= LONG;
    const int64_t fetch_c = p->init == p->c || (p->fetch_c == FN_FETCH_NEXT && p->k < LONG) ? FN_FETCH_NONE : p->fetch_c;
    for (int64_t t = 0, r = 0, end; t < tiles; t++, r = end) {
        end = t == tiles - 1 ? m : m * (t + 1) / tiles;
        fn_t *const c = p->c + r * p->ldc;
        const fn_t *const init = p->init ? p->init + r * p->ld_init : 0, *const a = p->a + r * p->a_m;
        const fn_t *b = p->b, *ahead = p->ahead;
        for (int64_t j = 0, w = nv; j < n; j += w * FN_VL) {
            while (j + w * FN_VL > n) w /= 2;
            if (fetch_c)
                for (int64_t i = 0, at = fetch_c == FN_FETCH_NEXT ? j + w * FN_VL : j; i < end - r; i++, at += p->ldc)
                    for (int64_t v = 0; v < w * FN_VL; v += LINE) __builtin_prefetch(c + at + v, 1);
            const tile_fn *const of = far_a && j == 0 ? far_of[w] : w == 2 ? pairs : tile_of[w];
            of[end - r - 1](p, c + j, init ? init + j : 0, a, b, ahead);
            if (ahead) ahead += p->ahead_panel;
            b += w == nv ? p->b_panel : w * FN_VL;
        }
    }
}

#if FN_DT == 0
static double seconds_now(void) {
#if defined(_WIN32)
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    return (double)ticks.QuadPart / (double)rate.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
}

/* GFLOP/s of independent chains of multiply-adds in registers, the best stretch within `seconds`. */
double FN_NAME(fma_peak)(double seconds) {
    enum { CHAINS = 12, TURNS = 50000 };
    volatile fn_t seed = (fn_t)0.5, sink;
    const vec x = v_set1(seed);
    vec acc[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = v_set1(seed * (fn_t)i);
    double best = 0;
    for (const double begin = seconds_now(); best == 0 || seconds_now() - begin < seconds;) {
        const double t = seconds_now();
        for (int n = 0; n < TURNS; n++)
            UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = v_fma(acc[i], x, x);
        const double rate = 2e-9 * TURNS * CHAINS * FN_VL / (seconds_now() - t);
        if (rate > best) best = rate;
    }
    UNROLL for (int i = 1; i < CHAINS; i++) acc[0] += acc[i];
    sink = v_sum(acc[0]);
    (void)sink;
    return best;
}
#endif
