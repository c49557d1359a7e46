/* Normalisation over fn_layer_norm_args: x is (N, G, D, inner), and each row (n, g) of its D inner numbers, which lie next to each
 * other, has a mean and a variance; w and b are (G, D).
 *
 *   u = (x - mean) rstd      rstd = 1 / sqrt(var + eps)      y = u w + b      g = dy w
 *   dx = rstd (g - sum g / count - u sum(g u) / count)       dw = sum dy u    db = sum dy
 *
 * with count = D inner; rms: mean counts as 0 and var is sum x^2 / count. Computed, with m the mean rounded to x's type and d = mean - m:
 *
 *   u = (x - m) s + t        s = rstd       t = -d s
 *   dx = (x - m) q + g s + r     q = -s^2 sum(g u) / count     r = -s sum g / count - d q
 *
 * layer_norm: G and inner are 1, so w and b lie along the row; N rows are cut into parts by their number alone, each of which sums dw
 * and db in work, and the parts are added in order. group_norm: a channel (g, d) is a line of `inner` numbers, or, channels last, a
 * column; its sums go to work, where the samples are added in order. Sums over a row or a column are cut by the shape alone. */
#include "kernel.h"
#include "norm.h"

enum { LINE = 4096, PART = 32768 };                          /* numbers in a block, a part */
enum { TALL = 8, DEEP = 16, PARTS = 64, SIDE = 64 };         /* rows taken together, in a part; parts at most; columns summed together */
enum { W = 1, B = 2, DX = 2, DW = 4 };                       /* what there is, what is wanted */

/* ---- statistics -------------------------------------------------------------------------------------------------- */

/* Where squares overflow, or what is not finite came in: plainly, in double. */
FN_APART void plain_stats(const fn_t *x, int64_t n, int rms, double *mean, double *dev) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n && !rms; i++) sum += (double)x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double e = (double)x[i] - *mean;
        square += e * e;
    }
    *dev = square;
}

/* mean and dev of `before` numbers become those of `count` more, which have m and v. */
FN_INLINE void join(double *mean, double *dev, double before, double m, double v, double count) {
    const double far = m - *mean, share = before == 0 ? 1 : count / (before + count);
    *mean = before == 0 ? m : *mean + far * share;
    *dev += before == 0 ? v : v + far * far * before * share;
}

/* mean and dev = sum (x - mean)^2 of a row, block by block: the sums about the block's own mean are taken while it is in the cache. */
FN_APART void row_stats(const fn_t *x, int64_t n, int rms, double *mean, double *dev) {
    *mean = *dev = 0;
    for (int64_t i = 0; i < n; i += LINE) {
        const int64_t len = n - i < LINE ? n - i : LINE;
        const double count = (double)len, over = 1 / count;
        vec va[4] = {0}, vb[4] = {0};
        fn_t m = 0;
        if (!rms) {
            line_sums(GUESS, va, vb, x + i, NULL, len, 0, 0, 0, 0);
            m = (fn_t)(sum4(va) * over);
            for (int j = 0; j < 4; j++) va[j] = v_zero();
        }
        line_sums(ABOUT, va, vb, x + i, NULL, len, 0, m, 0, 0);
        const double sum = sum4(va), square = sum4(vb);
        if (rms) *dev += square;
        else join(mean, dev, (double)i, (double)m + sum * over, square - sum * sum * over, count);
    }
    if (!isfinite(*dev)) plain_stats(x, n, rms, mean, dev);
    if (*dev < 0) *dev = 0;
}

typedef struct { fn_t m, s, t, q, r; } row_terms;

/* Writes the statistics of row r of n numbers at x. */
FN_APART row_terms terms_y(const fn_layer_norm_args *a, int64_t r, const fn_t *x, int64_t n) {
    double *const mean = a->stats + r, *const rstd = mean + a->N * a->G, dev;
    row_stats(x, n, a->rms != 0, mean, &dev);
    *rstd = 1 / sqrt(dev / (double)n + a->eps);
    const fn_t m = (fn_t)*mean;
    return (row_terms){.m = m, .s = (fn_t)*rstd, .t = (fn_t)(((double)m - *mean) * *rstd)};
}
/* From sum g and sum g (x - m). */
FN_APART row_terms terms_dx(const fn_layer_norm_args *a, int64_t r, int64_t n, double sum, double dot) {
    const double mean = a->stats[r], rstd = a->stats[a->N * a->G + r], d = mean - (double)(fn_t)mean;
    const double q = -rstd * rstd * rstd * (dot - d * sum) / (double)n;
    return (row_terms){.m = (fn_t)mean, .s = (fn_t)rstd, .t = (fn_t)(-d * rstd), .q = (fn_t)q,
                       .r = (fn_t)((a->rms ? 0 : -rstd * sum / (double)n) - d * q)};
}

/* ---- layer_norm -------------------------------------------------------------------------------------------------- */

/* hop: to the next row, which comes near meanwhile: three sweeps over this one leave the memory idle. */
FN_INLINE void row_y(const int kind, fn_t *y, const fn_t *x, const fn_t *w, const fn_t *b, int64_t n, row_terms k, int64_t hop) {
    const vec m = v_set1(k.m), s = v_set1(k.s), t = v_set1(k.t);
    for (int64_t i = 0; i < n; i += FN_VL) {
        __builtin_prefetch(x + i + hop);
        const int l = n - i < FN_VL ? (int)(n - i) : FN_VL;
        const vec u = v_fma(v_get(x + i, l) - m, s, t);
        const vec v = kind & W ? u * v_get(w + i, l) : u;
        v_put(y + i, kind == (W | B) ? v_fma(u, v_get(w + i, l), v_get(b + i, l)) : kind & B ? v + v_get(b + i, l) : v, l);
    }
}

FN_KERNEL(layer_norm_fwd) {
    const fn_layer_norm_args *a = args;
    const int64_t n = a->D;
    const fn_t *const x = a->x, *const w = a->w, *const b = a->b;
    fn_t *const y = a->y;
    int64_t lo, hi;
    fn_share(a->N, 1 + 256 / (n + 1), t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const row_terms k = terms_y(a, r, x + r * n, n);
        const int64_t hop = r + 1 < hi ? n : 0;
        if (w && b) row_y(W | B, y + r * n, x + r * n, w, b, n, k, hop);
        else if (w) row_y(W, y + r * n, x + r * n, w, b, n, k, hop);
        else if (b) row_y(B, y + r * n, x + r * n, w, b, n, k, hop);
        else row_y(0, y + r * n, x + r * n, w, b, n, k, hop);
    }
}

/* sum g and sum g (x - m) of a row, in double over blocks. dx is about to be written. */
FN_INLINE void row_slopes(const int kind, const fn_t *x, const fn_t *dy, const fn_t *dx, const fn_t *w, int64_t n, fn_t mean, double *sum, double *dot) {
    const vec m = v_set1(mean);
    *sum = *dot = 0;
    for (int64_t at = 0; at < n; at += LINE) {
        const int64_t end = n - at < LINE ? n : at + LINE;
        vec va[4] = {0}, vb[4] = {0};
        int64_t i = at;
        for (; i + 4 * FN_VL <= end; i += 4 * FN_VL) {
            fetch_lines(dx + i, 4 * FN_VBYTES, 1);
            UNROLL for (int j = 0; j < 4; j++) {
                const vec g = kind & W ? v_load(dy + i + j * FN_VL) * v_load(w + i + j * FN_VL) : v_load(dy + i + j * FN_VL);
                va[j] += g, vb[j] = v_fma(g, v_load(x + i + j * FN_VL) - m, vb[j]);
            }
        }
        for (; i < end; i += FN_VL) {
            const int l = end - i < FN_VL ? (int)(end - i) : FN_VL;
            const vec g = kind & W ? v_get(dy + i, l) * v_get(w + i, l) : v_get(dy + i, l);
            va[0] += g, vb[0] = v_fma(g, v_get(x + i, l) - m, vb[0]);
        }
        *sum += sum4(va), *dot += sum4(vb);
    }
}

/* s[i] += v[i], lanes i < l */
typedef double wide __attribute__((vector_size(FN_VBYTES), aligned(8), may_alias));
FN_INLINE void add_wide(double *s, vec v, int l) {
    typedef fn_t part __attribute__((vector_size(FN_VBYTES / 8 * sizeof(fn_t))));       /* as many as a wide holds */
    part p[FN_VBYTES / sizeof(part)];
    memcpy(p, &v, sizeof p);
    if (l == FN_VL)
        UNROLL for (int i = 0; i < FN_VBYTES / (int)sizeof(part); i++) ((wide *)s)[i] += __builtin_convertvector(p[i], wide);
    else
        for (int i = 0; i < l; i++) s[i] += (double)v[i];
}

/* nv vectors of columns, the last of l lanes, down `rows` rows, while the next ones come near: dx, and their share of dw and db to sw and sb. */
FN_INLINE void strip_dx(const int kind, const int nv, const int l, fn_t *dx, const fn_t *dy, const fn_t *x, const fn_t *w, int64_t n, int64_t rows,
                        const row_terms *k, double *sw, double *sb) {
    vec vw[4] = {0}, va[4] = {0}, vb[4] = {0};
    UNROLL for (int j = 0; j < nv; j++) vw[j] = kind & W ? v_get(w + j * FN_VL, l) : v_zero();
    for (int64_t r = 0; r < rows; r++) {
        const vec m = v_set1(k[r].m), s = v_set1(k[r].s);
        fetch_lines(x + (rows + r) * n, nv * FN_VBYTES, 0), fetch_lines(dy + (rows + r) * n, nv * FN_VBYTES, 0);
        UNROLL for (int j = 0; j < nv; j++) {
            const int64_t i = r * n + j * FN_VL;
            const vec g = v_get(dy + i, l), e = v_get(x + i, l) - m;
            if (kind & DW) vb[j] += g, va[j] = v_fma(g, v_fma(e, s, v_set1(k[r].t)), va[j]);
            if (kind & DX) v_put(dx + i, v_fma(kind & W ? g * vw[j] : g, s, v_fma(e, v_set1(k[r].q), v_set1(k[r].r))), l);
        }
    }
    if (!(kind & DW)) return;
    UNROLL for (int j = 0; j < nv; j++) {
        add_wide(sw + j * FN_VL, va[j], l), add_wide(sb + j * FN_VL, vb[j], l);
    }
}
FN_INLINE void rows_dx(const int kind, const fn_layer_norm_args *a, int64_t r0, int64_t rows, double *sw, double *sb) {
    const int64_t n = a->D;
    const fn_t *const x = (const fn_t *)a->x + r0 * n, *const dy = (const fn_t *)a->dy + r0 * n, *const w = a->w;
    fn_t *const dx = kind & DX ? (fn_t *)a->dx + r0 * n : NULL;
    row_terms k[TALL];
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0, dot = 0;
        if (kind & DX) row_slopes(kind, x + r * n, dy + r * n, dx + r * n, w, n, (fn_t)a->stats[r0 + r], &sum, &dot);
        k[r] = terms_dx(a, r0 + r, n, sum, dot);
    }
    int64_t i = 0;
#define STRIP(nv, l) strip_dx(kind, nv, l, kind & DX ? dx + i : dx, dy + i, x + i, kind & W ? w + i : w, n, rows, k, \
                              kind & DW ? sw + i : sw, kind & DW ? sb + i : sb)
    for (; i + 4 * FN_VL <= n; i += 4 * FN_VL) STRIP(4, FN_VL);
    for (; i + FN_VL <= n; i += FN_VL) STRIP(1, FN_VL);
    if (i < n) STRIP(1, (int)(n - i));
#undef STRIP
}

static int64_t parts_of(const fn_layer_norm_args *a) {
    const int64_t parts = a->N / DEEP;
    return parts < 1 ? 1 : parts < PARTS ? parts : PARTS;
}
FN_WORK(layer_norm_bwd) {
    const fn_layer_norm_args *a = args;
    (void)threads;
    return a->dw || a->db ? parts_of(a) * 2 * a->D * (int64_t)sizeof(double) : 0;
}
FN_KERNEL(layer_norm_bwd) {
    const fn_layer_norm_args *a = args;
    const int64_t n = a->D, parts = parts_of(a);
    const int kind = (a->w ? W : 0) | (a->dx ? DX : 0) | (a->dw || a->db ? DW : 0);
    int64_t lo, hi;
    fn_share(parts, 1, t, &lo, &hi);
    for (int64_t p = lo; p < hi; p++) {
        const int64_t end = a->N * (p + 1) / parts;
        double *const sw = kind & DW ? (double *)a->work + p * 2 * n : NULL, *const sb = kind & DW ? sw + n : NULL;
        for (int64_t i = 0; i < 2 * n && kind & DW; i++) sw[i] = 0;
        for (int64_t r = a->N * p / parts; r < end; r += TALL) {
            const int64_t rows = end - r < TALL ? end - r : TALL;
            switch (kind) {
            case DX: rows_dx(DX, a, r, rows, sw, sb); break;
            case DW: case DW | W: rows_dx(DW, a, r, rows, sw, sb); break;
            case DX | DW: rows_dx(DX | DW, a, r, rows, sw, sb); break;
            case DX | W: rows_dx(DX | W, a, r, rows, sw, sb); break;
            case DX | DW | W: rows_dx(DX | DW | W, a, r, rows, sw, sb); break;
            default: break;
            }
        }
    }
    if (!(kind & DW)) return;
    fn_barrier(t);
    fn_share(n, 64, t, &lo, &hi);
    const double *const work = a->work;
    fn_t *const dw = a->dw, *const db = a->db;
    for (int64_t at = lo, end; at < hi; at = end) {          /* columns side by side, parts in order */
        double sum[2][SIDE] = {0};
        end = hi - at < SIDE ? hi : at + SIDE;
        for (int64_t p = 0; p < parts; p++)
            for (int64_t i = at; i < end; i++) sum[0][i - at] += work[p * 2 * n + i], sum[1][i - at] += work[p * 2 * n + n + i];
        for (int64_t i = at; i < end && dw; i++) dw[i] = (fn_t)sum[0][i - at];
        for (int64_t i = at; i < end && db; i++) db[i] = (fn_t)sum[1][i - at];
    }
}

/* ---- group_norm over lines: row (n, g) is the lines of its D channels ----------------------------------------------- */

static void lines_y(const fn_layer_norm_args *a, fn_team t) {
    const int64_t G = a->G, D = a->D, inner = a->inner, n = D * inner;
    const fn_t *const w = a->w, *const b = a->b;
    int64_t lo, hi;
    fn_share(a->N * G, 1, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const row_terms k = terms_y(a, r, (const fn_t *)a->x + r * n, n);
        const vec m = v_set1(k.m);
        for (int64_t c = r % G * D, end = c + D, at = r * n; c < end; c++, at += inner) {
            const fn_t *const x = (const fn_t *)a->x + at;
            fn_t *const y = (fn_t *)a->y + at;
            const fn_t scale = w ? w[c] : 1, shift = b ? b[c] : 0;
            const vec s = v_set1(k.s * scale), u = v_set1(k.t * scale + shift);
            for (int64_t i = 0; i < inner; i += FN_VL) {
                const int l = inner - i < FN_VL ? (int)(inner - i) : FN_VL;
                v_put(y + i, v_fma(v_get(x + i, l) - m, s, u), l);
            }
        }
    }
}

/* sum and sum about m of dy over a line, in double over blocks. */
FN_APART void line_slopes(const fn_t *x, const fn_t *dy, int64_t n, fn_t m, double *sum, double *dot) {
    *sum = *dot = 0;
    for (int64_t i = 0; i < n; i += LINE) {
        vec va[4] = {0}, vb[4] = {0};
        line_sums(SLOPE, va, vb, x + i, dy + i, n - i < LINE ? n - i : LINE, 0, m, 0, 0);
        *sum += sum4(va), *dot += sum4(vb);
    }
}

static void lines_dx(const fn_layer_norm_args *a, fn_team t) {
    const int64_t G = a->G, D = a->D, inner = a->inner, n = D * inner;
    const double *const mean = a->stats;
    double *const work = a->work;
    const fn_t *const w = a->w;
    int64_t lo, hi;
    fn_share(a->N * G, 1, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const int64_t c0 = r % G * D;
        double sum = 0, dot = 0;
        for (int64_t d = 0; d < D; d++) {
            double *const s = work + 2 * (r * D + d);     /* sum dy, sum dy (x - m) */
            const int64_t at = r * n + d * inner;
            line_slopes((const fn_t *)a->x + at, (const fn_t *)a->dy + at, inner, (fn_t)mean[r], s, s + 1);
            const double scale = w ? (double)w[c0 + d] : 1;
            sum += scale * s[0], dot += scale * s[1];
        }
        if (!a->dx) continue;
        const row_terms k = terms_dx(a, r, n, sum, dot);
        const vec m = v_set1(k.m), vq = v_set1(k.q), vr = v_set1(k.r);
        for (int64_t d = D - 1; d >= 0; d--) {
            const int64_t at = r * n + d * inner;
            const fn_t *const x = (const fn_t *)a->x + at, *const dy = (const fn_t *)a->dy + at;
            fn_t *const dx = (fn_t *)a->dx + at;
            const vec s = v_set1(w ? k.s * w[c0 + d] : k.s);
            for (int64_t i = 0; i < inner; i += FN_VL) {
                const int l = inner - i < FN_VL ? (int)(inner - i) : FN_VL;
                v_put(dx + i, v_fma(v_get(dy + i, l), s, v_fma(v_get(x + i, l) - m, vq, vr)), l);
            }
        }
    }
}

/* ---- group_norm over columns: a sample is `inner` positions of C channels -------------------------------------------
 * A unit is some of the positions of a sample. work: for each unit two values of each channel, then two for each row (n, g). */

static int64_t spans_of(const fn_layer_norm_args *a) {
    const int64_t most = (a->inner + ROWS - 1) / ROWS, spans = a->inner * a->G * a->D / PART;
    return most < 1 || spans < 1 ? 1 : spans < most ? spans : most;
}
#define SPANS(a) \
    const int64_t G = (a)->G, D = (a)->D, C = G * D, inner = (a)->inner, spans = spans_of(a); \
    double *const work = (a)->work; \
    int64_t lo, hi
/* Unit u: sample n, positions i0..i1, the first at `at`; strips of columns c..c+wide. */
#define UNIT(u) \
    const int64_t n = (u) / spans, i0 = inner * ((u) % spans) / spans, i1 = inner * ((u) % spans + 1) / spans, at = (n * inner + i0) * C
#define STRIPS(c, wide) for (int64_t c = 0, wide; wide = C - c < WIDE ? C - c : WIDE, c < C; c += WIDE)

/* Sums over the rows of a strip, in double. */
FN_INLINE void span_sums(const int kind, double *sa, double *sb, const fn_t *x, const fn_t *dy, int64_t ld, int64_t rows, int64_t w, const terms *k) {
    fn_t a[WIDE], b[WIDE];
    for (int64_t j = 0; j < w; j++) sa[j] = sb[j] = 0;
    for (int64_t i = 0; i < rows; i += ROWS) {
        column_sums(kind, a, b, x + i * ld, kind >= SLOPE ? dy + i * ld : dy, ld, rows - i < ROWS ? rows - i : ROWS, w, k);
        for (int64_t j = 0; j < w; j++) sa[j] += (double)a[j], sb[j] += (double)b[j];
    }
}
/* mean and dev of each column of a strip. */
FN_APART void span_stats(double *mean, double *dev, const fn_t *x, int64_t ld, int64_t rows, int64_t w) {
    const int64_t first = rows < ROWS ? rows : ROWS;
    const double over = 1 / (double)rows;
    terms k;
    column_sums(GUESS, k.m, NULL, x, NULL, ld, first, w, &k);
    for (int64_t j = 0; j < w; j++) k.m[j] *= (fn_t)1 / (fn_t)first;
    span_sums(ABOUT, mean, dev, x, NULL, ld, rows, w, &k);
    for (int64_t j = 0; j < w; j++) {
        const double e = mean[j] * over;
        dev[j] -= mean[j] * e;
        mean[j] = (double)k.m[j] + e;
    }
}

/* Statistics of row r = (n, g) from its channels in each span. */
FN_APART void joined_stats(const fn_layer_norm_args *a, int64_t r) {
    const int64_t G = a->G, D = a->D, C = G * D, inner = a->inner, spans = spans_of(a), n = r / G, c0 = r % G * D;
    const double *const work = a->work;
    double mean = 0, dev = 0, before = 0;
    for (int64_t p = 0; p < spans; p++) {
        const double *const m = work + (n * spans + p) * 2 * C + c0, count = (double)(inner * (p + 1) / spans - inner * p / spans);
        for (int64_t d = 0; d < D; d++, before += count) join(&mean, &dev, before, m[d], m[C + d], count);
    }
    if (!isfinite(dev)) {                                    /* plainly, as in plain_stats */
        const fn_t *const x = (const fn_t *)a->x + n * inner * C + c0;
        mean = dev = 0;
        for (int64_t i = 0; i < inner * D; i++) mean += (double)x[i / D * C + i % D];
        mean /= (double)(inner * D);
        for (int64_t i = 0; i < inner * D; i++) {
            const double e = (double)x[i / D * C + i % D] - mean;
            dev += e * e;
        }
    }
    a->stats[r] = mean;
    a->stats[a->N * G + r] = 1 / sqrt((dev < 0 ? 0 : dev) / (double)(inner * D) + a->eps);
}

static void columns_y(const fn_layer_norm_args *a, fn_team t) {
    SPANS(a);
    const fn_t *const w = a->w, *const b = a->b, *const x = a->x;
    fn_t *const y = a->y;
    fn_share(a->N * spans, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        UNIT(u);
        STRIPS(c, wide) span_stats(work + u * 2 * C + c, work + u * 2 * C + C + c, x + at + c, C, i1 - i0, wide);
    }
    fn_barrier(t);
    int64_t r0, r1;
    fn_share(a->N * G, 8, t, &r0, &r1);
    for (int64_t r = r0; r < r1; r++) joined_stats(a, r);
    fn_barrier(t);
    for (int64_t u = hi - 1; u >= lo; u--) {
        UNIT(u);
        const double *const mean = a->stats + n * G, *const rstd = mean + a->N * G;
        STRIPS(c, wide) {
            terms k;
            for (int64_t j = 0; j < wide; j++) {
                const int64_t g = (c + j) / D;
                k.m[j] = (fn_t)mean[g];
                k.s[j] = (fn_t)rstd[g] * (w ? w[c + j] : 1);
                k.t[j] = (fn_t)(((double)k.m[j] - mean[g]) * rstd[g]) * (w ? w[c + j] : 1) + (b ? b[c + j] : 0);
            }
            for (int64_t i = 0; i < i1 - i0; i++)
                for (int64_t j = 0; j < wide; j += FN_VL) {
                    const int l = wide - j < FN_VL ? (int)(wide - j) : FN_VL;
                    v_put(y + at + i * C + c + j, v_fma(v_get(x + at + i * C + c + j, l) - v_get(k.m + j, l), v_get(k.s + j, l), v_get(k.t + j, l)), l);
                }
        }
    }
}

static void columns_dx(const fn_layer_norm_args *a, fn_team t) {
    SPANS(a);
    const fn_t *const w = a->w, *const x = a->x, *const dy = a->dy;
    fn_t *const dx = a->dx;
    double *const rows = work + a->N * spans * 2 * C;
    fn_share(a->N * spans, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        UNIT(u);
        STRIPS(c, wide) {
            terms k;
            for (int64_t j = 0; j < wide; j++) k.m[j] = (fn_t)a->stats[n * G + (c + j) / D];
            span_sums(SLOPE, work + u * 2 * C + c, work + u * 2 * C + C + c, x + at + c, dy + at + c, C, i1 - i0, wide, &k);
        }
    }
    fn_barrier(t);
    int64_t r0, r1;
    fn_share(a->N * G, 8, t, &r0, &r1);
    for (int64_t r = r0; r < r1; r++) {                      /* the sums of a channel end in the sample's first unit */
        double *const s = work + r / G * spans * 2 * C + r % G * D, sum = 0, dot = 0;
        for (int64_t d = 0; d < D; d++) {
            for (int64_t p = 1; p < spans; p++) s[d] += s[p * 2 * C + d], s[C + d] += s[p * 2 * C + C + d];
            const double scale = w ? (double)w[r % G * D + d] : 1;
            sum += scale * s[d], dot += scale * s[C + d];
        }
        rows[2 * r] = sum, rows[2 * r + 1] = dot;
    }
    fn_barrier(t);
    for (int64_t u = hi - 1; u >= lo && dx; u--) {
        UNIT(u);
        STRIPS(c, wide) {
            terms k;
            row_terms e = {0};
            for (int64_t j = 0, of = -1; j < wide; j++) {
                const int64_t r = n * G + (c + j) / D;
                if (r != of) e = terms_dx(a, r, D * inner, rows[2 * r], rows[2 * r + 1]), of = r;
                k.m[j] = e.m, k.s[j] = w ? e.s * w[c + j] : e.s, k.q[j] = e.q, k.r[j] = e.r;
            }
            for (int64_t i = 0; i < i1 - i0; i++)
                for (int64_t j = 0; j < wide; j += FN_VL) {
                    const int l = wide - j < FN_VL ? (int)(wide - j) : FN_VL;
                    const int64_t here = at + i * C + c + j;
                    const vec d = v_get(x + here, l) - v_get(k.m + j, l);
                    v_put(dx + here, v_fma(v_get(dy + here, l), v_get(k.s + j, l), v_fma(d, v_get(k.q + j, l), v_get(k.r + j, l))), l);
                }
        }
    }
}

/* ---- group_norm, either way --------------------------------------------------------------------------------------- */

FN_WORK(group_norm_fwd) {
    const fn_layer_norm_args *a = args;
    (void)threads;
    return a->last ? a->N * spans_of(a) * 2 * a->G * a->D * (int64_t)sizeof(double) : 0;
}
FN_KERNEL(group_norm_fwd) {
    const fn_layer_norm_args *a = args;
    if (a->last) columns_y(a, t);
    else lines_y(a, t);
}

FN_WORK(group_norm_bwd) {
    const fn_layer_norm_args *a = args;
    (void)threads;
    return a->N * (2 * a->G * a->D * (a->last ? spans_of(a) : 1) + (a->last ? 2 * a->G : 0)) * (int64_t)sizeof(double);
}
FN_KERNEL(group_norm_bwd) {
    const fn_layer_norm_args *a = args;
    const int64_t N = a->N, G = a->G, D = a->D, C = G * D, step = a->last ? 1 : 2, other = a->last ? C : 1, sample = 2 * C * (a->last ? spans_of(a) : 1);
    const double *const mean = a->stats, *const rstd = mean + N * G, *const work = a->work;
    fn_t *const dw = a->dw, *const db = a->db;
    int64_t lo, hi;
    if (a->last) columns_dx(a, t);
    else lines_dx(a, t);
    if (!dw && !db) return;
    fn_barrier(t);
    fn_share(C, 16, t, &lo, &hi);
    for (int64_t c = lo; c < hi; c++) {
        double slope = 0, sum = 0;
        for (int64_t i = 0; i < N; i++) {
            const double *const s = work + i * sample + step * c, m = mean[i * G + c / D];
            slope += (s[other] - (m - (double)(fn_t)m) * s[0]) * rstd[i * G + c / D], sum += s[0];
        }
        if (dw) dw[c] = (fn_t)slope;
        if (db) db[c] = (fn_t)sum;
    }
}
