/* y = act(x w' + b) and its gradients: three matrix products (gemm.c) and a column sum. */
#include "brgemm.h"
#include "optim.h"
#include "split.h"

static fn_gemm_args fwd(const fn_dense_args *d) {
    return (fn_gemm_args){.work = d->work, .c = d->y, .a = d->x, .b = d->w, .packed = d->packed, .bias = d->b,
                          .batch = 1, .M = d->M, .N = d->N, .K = d->K, .ldc = d->ldy, .a_m = d->ldx, .a_k = 1, .b_k = 1,
                          .b_n = d->ldw, .act = d->act};
}
FN_WORK(dense_fwd) {
    const fn_gemm_args g = fwd(args);
    return FN_NAME(gemm_work)(&g, threads);
}
FN_KERNEL(dense_fwd) {
    const fn_gemm_args g = fwd(args);
    FN_NAME(gemm)(&g, t);
}

/* dx = dy w */
static fn_gemm_args bwd_x(const fn_dense_args *d) {
    return (fn_gemm_args){.work = d->work, .c = d->dx, .a = d->dy, .b = d->w, .packed = d->packed, .batch = 1,
                          .M = d->M, .N = d->K, .K = d->N, .ldc = d->ldx, .a_m = d->ldy, .a_k = 1, .b_k = d->ldw,
                          .b_n = 1, .weight = 1};
}
FN_WORK(dense_bwd_x) {
    const fn_gemm_args g = bwd_x(args);
    return FN_NAME(gemm_work)(&g, threads);
}
FN_KERNEL(dense_bwd_x) {
    const fn_gemm_args g = bwd_x(args);
    FN_NAME(gemm)(&g, t);
}

/* dw = dy' x   db[n] = sum over m of dy[m,n] */
static fn_gemm_args bwd_w(const fn_dense_args *d) {
    return (fn_gemm_args){.work = d->work, .c = d->dw, .a = d->dy, .b = d->x, .batch = 1, .M = d->N, .N = d->K,
                          .K = d->M, .ldc = d->ldw, .a_m = 1, .a_k = d->ldy, .b_k = d->ldx, .b_n = 1};
}

enum { SUM_ROWS = 512, MAX_PARTS = 256, COLUMNS = 4 };   /* rows of a part of db, parts, vectors summed side by side */
static int64_t sum_parts(const fn_dense_args *d) {
    const int64_t parts = d->M / SUM_ROWS < MAX_PARTS ? d->M / SUM_ROWS : MAX_PARTS;
    return d->db && parts > 1 ? parts : 1;
}
static int64_t dw_work(const fn_dense_args *d, int threads) {
    const fn_gemm_args g = bwd_w(d);
    return d->dw ? (FN_NAME(gemm_work)(&g, threads) + FN_ALIGN - 1) / FN_ALIGN * FN_ALIGN : 0;
}
FN_WORK(dense_bwd_w) {
    const fn_dense_args *d = args;
    const int64_t parts = sum_parts(d);
    return dw_work(d, threads) + (parts > 1 ? parts * d->N * (int64_t)sizeof(fn_t) : 0);
}

/* y[n] = sum over rows of x[row, n], from the first row to the last */
FN_INLINE void sum_vectors(const int nv, fn_t *y, const fn_t *x, int64_t ldx, int64_t rows) {
    vec acc[COLUMNS];
    UNROLL for (int j = 0; j < nv; j++) acc[j] = v_zero();
    for (int64_t i = 0; i < rows; i++, x += ldx)
        UNROLL for (int j = 0; j < nv; j++) acc[j] += v_load(x + j * FN_VL);
    UNROLL for (int j = 0; j < nv; j++) v_store(y + j * FN_VL, acc[j]);
}
static void sum_rows(fn_t *y, const fn_t *x, int64_t ldx, int64_t rows, int64_t n) {
    const int64_t whole = n / FN_VL;
    const int rest = (int)(n % FN_VL);
    if (whole == 4) sum_vectors(4, y, x, ldx, rows);
    else if (whole == 3) sum_vectors(3, y, x, ldx, rows);
    else if (whole == 2) sum_vectors(2, y, x, ldx, rows);
    else if (whole == 1) sum_vectors(1, y, x, ldx, rows);
    if (!rest) return;
    vec acc = v_zero();
    x += whole * FN_VL;
    for (int64_t i = 0; i < rows; i++, x += ldx) acc += v_load_n(x, rest);
    v_store_n(y + whole * FN_VL, acc, rest);
}

/* dw of a single row of x, along its rows, by the one multiply-add that gemm's sums would be. */
static void outer(const fn_dense_args *d, fn_team t) {
    int64_t lo, hi;
    fn_share(d->N, 1, t, &lo, &hi);
    for (int64_t n = lo; n < hi; n++) {
        const vec s = v_set1(((const fn_t *)d->dy)[n]);
        fn_t *const dw = (fn_t *)d->dw + n * d->ldw;
        FN_VECTORS(d->K,
            fetch_lines(dw + i + FN_BEYOND / SIZE, FN_VBYTES, 1);
            v_put(dw + i, v_fma(s, v_get((const fn_t *)d->x + i, m), v_zero()), m););
    }
}

FN_KERNEL(dense_bwd_w) {
    const fn_dense_args *d = args;
    const int64_t M = d->M, N = d->N, parts = sum_parts(d), block = COLUMNS * FN_VL, blocks = (N + block - 1) / block;
    const fn_gemm_args g = bwd_w(d);
    if (d->dw && M == 1) outer(d, t);
    else if (d->dw) FN_NAME(gemm)(&g, t);
    if (!d->db) return;
    fn_t *const db = d->db, *const sums = parts == 1 ? db : (fn_t *)((char *)d->work + dw_work(d, t.size));
    int64_t lo, hi;
    fn_share(parts * blocks, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        const int64_t part = i / blocks, n = i % blocks * block, m = M * part / parts;
        const fn_t *const dy = (const fn_t *)d->dy + m * d->ldy + n;
        sum_rows(sums + part * N + n, dy, d->ldy, M * (part + 1) / parts - m, N - n < block ? N - n : block);
    }
    if (parts == 1) return;
    fn_barrier(t);
    fn_share(N, block, t, &lo, &hi);
    for (int64_t n = lo; n < hi; n += block) sum_rows(db + n, sums + n, N, parts, hi - n < block ? hi - n : block);
}

/* ---- dw, db and the step of w and b ------------------------------------------------------------------------------ */

/* dw is made in chunks of whole rows, and each chunk steps its rows of w while it is in the cache; that of a single row of x
 * is made in registers, which step w. The batch has fewer than 2 SUM_ROWS rows, so that neither sum over it is cut in parts.
 * Many chunks, or a few that would each split x for tile registers, share one packed x. Rows go from the last to the first,
 * since forward, which goes the other way, leaves the last in the cache, and finds the first there. */
enum { MANY_ROWS = (FN_SPLIT ? 1 : 8) * FN_STEP_ROWS };
static int64_t chunk_of(const fn_dense_args *d) {
    const int64_t rows = d->M > 1 && d->M < FN_VL ? FN_ROWS2 : FN_STEP_ROWS;
    return rows < d->N ? rows : d->N;
}
static int64_t aligned(int64_t bytes) { return (bytes + FN_ALIGN - 1) / FN_ALIGN * FN_ALIGN; }
/* Scratch: that of dx; x packed, if it is; then for each thread rows of dw, if nobody keeps them, and gemm's. */
static int64_t dx_bytes(const fn_dense_args *d, int threads) {
    if (!d->dx) return 0;
    const fn_gemm_args g = bwd_x(d);
    return aligned(FN_NAME(gemm_work)(&g, (int)most(threads, FN_NAME(gemm_k_parts)(&g))));
}
static int64_t packed_bytes(const fn_dense_args *d) {
    return d->N > MANY_ROWS && d->M > 1 ? aligned(fn_packed_room(d->K, d->M) * (int64_t)sizeof(fn_t)) : 0;
}
static int64_t rows_bytes(const fn_dense_args *d) {
    return d->dw ? 0 : aligned(chunk_of(d) * d->K * (int64_t)sizeof(fn_t));
}
/* A chunk of dw from row n on; an element's bits are those of the whole. Written where it is kept, like gemm's plan. */
static void chunk_at(fn_gemm_args *g, const fn_dense_args *d, int64_t n, const fn_t *packed, char *own) {
    *g = bwd_w(d);
    g->work = own ? own + rows_bytes(d) : 0, g->packed = packed, g->M = chunk_of(d);
    g->c = d->dw ? (fn_t *)d->dw + n * d->ldw : (fn_t *)own;
    g->a = (const fn_t *)g->a + n;
}
static int64_t own_bytes(const fn_dense_args *d) {
    fn_gemm_args g;
    static const fn_t some;                  /* gemm asks whether x is packed */
    chunk_at(&g, d, 0, packed_bytes(d) ? &some : 0, 0);
    return rows_bytes(d) + aligned(FN_NAME(gemm_rows_work)(&g));
}
FN_WORK(dense_step) {
    const fn_dense_args *d = &((const fn_dense_step_args *)args)->d;
    return dx_bytes(d, threads) + packed_bytes(d) + threads * own_bytes(d);
}

/* Rows [lo, hi) of w and b. */
static void step_rows(const fn_dense_step_args *a, const fn_t *packed, char *own, int64_t lo, int64_t hi) {
    const fn_dense_args *d = &a->d;
    const int64_t M = d->M, K = d->K, block = COLUMNS * FN_VL, tiles = over(hi - lo, FN_ROWS2), chunks = over(hi - lo, chunk_of(d));
    fn_t sums[FN_STEP_ROWS];
    for (int64_t i = chunks, end = hi, n; i-- > 0; end = n) {
        n = lo + tiles * i / chunks * FN_ROWS2;
        const int64_t rows = end - n;
        if (M == 1 && a->w.p) {
            fn_t *const dw = d->dw ? (fn_t *)d->dw + n * K : 0;
            FN_BELOW(optim_outer)(a->optimizer, &a->w, n * K, (const fn_t *)d->dy + n, rows, d->x, K, dw);
        } else {
            fn_gemm_args g;
            chunk_at(&g, d, n, packed, own);
            FN_NAME(gemm_rows)(&g, rows);
            if (a->w.p) FN_BELOW(optim_piece)(a->optimizer, &a->w, n * K, g.c, rows * K);
        }
        if (!d->db && !a->b.p) continue;
        fn_t *const db = d->db ? (fn_t *)d->db + n : sums;
        for (int64_t j = 0; j < rows; j += block)
            sum_rows(db + j, (const fn_t *)d->dy + n + j, d->ldy, M, rows - j < block ? rows - j : block);
        if (a->b.p) FN_BELOW(optim_piece)(a->optimizer, &a->b, n, db, rows);
    }
}

/* dx of a single row is made of parts, and each part's rows of w step when they were read for it. */
FN_KERNEL(dense_step) {
    const fn_dense_step_args *a = args;
    const fn_dense_args *d = &a->d;
    const int64_t N = d->N;
    char *const after_dx = (char *)d->work + dx_bytes(d, t.size);
    fn_t *const packed = packed_bytes(d) ? (fn_t *)after_dx : 0;
    char *const own = after_dx + packed_bytes(d) + (t.rank ? t.rank * own_bytes(d) : 0);
    int64_t lo, hi;
    if (packed) {
        const fn_gemm_args x = {.c = packed, .b = d->x, .batch = 1, .M = chunk_of(d), .a_m = 1, .N = d->K, .K = d->M, .b_k = d->ldx, .b_n = 1};
        FN_NAME(gemm_pack)(&x, t);
        fn_barrier(t);
    }
    const fn_gemm_args dx = bwd_x(d);
    const int64_t parts = d->dx ? FN_NAME(gemm_k_parts)(&dx) : 1, part_N = over(N, parts);
    if (parts == 1 || parts < t.size) {
        if (d->dx) FN_NAME(gemm)(&dx, t), fn_barrier(t);
        fn_share(N, FN_ROWS2, t, &lo, &hi);
        step_rows(a, packed, own, lo, hi);
        return;
    }
    fn_share(parts, 1, t, &lo, &hi);
    for (int64_t i = hi; i-- > lo;) {
        FN_NAME(gemm_k_part)(&dx, i);
        step_rows(a, packed, own, i * part_N, least(N, (i + 1) * part_N));
    }
    fn_barrier(t);
    FN_NAME(gemm_k_sum)(&dx, t);
}
