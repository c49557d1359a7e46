/* Products of the blocks of attention.c:  c = init + a b, a (m,k), b (k,n) of unit stride, n a multiple of FN_VL.
 *
 * Tiles as brgemm's, two vectors wide, and brgemm's bits; but k is short here, so a tile is entered and left in as few steps
 * as can be: of a tile that takes 400 cycles, 40 went there. */
#ifndef FN_ATTENTION_H
#define FN_ATTENTION_H
#include "brgemm.h"

#define LANES (4 * FN_VL)                    /* queries of a block */
#define STRIP (2 * FN_VL)                    /* lanes of a tile; of a piece of a block that the diagonal cuts */


enum { ROWS, SCORES, COLUMNS, KINDS };       /* element (i,k) of a lies at i lda + k, at i LANES + k, at i + k lda */

/* init: like c, or a row for all m if ld_init is 0, or null: zeros */
#define TILE_ARGS \
    fn_t *c, int64_t ldc, const fn_t *init, int64_t ld_init, const fn_t *a, int64_t lda, const fn_t *b, int64_t ldb, int64_t k
FN_INLINE void tile(const int kind, const int rows, TILE_ARGS) {
    const int64_t a_i = kind == COLUMNS ? 1 : kind == SCORES ? LANES : lda, a_k = kind == COLUMNS ? lda : 1;
    const fn_t *at[(FN_ROWS2 + 2) / 3], *const end = b + k * ldb;
    vec acc[FN_ROWS2][2];
    UNROLL for (int i = 0; i < rows; i++) acc[i][0] = acc[i][1] = v_zero();
    if (init)
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < 2; v++)
            acc[i][v] = v_load(init + i * ld_init + v * FN_VL);
    UNROLL for (int i = 0; i < rows; i += 3) at[i / 3] = a + i * a_i;
    for (; b != end; b += ldb) {
        const vec u = v_load(b), v = v_load(b + FN_VL);
        UNROLL for (int i = 0; i < rows; i++) {
            const vec s = v_set1(kind == ROWS ? at[i / 3][i % 3 * a_i] : a[i * a_i]);
            acc[i][0] = v_fma(s, u, acc[i][0]), acc[i][1] = v_fma(s, v, acc[i][1]);
        }
        UNROLL for (int i = 0; i < rows; i += 3) at[i / 3] += a_k;
        a += a_k;
    }
    UNROLL for (int i = 0; i < rows; i++) v_store(c + i * ldc, acc[i][0]), v_store(c + i * ldc + FN_VL, acc[i][1]);
}
typedef void (*tile_fn)(TILE_ARGS);
#define TO_6(X, kind) X(kind, 1) X(kind, 2) X(kind, 3) X(kind, 4) X(kind, 5) X(kind, 6)
#define TO_14(X, kind) TO_6(X, kind) X(kind, 7) X(kind, 8) X(kind, 9) X(kind, 10) X(kind, 11) \
                       X(kind, 12) X(kind, 13) X(kind, 14)
#define EACH__(rows, X, kind) TO_##rows(X, kind)
#define EACH_(rows, X, kind) EACH__(rows, X, kind)
#define EACH(X, kind) EACH_(FN_ROWS2, X, kind)
#define DEFINE(kind, rows) \
    static void tile_##kind##_##rows(TILE_ARGS) { tile(kind, rows, c, ldc, init, ld_init, a, lda, b, ldb, k); }
#define NAME(kind, rows) tile_##kind##_##rows,
EACH(DEFINE, ROWS) EACH(DEFINE, SCORES) EACH(DEFINE, COLUMNS)
static const tile_fn tiles[KINDS][FN_ROWS2] = {
    [ROWS] = {EACH(NAME, ROWS)}, [SCORES] = {EACH(NAME, SCORES)}, [COLUMNS] = {EACH(NAME, COLUMNS)}};

static void product(int kind, TILE_ARGS, int64_t m, int64_t n) {
    const int64_t count = over(m, FN_ROWS2), wide = n / STRIP * STRIP;
    const int64_t a_i = kind == COLUMNS ? 1 : kind == SCORES ? LANES : lda, a_k = kind == COLUMNS ? lda : 1;
    for (int64_t t = 0, i = 0, next; t < count; t++, i = next) {
        next = m * (t + 1) / count;
        const tile_fn f = tiles[kind][next - i - 1];
        for (int64_t j = 0; j < wide; j += STRIP)
            f(c + i * ldc + j, ldc, init ? init + i * ld_init + j : init, ld_init, a + i * a_i, lda, b + j, ldb, k);
    }
    if (wide == n) return;
    const fn_brgemm p = {.c = c + wide, .init = init ? init + wide : init, .a = a, .b = b + wide, .m = m, .n = n - wide, .k = k, .count = 1,
                         .ldc = ldc, .ld_init = ld_init, .a_m = a_i, .a_k = a_k, .b_k = ldb, .nv = 1};
    FN_NAME(brgemm)(&p);
}
#endif
