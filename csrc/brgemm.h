/* The one building block:  C[m,n] = init[m,n] + sum over i of A_i[m,k] B_i[k,n].
 *
 * A tile of C stays in registers over the whole sum, k ascending within i ascending, each element one chain of
 * multiply-adds: its bits depend on neither the tile nor the block it lies in. */
#ifndef FN_BRGEMM_H
#define FN_BRGEMM_H
#include "kernel.h"

/* Rows of a tile that is 1, 2 or 4 vectors wide: as many as the registers hold. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define FN_ROWS1 14
#define FN_ROWS2 14
#define FN_ROWS4 6
#else
#define FN_ROWS1 12
#define FN_ROWS2 6
#define FN_ROWS4 2
#endif
#define FN_NR (2 * FN_VL)        /* lanes of a packed panel */

typedef struct {
    fn_t *c;                     /* (m, n) rows of unit stride */
    const fn_t *init;            /* like c, and may be c; a row for all m if ld_init is 0; null: zeros */
    const fn_t *a;               /* element (m,k) of A_i at a + a_at[i] + m*a_m + k*a_k */
    const fn_t *b;               /* element (k,n) of B_i at b + b_at[i] + n/w*b_panel + k*b_k + n%w, w = nv FN_VL */
    const int64_t *a_at, *b_at;  /* (count), or both null: count is 1 and they are 0 */
    int64_t m, n, k, count;      /* n a multiple of FN_VL */
    int64_t ldc, ld_init, a_m, a_k, b_k, b_panel;
    int64_t nv;                  /* vectors of a panel: 1, 2 or 4 */
    int64_t relu;                /* C = max(C, 0), NaN stays */
    int64_t far_a, fetch_c;      /* A lies in memory: tiles fetch the next one's (a_k and count 1); lines of C that they fetch, fn_fetch_c */
    const fn_t *ahead;           /* fetched by each tile at step k of panel j: ahead + j*ahead_panel + k*ahead_k; */
    int64_t ahead_k, ahead_panel;    /* null: B some rows ahead */
} fn_brgemm;

/* Do A's rows, of k numbers, lie in memory? Where registers hold few rows, long ones are read ahead along without asking. */
static inline int fn_far_a(int64_t rows, int64_t k) {
    return (FN_ROWS4 >= 6 || k <= 512) && rows * k * (int64_t)sizeof(fn_t) >= 1 << 20;
}
/* Which lines of C a tile fetches. Stores wait for their lines one by one: of short rows its own, if they lie beyond the nearest cache. Long rows
 * the processor follows by itself; in memory those of the next panel help. */
enum { FN_FETCH_NONE, FN_FETCH_OWN, FN_FETCH_NEXT };
static inline int fn_fetch_c(int64_t rows, int64_t lanes) {
    const int64_t row = lanes * (int64_t)sizeof(fn_t), bytes = rows * row;
    return row < 4096 ? bytes >= 65536 ? FN_FETCH_OWN : FN_FETCH_NONE : bytes >= 8 << 20 ? FN_FETCH_NEXT : FN_FETCH_NONE;
}

void FN_BELOW(brgemm)(const fn_brgemm *p);
FN_KERNEL(gemm);
FN_WORK(gemm);
FN_KERNEL(gemm_pack);

/* Rows of dw that dense_step makes and uses at once: gemm decides by so many what it would do for more. */
#define FN_STEP_ROWS (9 * FN_ROWS2)

/* Parts of K / parts numbers, rounded up, in which gemm cuts k: of a product with few tiles and a long k, so many that they feed a team;
 * and a few of one whose k is far longer than a small c is wide, since threads that share c would each read all of an operand. */
enum { FN_GEMM_PARTS = 16, FN_LONG_PARTS = 4, FN_SMALL_C = 163840, FN_WHOLE_K = 1023 };      /* WHOLE_K: a k so short is not cut */
static inline int64_t gemm_parts(int64_t batch, int64_t M, int64_t N, int64_t K) {
    const int64_t tiles = batch * over(M, 16) * over(N, 32);
    if (K <= FN_WHOLE_K || (double)M * (double)N * (double)K * (double)batch < 1 << 20) return 1;
    const int64_t few = batch == 1 && M * N <= FN_SMALL_C ? least(K / (8 * most(M, N)), FN_LONG_PARTS) : 1;
    const int64_t parts = most(least(most(FN_GEMM_PARTS / tiles, few), K / 512), 1);
    return over(K, over(K, parts));
}

/* The first m <= M rows of one product (batch 1) whose k is not cut, by the caller alone: the bits that gemm gives. At
 * g->work lie gemm_rows_work(g) bytes, whatever m. */
void FN_NAME(gemm_rows)(const fn_gemm_args *g, int64_t m);
int64_t FN_NAME(gemm_rows_work)(const fn_gemm_args *g);

/* A product whose k gemm cuts in gemm_k_parts(g), of one row: part i of it, by the caller alone, and with all of them their sum, by a team.
 * At g->work lies what gemm asks for with as many threads as parts. */
int64_t FN_NAME(gemm_k_parts)(const fn_gemm_args *g);
void FN_NAME(gemm_k_part)(const fn_gemm_args *g, int64_t i);
void FN_NAME(gemm_k_sum)(const fn_gemm_args *g, fn_team t);
#endif
