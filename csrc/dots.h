/* Dot products of few rows with many: vectors run along k, nothing is packed (gemm.c). */
#ifndef FN_DOTS_H
#define FN_DOTS_H
#include "brgemm.h"

#define DOTS_OUT (16 + FN_PIECE)             /* apart in the buffer of 16 results a row, with room for the last piece */
#if FN_ROWS2 == 14
enum { SHORT = 8, SUMS = 16 };               /* most rows of the short operand in a tile, of the long one */
#else
enum { SHORT = 2, SUMS = 8 };
#endif

/* A number that several multiply-adds share: compilers would rather load it again for each. */
#if defined(__AVX512F__)
#define DOTS_KEEP(v) __asm__("" : "+v"(v))
#else
#define DOTS_KEEP(v) (void)(v)
#endif

/* Sums by k % CHAINS FN_VL of a long x w', added up to FN_VL. */
enum { CHAINS = 4, LONG = 2 * CHAINS * FN_VL };
FN_APART vec dots_long(const fn_t *x, const fn_t *w, int64_t K) {
    vec acc[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = v_zero();
    int64_t k = 0;
    for (; k + CHAINS * FN_VL <= K; k += CHAINS * FN_VL)
        UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = v_fma(v_load(x + k + i * FN_VL), v_load(w + k + i * FN_VL), acc[i]);
    for (; k < K; k += FN_VL) acc[0] = v_fma(v_get(x + k, K - k), v_get(w + k, K - k), acc[0]);
    return (acc[0] + acc[1]) + (acc[2] + acc[3]);
}

/* out[i*DOTS_OUT + j] = sum over k of x[i,k] w[j,k]: FN_VL sums by k % FN_VL, then the lanes as a tree. Rows of w side by side share
 * the numbers of x; a single row of x, if it is long, goes along one after the other: a core reads its caches fastest in one stream.
 * ahead: the next tile's rows of w are fetched. */
FN_INLINE void dots_tile(const int m, const int n, fn_t *out, const fn_t *x, int64_t x_r, const fn_t *w, int64_t w_r,
                         int64_t K, int ahead) {
    vec acc[SHORT][SUMS + FN_PIECE];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < SUMS + FN_PIECE; j++) acc[i][j] = v_zero();
    int64_t k = 0;
    if (FN_VBYTES == 64 && m == 1 && K >= LONG) {            /* narrower loads of x and w keep a core busier than the cache does */
        UNROLL for (int j = 0; j < n; j++) acc[0][j] = dots_long(x, w + j * w_r, K);
        k = K;
    }
    for (; k + FN_VL <= K; k += FN_VL) {
        vec wk[SUMS];
        UNROLL for (int j = 0; j < n; j++) wk[j] = v_load(w + j * w_r + k);
        if (ahead)
            UNROLL for (int j = n; j < 2 * n; j++) __builtin_prefetch(w + j * w_r + k, 0, 2);
        UNROLL for (int i = 0; i < m; i++) {
            vec xk = v_load(x + i * x_r + k);
            DOTS_KEEP(xk);
            UNROLL for (int j = 0; j < n; j++) acc[i][j] = v_fma(xk, wk[j], acc[i][j]);
        }
    }
    const int rest = (int)(K - k);
    if (rest)
        UNROLL for (int j = 0; j < n; j++) {
            const vec wk = v_load_n(w + j * w_r + k, rest);
            UNROLL for (int i = 0; i < m; i++) acc[i][j] = v_fma(v_load_n(x + i * x_r + k, rest), wk, acc[i][j]);
        }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < n; j += FN_PIECE) {
            vec *const t = acc[i] + j;
            v_transpose_pieces(t);
            const vec y = FN_PIECE == 4 ? (t[0] + t[1]) + (t[2 % FN_PIECE] + t[3 % FN_PIECE]) : t[0] + t[1];
            fn_v16 z[FN_PIECES];
            memcpy(z, &y, sizeof z);
            UNROLL for (int h = FN_PIECES / 2; h; h /= 2)
                UNROLL for (int q = 0; q < h; q++) z[q] += z[q + h];
            memcpy(out + i * DOTS_OUT + j, z, sizeof z[0]);
        }
}

#define DOTS_ARGS fn_t *out, const fn_t *x, int64_t x_r, const fn_t *w, int64_t w_r, int64_t K, int ahead
#define DOTS_TILE(m, n) static void dots_##m##x##n(DOTS_ARGS) { dots_tile(m, n, out, x, x_r, w, w_r, K, ahead); }
typedef void (*dots_fn)(DOTS_ARGS);
DOTS_TILE(1, 1) DOTS_TILE(1, 4) DOTS_TILE(1, 8) DOTS_TILE(2, 1) DOTS_TILE(2, 4)
#if FN_ROWS2 == 14
DOTS_TILE(1, 16) DOTS_TILE(2, 8) DOTS_TILE(3, 1) DOTS_TILE(3, 4) DOTS_TILE(4, 1) DOTS_TILE(4, 4) DOTS_TILE(5, 1)
DOTS_TILE(5, 4) DOTS_TILE(6, 1) DOTS_TILE(6, 4) DOTS_TILE(7, 1) DOTS_TILE(7, 2) DOTS_TILE(7, 3) DOTS_TILE(8, 1)
DOTS_TILE(8, 2) DOTS_TILE(8, 3)
static const dots_fn dots_of[SHORT][4] = {{dots_1x1, dots_1x4, dots_1x8, dots_1x16}, {dots_2x1, dots_2x4, dots_2x8},
                                          {dots_3x1, dots_3x4}, {dots_4x1, dots_4x4}, {dots_5x1, dots_5x4}, {dots_6x1, dots_6x4},
                                          {dots_7x1, dots_7x2, dots_7x3}, {dots_8x1, dots_8x2, dots_8x3}};
static const int dots_width[SHORT][4] = {{1, 4, 8, 16}, {1, 4, 8}, {1, 4}, {1, 4}, {1, 4}, {1, 4}, {1, 2, 3}, {1, 2, 3}};
#else
static const dots_fn dots_of[SHORT][4] = {{dots_1x1, dots_1x4, dots_1x8}, {dots_2x1, dots_2x4}};
static const int dots_width[SHORT][4] = {{1, 4, 8}, {1, 4}};
#endif
/* Rows of the long operand that are taken at once, by R of the short one: as whole tiles have. */
static inline int64_t dots_rows(int64_t R) { return FN_ROWS2 < 14 || R <= 6 ? 16 : R <= SHORT ? 15 : 12; }
/* The widest tile of m rows for n that are left, but rather two and two than three and one. */
static inline int dots_size(int64_t m, int64_t n) {
    int size = 3;
    while (!dots_of[m - 1][size] || dots_width[m - 1][size] > n) size--;
    return size - (n == 4 && dots_width[m - 1][size] == 3);
}
#endif
