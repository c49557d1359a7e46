/* Average pooling over fn_pool2d_args, see pool.h:
 *
 *   y[p,q] = sum of x over the window / count        dx[h,w] = sum of dy[p,q] / count over the windows that hold (h,w)
 *
 * adaptive: the window of p is floor(p H / P) .. ceil((p + 1) H / P) */
#include "pool.h"

/* A row that lies in a vector is pooled there: lane l of the result is the sum of lanes at[0][l], at[1][l], ..., those that are in. */
typedef struct { int n; mask at[FN_VL], in[FN_VL]; } lanes;
static int in_vectors(const fn_pool2d_args *a) { return !a->last && a->W <= FN_VL && a->Q <= FN_VL; }
/* Windows of different sizes, or three and more columns apart: their sums, and their shares, go one by one. */
static int one_by_one(const fn_pool2d_args *a) { return !a->last && (a->adaptive || a->sw > 2); }
FN_INLINE void lane_takes(lanes *of, int l, int64_t first, int64_t n) {
    for (int k = 0; k < n; k++) of->at[k][l] = (fn_i)(first + k), of->in[k][l] = -1;
    if (n > of->n) of->n = (int)n;
}
FN_INLINE vec sum_lanes(const lanes *of, vec v) {
    vec acc = v_zero();
    for (int k = 0; k < of->n; k++) acc += (vec)((mask)__builtin_shuffle(v, of->at[k]) & of->in[k]);
    return acc;
}

/* ---- forward -------------------------------------------------------------------------------------------- */

FN_INLINE fn_t divisor_of(const fn_pool2d_args *a, window u, window v) { return (fn_t)(a->divisor ? a->divisor : u.count * v.count); }

/* n vectors of the channels of one output pixel */
FN_INLINE void avg_pixel(fn_t *y, const fn_t *x, int64_t nr, int64_t ns, int64_t down, int64_t right, fn_t divisor, int m, int n) {
    vec acc[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (int64_t r = 0; r < nr; r++)
        for (int64_t s = 0; s < ns; s++)
            for (int k = 0; k < n; k++) acc[k] += v_get(x + r * down + s * right + k * FN_VL, m);
    for (int k = 0; k < n; k++) v_put(y + k * FN_VL, acc[k] / v_set1(divisor), m);
}
static void avg_pixels(const fn_pool2d_args *a, const axis *across, window u, const fn_t *x, fn_t *y, int64_t q, int64_t end, int64_t C) {
    const int64_t down = a->W * C, nr = u.to - u.from;
    x += (u.lo + u.from) * down;
    for (; q < end; q++) {
        const window v = window_of(across, q);
        const int64_t ns = v.to - v.from;
        const fn_t *const p = x + (v.lo + v.from) * C, divisor = divisor_of(a, u, v);
        fn_t *const o = y + q * C;
        int64_t c = 0;
        for (; c + 4 * FN_VL <= C; c += 4 * FN_VL) {
            if (nr == 2 && ns == 2) avg_pixel(o + c, p + c, 2, 2, down, C, divisor, FN_VL, 4);
            else avg_pixel(o + c, p + c, nr, ns, down, C, divisor, FN_VL, 4);
        }
        FN_VECTORS(C - c, avg_pixel(o + c + i, p + c + i, nr, ns, down, C, divisor, m, 1););
    }
}

FN_INLINE void avg_row_inside(const fn_pool2d_args *a, window u, range in, int64_t S, fn_t divisor, const fn_t *x, fn_t *y, int kind) {
    const int64_t W = a->W, sw = a->sw;
    x += u.lo * W + in.first * sw - a->pw;
    FN_VECTORS(in.end - in.first, {
        vec acc = v_zero();
        for (int64_t r = u.from; r < u.to; r++) {
            const fn_t *const p = x + r * W + i * sw;
            if (kind != TWO) for (int64_t s = 0; s < S; s++) acc += kind == ONE ? v_get(p + s, m) : v_every(p + s, sw, m);
            else for (int64_t s = 0; s < S; s += 2) {
                const pair v = v_pairs(p + s, m, s + 1 == S);
                acc += v.even;
                if (s + 1 < S) acc += v.odd;
            }
        }
        v_put(y + in.first + i, acc / v_set1(divisor), m);
    });
}
/* n numbers in a row */
static fn_t sum_of(const fn_t *x, int64_t n) {
    vec acc[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t k = 0;
    for (; k + 4 * FN_VL <= n; k += 4 * FN_VL)
        for (int j = 0; j < 4; j++) acc[j] += v_load(x + k + j * FN_VL);
    FN_VECTORS(n - k, acc[0] += v_get(x + k + i, m););
    return v_sum((acc[0] + acc[1]) + (acc[2] + acc[3]));
}
static void avg_row(const fn_pool2d_args *a, const axis *across, range in, window u, const fn_t *x, fn_t *y) {
    const window v = window_of(across, in.first);
    const fn_t divisor = divisor_of(a, u, v);
    if (a->Q == 1 && v.to - v.from == a->W) {                /* the rows of the window follow one another */
        y[0] = sum_of(x + (u.lo + u.from) * a->W, (u.to - u.from) * a->W) / divisor;
        return;
    }
    if (in.first) avg_pixels(a, across, u, x, y, 0, in.first, 1);
    if (a->sw == 2 && a->S == 2) avg_row_inside(a, u, in, 2, divisor, x, y, TWO);
    else if (a->sw == 2 && a->S == 3) avg_row_inside(a, u, in, 3, divisor, x, y, TWO);
    else if (a->sw == 2) avg_row_inside(a, u, in, a->S, divisor, x, y, TWO);
    else if (a->sw == 1) avg_row_inside(a, u, in, a->S, divisor, x, y, ONE);
    else avg_row_inside(a, u, in, a->S, divisor, x, y, ANY);
    if (in.end < a->Q) avg_pixels(a, across, u, x, y, in.end, a->Q, 1);
}

/* Rows in a vector */
static void avg_short(const fn_pool2d_args *a, const axis *down, const axis *across, fn_team t) {
    const int W = (int)a->W, Q = (int)a->Q;
    lanes of = {0};
    vec count = v_set1(1);
    for (int q = 0; q < Q; q++) {
        const window v = window_of(across, q);
        lane_takes(&of, q, v.lo + v.from, v.to - v.from);
        if (!a->divisor) count[q] = (fn_t)v.count;
    }
    ROWS(a, a->P, {
        const window u = window_of(down, row);
        const fn_t *const x = (const fn_t *)a->x + (plane * a->H + u.lo) * W;
        vec acc = v_zero();
        for (int64_t r = u.from; r < u.to; r++) acc += v_get(x + r * W, W);
        v_put((fn_t *)a->y + i * Q, sum_lanes(&of, acc) / (v_set1((fn_t)(a->divisor ? a->divisor : u.count)) * count), Q);
    });
}
/* One by one, from the sums of columns of as many outputs as these fit in a line; `first` has that many windows. */
enum { LINE = 1024 };
static void avg_single(const fn_pool2d_args *a, const axis *across, const window *first, window u, const fn_t *x, fn_t *y) {
    const int64_t W = a->W, Q = a->Q, wide = a->adaptive ? W / Q + 2 : a->S, apart = a->adaptive ? wide : a->sw;
    const int64_t together = wide <= LINE ? (LINE - wide) / apart + 1 : 1;
    fn_t line[LINE];
    x += u.lo * W;
    for (int64_t q0 = 0, n; q0 < Q; q0 += n) {
        n = least(together, Q - q0);
        const int64_t last = q0 + n - 1;
        const window left = q0 < LINE ? first[q0] : window_of(across, q0), right = last < LINE ? first[last] : window_of(across, last);
        const int64_t begin = left.lo + left.from;
        if (wide <= LINE) FN_VECTORS(right.lo + right.to - begin, {
            vec acc = v_zero();
            for (int64_t r = u.from; r < u.to; r++) acc += v_get(x + r * W + begin + i, m);
            v_put(line + i, acc, m);
        });
        for (int64_t q = q0; q < q0 + n; q++) {
            const window v = q < LINE ? first[q] : window_of(across, q);
            fn_t acc = 0;
            if (wide > LINE) for (int64_t r = u.from; r < u.to; r++) acc += sum_of(x + r * W + v.lo + v.from, v.to - v.from);
            else for (int64_t s = v.from; s < v.to; s++) acc += line[v.lo + s - begin];
            y[q] = acc / divisor_of(a, u, v);
        }
    }
}

FN_KERNEL(avg_pool2d_fwd) {
    const fn_pool2d_args *a = args;
    const axis down = rows_of(a), across = columns_of(a);
    const range in = whole_windows(&across);
    const int64_t C = a->last ? a->C : 1, P = a->P, Q = a->Q;
    if (Q == 0) return;
    if (in_vectors(a) && Q > 1) {
        avg_short(a, &down, &across, t);
        return;
    }
    if (!a->last && P == 1 && Q == 1) {
        const window u = window_of(&down, 0), v = window_of(&across, 0);
        const fn_t divisor = divisor_of(a, u, v), *const x = (const fn_t *)a->x + (u.lo + u.from) * a->W;
        if (v.to - v.from == a->W) {             /* one window over whole rows of a plane, which follow one another */
            ROWS(a, 1, ((fn_t *)a->y)[i] = sum_of(x + i * a->H * a->W, (u.to - u.from) * a->W) / divisor;);
            return;
        }
    }
    const int single = Q > 1 && (one_by_one(a) || (FN_VBYTES < 64 && !a->last && Q < FN_VL));        /* or a few: a part of a vector is made so */
    window first[LINE];
    for (int64_t q = 0; single && q < Q && q < LINE; q++) first[q] = window_of(&across, q);
    const int far = in_memory(a) && !a->last && !a->adaptive;
    ROWS(a, P, {
        const window u = window_of(&down, row);
        const fn_t *const x = (const fn_t *)a->x + plane * a->H * a->W * C;
        fn_t *const y = (fn_t *)a->y + i * Q * C;
        if (far) fetch_lines(x + row * a->sh * a->W + BEYOND, a->sh * a->W * SIZE, 0);
        if (a->last) avg_pixels(a, &across, u, x, y, 0, Q, C);
        else if (single) avg_single(a, &across, first, u, x, y);
        else avg_row(a, &across, in, u, x, y);
    });
}

/* ---- backward ------------------------------------------------------------------------------------------- */

/* What the windows of every row and column divide by: sums over windows (i,j) are divided by down[i] across[j]. */
typedef struct { const fn_t *down, *across; } counts;
static counts counts_in(const fn_pool2d_args *a, const axis *down, const axis *across, fn_t *to) {
    for (int64_t p = 0; p < a->P; p++) to[p] = (fn_t)(a->divisor ? a->divisor : window_of(down, p).count);
    for (int64_t q = 0; q < a->Q; q++) to[a->P + q] = (fn_t)(a->divisor ? 1 : window_of(across, q).count);
    return (counts){to, to + a->P};
}

/* The sum of m lanes of dy over windows of different sizes, each divided by its own. dy is at the first of them. */
FN_APART vec avg_weighted(const fn_pool2d_args *a, counts by, holders u, holders v, const fn_t *dy, int64_t step, int m) {
    vec acc = v_zero();
    for (int64_t i = 0; i < u.n; i++)
        for (int64_t j = 0; j < v.n; j++)
            acc += v_get(dy + (i * a->Q + j) * step, m) * v_set1(1 / (by.down[u.at + i] * by.across[v.at + j]));
    return acc;
}
/* The shares of one input pixel: m channels (step C from window to window), or m columns whose windows are neighbours (step 1).
 * dy is at the first row of windows; sums of windows of one size are scaled once, by `by`, which is 0 if they differ. */
FN_INLINE fn_t share_of(const fn_pool2d_args *a, holders u, holders v) {
    const int64_t count = a->divisor ? a->divisor : u.count * v.count;
    return count ? 1 / (fn_t)count : 0;
}
FN_INLINE vec avg_gather(const fn_pool2d_args *a, counts of, holders u, holders v, int64_t nu, int64_t nv, fn_t by,
                         const fn_t *dy, int64_t step, int m) {
    vec acc = v_zero();
    dy += v.at * step;
    if (by == 0) return avg_weighted(a, of, u, v, dy, step, m);
    for (int64_t i = 0; i < nu; i++)
        for (int64_t j = 0; j < nv; j++) acc += v_get(dy + (i * a->Q + j) * step, m);
    return acc * v_set1(by);
}
/* A pixel in windows of different sizes */
static void avg_mixed(const fn_pool2d_args *a, counts of, holders u, holders v, fn_t *dx, const fn_t *dy, int64_t C) {
    dy += v.at * C;
    for (int64_t i = 0; i < u.n; i++)
        for (int64_t j = 0; j < v.n; j++) {
            const vec by = v_set1(1 / (of.down[u.at + i] * of.across[v.at + j]));
            const fn_t *const d = dy + (i * a->Q + j) * C;
            if (i == 0 && j == 0) FN_VECTORS(C, v_put(dx + i, v_get(d + i, m) * by, m););
            else FN_VECTORS(C, v_put(dx + i, v_get(dx + i, m) + v_get(d + i, m) * by, m););
        }
}
static void avg_pixels_bwd(const fn_pool2d_args *a, counts of, const holders *columns, holders u, fn_t *dx, const fn_t *dy,
                           int64_t w, int64_t end, int64_t C) {
    for (; w < end; w++) {
        const holders v = columns[w];
        const fn_t by = share_of(a, u, v);
        fn_t *const d = dx + w * C;
        if (C == 1) v_store_n(d, avg_gather(a, of, u, v, u.n, v.n, by, dy, 1, 1), 1);
        else if (by == 0 && v.n) avg_mixed(a, of, u, v, d, dy, C);
        else if (u.n == 1 && v.n == 1) FN_VECTORS(C, v_put(d + i, avg_gather(a, of, u, v, 1, 1, by, dy + i, C, m), m););
        else if (u.n == 1 && v.n == 2) FN_VECTORS(C, v_put(d + i, avg_gather(a, of, u, v, 1, 2, by, dy + i, C, m), m););
        else if (u.n == 2 && v.n == 1) FN_VECTORS(C, v_put(d + i, avg_gather(a, of, u, v, 2, 1, by, dy + i, C, m), m););
        else FN_VECTORS(C, v_put(d + i, avg_gather(a, of, u, v, u.n, v.n, by, dy + i, C, m), m););
    }
}
/* S is 2 or 3, or 0: any. Where it is told and kind is TWO, even columns have S - 1 windows in each of nu rows, odd ones 1. */
FN_INLINE void avg_row_inside_bwd(const fn_pool2d_args *a, counts of, const holders *columns, range in, holders u, int64_t nu,
                                  int64_t S, fn_t *dx, const fn_t *dy, int kind) {
    const holders *const v = columns + in.first;
    const int64_t sw = a->sw;
    const fn_t by = share_of(a, u, v[0]);
    dx += in.first;
    FN_VECTORS((in.end - in.first) / sw, {
        if (kind == ONE) v_put(dx + i, avg_gather(a, of, u, v[0], nu, v[0].n, by, dy + i, 1, m), m);
        else if (kind == TWO) {
            const vec even = avg_gather(a, of, u, v[0], nu, S ? S - 1 : v[0].n, by, dy + i, 1, m);
            v_put_pairs(dx + 2 * i, even, avg_gather(a, of, u, v[1], nu, S ? 1 : v[1].n, by, dy + i, 1, m), m);
        } else for (int64_t f = 0; f < sw; f++) {
            fn_t lane[FN_VL];
            v_store(lane, avg_gather(a, of, u, v[f], nu, v[f].n, by, dy + i, 1, m));
            for (int l = 0; l < m; l++) dx[(i + l) * sw + f] = lane[l];
        }
    });
}
static void avg_row_bwd(const fn_pool2d_args *a, counts of, const holders *columns, range in, holders u, fn_t *dx, const fn_t *dy) {
    const int64_t W = a->W;
    if (a->Q == 1 && columns[0].n && columns[W - 1].n) {     /* one window over the whole row: one value */
        avg_pixels_bwd(a, of, columns, u, dx, dy, 0, 1, 1);
        const vec same = v_set1(dx[0]);
        FN_VECTORS(W, v_put(dx + i, same, m););
        return;
    }
    if (in.first) avg_pixels_bwd(a, of, columns, u, dx, dy, 0, in.first, 1);
    if (a->sw == 2 && a->S == 2 && u.n == 1) avg_row_inside_bwd(a, of, columns, in, u, 1, 2, dx, dy, TWO);
    else if (a->sw == 2 && a->S == 3 && u.n == 1) avg_row_inside_bwd(a, of, columns, in, u, 1, 3, dx, dy, TWO);
    else if (a->sw == 2 && a->S == 3 && u.n == 2) avg_row_inside_bwd(a, of, columns, in, u, 2, 3, dx, dy, TWO);
    else if (a->sw == 2) avg_row_inside_bwd(a, of, columns, in, u, u.n, 0, dx, dy, TWO);
    else if (a->sw == 1) avg_row_inside_bwd(a, of, columns, in, u, u.n, 0, dx, dy, ONE);
    else avg_row_inside_bwd(a, of, columns, in, u, u.n, 0, dx, dy, ANY);
    if (in.end < W) avg_pixels_bwd(a, of, columns, u, dx, dy, in.end, W, 1);
}

/* dy of the windows that hold a row, each divided by its size: m of them from q on. */
FN_INLINE vec avg_shares(const fn_pool2d_args *a, counts of, holders u, const fn_t *dy, int64_t q, int m) {
    const vec across = v_get(of.across + q, m);
    vec acc = v_zero();
    for (int64_t i = 0; i < u.n; i++) acc += v_get(dy + i * a->Q + q, m) / (v_set1(of.down[u.at + i]) * across);
    return acc;
}
/* Two rows in the same windows get the same. */
FN_INLINE int same_windows(holders u, holders v) { return u.at == v.at && u.n == v.n; }

/* Rows in a vector */
static void avg_short_bwd(const fn_pool2d_args *a, counts of, held rows, held columns, fn_team t) {
    const int W = (int)a->W, Q = (int)a->Q;
    lanes from = {0};
    for (int w = 0; w < W; w++) lane_takes(&from, w, columns.of[w].at, columns.of[w].n);
    holders before = {0};
    vec d = v_zero();
    ROWS(a, a->H, {
        const holders u = rows.of[row];
        if (row == 0 || i == lo || !same_windows(u, before))
            d = sum_lanes(&from, avg_shares(a, of, u, (const fn_t *)a->dy + (plane * a->P + u.at) * Q, 0, Q));
        v_put((fn_t *)a->dx + i * W, d, W);
        before = u;
    });
}
/* One by one; `line` takes the shares. */
static void avg_single_bwd(const fn_pool2d_args *a, counts of, const holders *columns, holders u, fn_t *dx, const fn_t *dy, fn_t *line) {
    FN_VECTORS(a->Q, v_put(line + i, avg_shares(a, of, u, dy, i, m), m););
    for (int64_t w = 0; w < a->W; w++) {
        const holders v = columns[w];
        fn_t acc = (v.n ? line[v.at] : 0) + (v.n > 1 ? line[v.at + 1] : 0);
        for (int64_t j = 2; j < v.n; j++) acc += line[v.at + j];
        dx[w] = acc;
    }
}

/* A thread's: the holders of rows and columns, the counts, a line of shares */
static int64_t avg_bytes(const fn_pool2d_args *a) {
    return held_bytes(a, 1) + ((a->P + 2 * a->Q) * (int64_t)sizeof(fn_t) + 7) / 8 * 8;
}
FN_WORK(avg_pool2d_bwd) { return avg_bytes(args) * threads; }
FN_KERNEL(avg_pool2d_bwd) {
    const fn_pool2d_args *a = args;
    const axis down = rows_of(a), across = columns_of(a);
    const range in = inputs_of(&across, whole_windows(&across));
    const int64_t C = a->last ? a->C : 1, H = a->H, W = a->W, Q = a->Q;
    holders *const holding = (holders *)((char *)a->work + t.rank * avg_bytes(a));
    const held rows = held_in(&down, holding), columns = held_in(&across, holding + H);
    fn_t *const line = (fn_t *)(holding + H + W);
    const counts of = counts_in(a, &down, &across, line + Q);
    const fn_t by = H && W ? share_of(a, rows.of[0], columns.of[0]) : 0;
    if (!a->last && a->P == 1 && Q == 1 && by != 0 && rows.of[0].n && rows.of[H - 1].n && columns.of[0].n && columns.of[W - 1].n) {
        ROWS(a, 1, {                         /* one window over the whole plane: one value */
            fn_t *const dx = (fn_t *)a->dx + i * H * W;
            const vec same = (v_zero() + v_set1(((const fn_t *)a->dy)[i])) * v_set1(by);
            FN_VECTORS(H * W, v_put(dx + i, same, m););
        });
        return;
    }
    if (in_vectors(a)) {
        avg_short_bwd(a, of, rows, columns, t);
        return;
    }
    const int single = one_by_one(a), far = in_memory(a) && !a->last && !single;
    ROWS(a, H, {
        const holders u = rows.of[row];
        fn_t *const dx = (fn_t *)a->dx + i * W * C;
        const fn_t *const dy = (const fn_t *)a->dy + (plane * a->P + u.at) * Q * C;
        if (far) fetch_lines(dx + BEYOND, W * SIZE, 1), fetch_lines(dy + BEYOND, Q * SIZE, 0);
        if (!u.n) memset(dx, 0, (size_t)(W * C) * sizeof(fn_t));
        else if (a->last) avg_pixels_bwd(a, of, columns.of, u, dx, dy, 0, W, C);
        else if (single && row && i > lo && same_windows(u, rows.of[row - 1])) memcpy(dx, dx - W, (size_t)W * sizeof(fn_t));
        else if (single) avg_single_bwd(a, of, columns.of, u, dx, dy, line);
        else avg_row_bwd(a, of, columns.of, in, u, dx, dy);
    });
}
