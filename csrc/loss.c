/* Losses over fn_loss_args: items are the (row, column of inner) pairs, each with C classes.
 *
 *   l = log_softmax(x), p = softmax(x), e = smoothing, w = weight or 1, W = sum w
 *   cross_entropy, class t    L = -(1 - e) w_t l_t - e/C sum_c w_c l_c          dx_c = g ((1 - e) w_t (p_c - [c = t]) + e/C (W p_c - w_c))
 *   cross_entropy, soft t     L = -sum_c q_c l_c, q_c = w_c ((1 - e) t_c + e/C)  dx_c = g (p_c sum_k q_k - q_c)
 *   nll, class t              L = -w_t x_t                                        dx_t = -g w_t, 0 elsewhere
 *
 * Losses of single elements, L times w where there are weights; d = x - t
 *   mse           L = d^2                                          dx = 2 d                     dt = -dx
 *   l1            L = |d|                                          dx = sign d                  dt = -dx
 *   huber         L = m (|d| - m / 2) / s2,  m = min(|d|, s)       dx = min(max(d, -s), s) / s2  dt = -dx
 *   bce           L = (t - 1) n - t y,  y = max(log x, -100), n = max(log(1 - x), -100)
 *                                                                  dx = (x - t) / max(x (1 - x), 1e-12)   dt = log(1 - x) - log x
 *   bce_logits    L = (1 - t) x + (1 + (v - 1) t) l,  l = log(1 + exp(-x)),  v is 1 if null
 *                                                                  dx = (1 - t + v t) sigmoid(x) - v t    dt = (v - 1) l - x
 *   gaussian_nll  L = (log u + d^2 / u) / 2 + s2,  u = max(v, s)   dx = d / u,  dt = -dx,  dv = (1 - d^2 / u) / (2 u)
 *   kl_div        L = t (log t - x), 0 where t is 0                dx = -t                      dt = log t + 1 - x
 *   kl_div_log    L = exp(t) (t - x)                               dx = -exp(t)                 dt = exp(t) (t - x + 1)
 * all of them times g. x outside 0..1 (bce) or v below 0 (gaussian_nll) give NaN; callers refuse them.
 *
 * reduction none: y = L, g = dy. sum: y = sum L, g = dy. mean: y = sum L / total, g = dy / total, where total is the sum of w_t
 * over items that count, or the number of items (soft targets, single elements). Class ignore_index counts for nothing; any other class outside
 * 0..C-1 gives NaN and touches no memory (callers refuse it; a replay cannot).
 *
 * Items are cut into parts by shape alone. Sums of parts are taken in double and added in order. */
#include "loss.h"
#include "softmax.h"

enum { PLAIN, SMOOTH, SOFT };
enum { PAIR_PART = 4096, NLL_PART = 1024 };

/* ---- cross_entropy ------------------------------------------------------------------------------------------- */

/* Some 8192 values to a part, and a multiple of every vector's lanes. */
static parting entropy_parts(const fn_loss_args *a) {
    const int64_t n = 8192 / (a->C > 0 ? a->C : 1);
    return parts_of(a, n < 16 ? 16 : (n + 15) / 16 * 16);
}

/* What up to FN_VL items keep: max x; log sum exp(x - max); sum q; sum q (x - max), where q is as above or w (smoothing). */
typedef struct { fn_t max[FN_VL], log[FN_VL], q[FN_VL], qx[FN_VL]; } items;

/* q of a vector of classes (rows) or of items (columns) */
FN_INLINE vec soft_q(vec target, vec w, fn_t e, fn_t e_c) { return w * v_fma(target, v_set1(1 - e), v_set1(e_c)); }

/* One row: p = exp(x - max) / sum, where p is wanted. */
FN_INLINE void entropy_row(const fn_loss_args *a, int64_t row, items *it, int k, const int kind) {
    const int64_t C = a->C;
    const fn_t *const x = (const fn_t *)a->x + row * C, *const w = a->weight, *const t = (const fn_t *)a->target + row * C;
    fn_t *const p = a->prob ? (fn_t *)a->prob + row * C : NULL;
    const fn_t e = (fn_t)a->smoothing, e_c = (fn_t)(a->smoothing / (double)C);
    const fn_t max = row_max(x, C), sum = row_exp(p, x, C, max, v_exp_neg);
    if (p) row_scale(p, C, 1 / sum);
    it->max[k] = max;
    it->log[k] = sum;
    if (kind == PLAIN) return;
    vec q = v_zero(), qx = v_zero();
    for (int64_t c = 0; c < C; c += FN_VL) {
        const int m = (int)(C - c < FN_VL ? C - c : FN_VL);
        const mask in = m_first(m);
        vec wc = w ? v_get(w + c, m) : v_set1(1);
        if (kind == SOFT) wc = soft_q(v_get(t + c, m), wc, e, e_c);
        q += v_select(in, wc, v_zero());
        qx += v_select(in, wc * (v_get(x + c, m) - v_set1(max)), v_zero());
    }
    it->q[k] = v_sum(q);
    it->qx[k] = v_sum(qx);
}

/* tile[c*FN_VL + k] = x[k*C + c], C <= FN_VL, k < m; and back. Pieces of a row may overlap, but do not leave it. */
FN_INLINE void turn_rows(fn_t *tile, const fn_t *x, int64_t C, int m) {
    for (int64_t c = 0; c < C && C >= FN_PIECE; c += FN_PIECE) {
        const int64_t first = least(c, C - FN_PIECE);
        vec v[FN_PIECE];
        v_load_turned(v, x + first, C, m);
        for (int q = 0; q < FN_PIECE; q++) v_store(tile + (first + q) * FN_VL, v[q]);
    }
    for (int64_t c = 0; c < C && C < FN_PIECE; c++)
        for (int k = 0; k < m; k++) tile[c * FN_VL + k] = x[k * C + c];
}
FN_INLINE void turn_back(fn_t *x, const fn_t *tile, int64_t C, int m) {
    for (int64_t c = 0; c < C && C >= FN_PIECE; c += FN_PIECE) {
        const int64_t first = least(c, C - FN_PIECE);
        vec v[FN_PIECE];
        for (int q = 0; q < FN_PIECE; q++) v[q] = v_load(tile + (first + q) * FN_VL);
        v_transpose_pieces(v);
        v_store_pieces(x + first, C, v, m);
    }
    for (int64_t c = 0; c < C && C < FN_PIECE; c++)
        for (int k = 0; k < m; k++) x[k * C + c] = tile[c * FN_VL + k];
}

/* m columns from j on of row r; or, of C <= FN_VL classes side by side, the m rows from j on, turned: alone they would leave lanes idle. */
FN_INLINE void entropy_columns(const fn_loss_args *a, int64_t r, int64_t j, int m, items *it, const int rows, const int kind) {
    const int64_t C = a->C, step = a->inner, at = rows ? j * C : r * C * step + j;
    const fn_t *const x = (const fn_t *)a->x + at, *const w = a->weight, *const t = (const fn_t *)a->target + at;
    fn_t *const p = a->prob ? (fn_t *)a->prob + at : NULL;
    const fn_t e = (fn_t)a->smoothing, e_c = (fn_t)(a->smoothing / (double)C);
    fn_t tile[COLUMN_TILE * FN_VL] __attribute__((aligned(FN_ALIGN)));
    const int tiled = rows || C <= COLUMN_TILE;
    const fn_t *const u = tiled ? tile : x;
    fn_t *const v = tiled ? tile : p;
    const int64_t hop = tiled ? FN_VL : step;
    vec q = v_zero(), qx = v_zero(), sum = v_zero();
    if (rows) turn_rows(tile, x, C, m);
    const vec max = rows ? column_max(tile, C, FN_VL, m, NULL) : column_max(x, C, step, m, tiled ? tile : NULL);
    for (int64_t c = 0; c < C; c++) {
        const vec d = v_get(u + c * hop, m) - max, y = v_exp_neg(d);
        sum += y;
        if (p) v_put(v + c * hop, y, m);
        if (kind == PLAIN) continue;
        vec wc = v_set1(w ? w[c] : 1);
        if (kind == SOFT) wc = soft_q(v_get(t + c * step, m), wc, e, e_c);
        q += wc;
        qx = v_fma(wc, d, qx);
    }
    const vec scale = v_set1(1) / sum;
    for (int64_t c = 0; p && c < C; c++) v_put(rows ? tile + c * FN_VL : p + c * step, v_get(v + c * hop, m) * scale, m);
    if (p && rows) turn_back(p, tile, C, m);
    v_store(it->max, max);
    v_store(it->log, sum);
    v_store(it->q, q);
    v_store(it->qx, qx);
}

FN_INLINE void entropy_part(const fn_loss_args *a, part p, part_sum *sum, const int kind) {
    const int64_t C = a->C, inner = a->inner, step = inner;
    const fn_t *const x = a->x;
    const int64_t *const target = a->target;
    const fn_t keep = (fn_t)(1 - a->smoothing), e_c = (fn_t)(a->smoothing / (double)C);
    for (int64_t j = p.j0; j < p.j1; j += FN_VL) {
        const int m = (int)(p.j1 - j < FN_VL ? p.j1 - j : FN_VL);
        items it;
        if (inner > 1) entropy_columns(a, p.r, j, m, &it, 0, kind);
        else if (C <= FN_VL && kind != SOFT) entropy_columns(a, 0, j, m, &it, 1, kind);
        else for (int k = 0; k < m; k++) entropy_row(a, j + k, &it, k, kind);
        v_put(it.log, v_log(v_get(it.log, m)), m);
        for (int k = 0; k < m; k++) {
            const int64_t i = p.r * inner + j + k;
            const fn_t w = kind == SOFT ? 1 : weight_at(a, target[i]);
            fn_t loss = 0;
            if (kind == SOFT) {
                loss = it.q[k] * it.log[k] - it.qx[k];
            } else if (counts(a, target[i]) && !valid(a, target[i])) {
                loss = (fn_t)NAN;
            } else if (counts(a, target[i])) {
                const fn_t xt = inner == 1 ? x[i * C + target[i]] : x[(p.r * C + target[i]) * step + j + k];
                loss = keep * w * (it.log[k] - (xt - it.max[k]));
                if (kind == SMOOTH) loss += e_c * (it.q[k] * it.log[k] - it.qx[k]);
            }
            if (a->reduction == NONE) ((fn_t *)a->y)[i] = loss;
            sum->loss += (double)loss;
            sum->total += (double)w;
        }
    }
}
/* dx = scale p - every w, less `at` where the class is t; scale, at, every are those of the item (none: zeros, whatever p is). */
typedef struct { fn_t scale, at, every; int64_t t; int none; } slope;

FN_INLINE slope slope_of(const fn_loss_args *a, int64_t item, fn_t all, fn_t W) {
    const int64_t t = ((const int64_t *)a->target)[item];
    if (!counts(a, t)) return (slope){0, 0, 0, -1, 1};
    const fn_t g = valid(a, t) ? gradient_of(a, item, all) : (fn_t)NAN, w = valid(a, t) ? weight_of(a, t) : 1;
    const fn_t at = (fn_t)(1 - a->smoothing) * w * g, every = (fn_t)(a->smoothing / (double)a->C) * g;
    return (slope){at + every * W, at, every, valid(a, t) ? t : -1, 0};
}

FN_INLINE void entropy_row_bwd(const fn_loss_args *a, int64_t row, fn_t all, fn_t W, const int kind) {
    const int64_t C = a->C;
    const fn_t *const p = (const fn_t *)a->prob + row * C, *const w = a->weight, *const t = (const fn_t *)a->target + row * C;
    fn_t *const dx = (fn_t *)a->dx + row * C;
    const fn_t e = (fn_t)a->smoothing, e_c = (fn_t)(a->smoothing / (double)C);
    const slope s = kind == SOFT ? (slope){0, 0, gradient_of(a, row, all), -1, 0} : slope_of(a, row, all, W);
    if (s.none) {
        memset(dx, 0, (size_t)C * sizeof *dx);
        return;
    }
    vec scale = v_set1(s.scale), every = v_set1(s.every), q = v_zero();
    if (kind == SOFT) {
        for (int64_t c = 0; c < C; c += FN_VL) {
            const int m = (int)(C - c < FN_VL ? C - c : FN_VL);
            q += v_select(m_first(m), soft_q(v_get(t + c, m), w ? v_get(w + c, m) : v_set1(1), e, e_c), v_zero());
        }
        scale = every * v_set1(v_sum(q));
    }
    for (int64_t c = 0; c < C; c += FN_VL) {
        const int m = (int)(C - c < FN_VL ? C - c : FN_VL);
        vec d = v_get(p + c, m) * scale;
        if (kind != PLAIN) {
            vec wc = w ? v_get(w + c, m) : v_set1(1);
            if (kind == SOFT) wc = soft_q(v_get(t + c, m), wc, e, e_c);
            d -= every * wc;
        }
        if (C <= FN_VL) d -= v_select(m_lanes() == m_set1((fn_i)s.t), v_set1(s.at), v_zero());
        v_put(dx + c, d, m);
    }
    if (C > FN_VL && s.t >= 0) dx[s.t] -= s.at;
}

/* Rows j0 to j1 of PLAIN whose items that count share one slope. */
static void entropy_rows_bwd(const fn_loss_args *a, int64_t j0, int64_t j1, fn_t all) {
    const int64_t C = a->C;
    const fn_t *const p = (const fn_t *)a->prob + j0 * C;
    fn_t *dx = (fn_t *)a->dx + j0 * C;
    FN_VECTORS((j1 - j0) * C, v_put(dx + i, v_get(p + i, m) * v_set1(all), m););
    for (int64_t j = j0; j < j1; j++, dx += C) {
        const int64_t t = ((const int64_t *)a->target)[j];
        if (counts(a, t) && valid(a, t)) dx[t] -= all;
        else
            for (int64_t c = 0; c < C; c++) dx[c] = counts(a, t) ? (fn_t)NAN : 0;
    }
}

FN_INLINE void entropy_columns_bwd(const fn_loss_args *a, int64_t r, int64_t j, int m, fn_t all, fn_t W, const int kind) {
    const int64_t C = a->C, step = a->inner, at = r * C * step + j;
    const fn_t *const p = (const fn_t *)a->prob + at, *const w = a->weight, *const t = (const fn_t *)a->target + at;
    fn_t *const dx = (fn_t *)a->dx + at;
    const fn_t e = (fn_t)a->smoothing, e_c = (fn_t)(a->smoothing / (double)C);
    slope s[FN_VL];
    vec scale = v_zero(), every = v_zero();
    mask none = m_set1(0);
    for (int k = 0; k < m; k++) {
        const int64_t i = r * step + j + k;
        s[k] = kind == SOFT ? (slope){0, 0, gradient_of(a, i, all), -1, 0} : slope_of(a, i, all, W);
        scale[k] = s[k].scale, every[k] = s[k].every, none[k] = -s[k].none;
    }
    if (kind == SOFT) {
        vec q = v_zero();
        for (int64_t c = 0; c < C; c++) q += soft_q(v_get(t + c * step, m), v_set1(w ? w[c] : 1), e, e_c);
        scale = every * q;
    }
    for (int64_t c = 0; c < C; c++) {
        vec d = v_get(p + c * step, m) * scale;
        if (kind != PLAIN) {
            vec wc = v_set1(w ? w[c] : 1);
            if (kind == SOFT) wc = soft_q(v_get(t + c * step, m), wc, e, e_c);
            d -= every * wc;
        }
        v_put(dx + c * step, v_select(none, v_zero(), d), m);
    }
    for (int k = 0; k < m; k++)
        if (s[k].t >= 0) dx[s[k].t * step + k] -= s[k].at;
}

FN_INLINE void entropy_slopes(const fn_loss_args *a, part p, const int kind) {
    const fn_t all = gradient(a);
    fn_t W = (fn_t)a->C;
    if (kind == SMOOTH && a->weight) {
        vec sum = v_zero();
        for (int64_t c = 0; c < a->C; c += FN_VL) sum += v_load_n((const fn_t *)a->weight + c, (int)least(a->C - c, FN_VL));
        W = v_sum(sum);
    }
    if (a->inner == 1 && kind == PLAIN && !a->weight && a->reduction != NONE) entropy_rows_bwd(a, p.j0, p.j1, all);
    else if (a->inner == 1)
        for (int64_t j = p.j0; j < p.j1; j++) entropy_row_bwd(a, j, all, W, kind);
    else
        for (int64_t j = p.j0; j < p.j1; j += FN_VL) entropy_columns_bwd(a, p.r, j, (int)least(p.j1 - j, FN_VL), all, W, kind);
}

#define ENTROPY(name, kind) \
    static void entropy_##name(const fn_loss_args *a, part p, part_sum *sum) { entropy_part(a, p, sum, kind); } \
    static void entropy_##name##_slopes(const fn_loss_args *a, part p) { entropy_slopes(a, p, kind); }
ENTROPY(plain, PLAIN)
ENTROPY(smooth, SMOOTH)
ENTROPY(soft, SOFT)

FN_WORK(cross_entropy_fwd) {
    (void)threads;
    return work_for(args, entropy_parts(args));
}
FN_KERNEL(cross_entropy_fwd) {
    fn_loss_args a = *(const fn_loss_args *)args;
    if (a.dx) a.prob = a.dx;             /* a part of it, until that part of dx is made */
    if (a.soft) run_losses(&a, entropy_parts(&a), t, entropy_soft, entropy_soft_slopes);
    else if (a.smoothing != 0) run_losses(&a, entropy_parts(&a), t, entropy_smooth, entropy_smooth_slopes);
    else run_losses(&a, entropy_parts(&a), t, entropy_plain, entropy_plain_slopes);
}
FN_KERNEL(cross_entropy_bwd) {
    const fn_loss_args *a = args;
    run_slopes(a, entropy_parts(a), t, a->soft ? entropy_soft_slopes : a->smoothing != 0 ? entropy_smooth_slopes : entropy_plain_slopes);
}

/* ---- nll ------------------------------------------------------------------------------------------------------ */

static void nll_part(const fn_loss_args *a, part p, part_sum *sum) {
    const fn_t *const x = a->x;
    for (int64_t j = p.j0; j < p.j1; j++) {
        const int64_t i = p.r * a->inner + j, class = ((const int64_t *)a->target)[i];
        const fn_t w = weight_at(a, class);
        fn_t loss = 0;
        if (counts(a, class) && !valid(a, class)) {
            loss = (fn_t)NAN;
        } else if (counts(a, class)) {
            loss = -w * (a->inner == 1 ? x[j * a->C + class] : x[(p.r * a->C + class) * a->inner + j]);
        }
        if (a->reduction == NONE) ((fn_t *)a->y)[i] = loss;
        sum->loss += (double)loss;
        sum->total += (double)w;
    }
}
FN_WORK(nll_fwd) {
    (void)threads;
    return work_for(args, parts_of(args, NLL_PART));
}
FN_KERNEL(nll_fwd) {
    const fn_loss_args *a = args;
    run_losses(a, parts_of(a, NLL_PART), t, nll_part, NULL);
}

FN_KERNEL(nll_bwd) {
    const fn_loss_args *a = args;
    const int64_t C = a->C, inner = a->inner;
    const parting ps = entropy_parts(a);
    const fn_t all = ps.count ? gradient(a) : 0;
    fn_t *const dx = a->dx;
    int64_t lo, hi;
    fn_share(ps.count, 1, t, &lo, &hi);
    for (int64_t k = lo; k < hi; k++) {
        const part p = part_at(a, ps, k);
        if (inner == 1) memset(dx + p.j0 * C, 0, (size_t)((p.j1 - p.j0) * C) * sizeof *dx);
        else
            for (int64_t c = 0; c < C; c++) memset(dx + (p.r * C + c) * inner + p.j0, 0, (size_t)(p.j1 - p.j0) * sizeof *dx);
        for (int64_t j = p.j0; j < p.j1; j++) {
            const int64_t i = p.r * inner + j, class = ((const int64_t *)a->target)[i];
            if (!counts(a, class)) continue;
            fn_t *const d = inner == 1 ? dx + j * C : dx + p.r * C * inner + j;
            if (valid(a, class)) d[class * inner] = -gradient_of(a, i, all) * weight_of(a, class);
            else
                for (int64_t c = 0; c < C; c++) d[c * inner] = (fn_t)NAN;
        }
    }
}

/* ---- of single elements ---------------------------------------------------------------------------------------- */

typedef struct { vec s, s2; } numbers;
typedef struct { vec dx, dt, dv; } slopes;
typedef vec (*pair_loss)(numbers k, vec x, vec t, vec v);
typedef slopes (*pair_slopes)(numbers k, vec x, vec t, vec v, const int all);    /* all: dt and dv too */

FN_INLINE numbers numbers_of(const fn_loss_args *a) { return (numbers){v_set1((fn_t)a->s), v_set1((fn_t)a->s2)}; }
FN_INLINE vec v_or(const void *p, int64_t i, int m, fn_t otherwise) { return p ? v_get((const fn_t *)p + i, m) : v_set1(otherwise); }

FN_INLINE vec pair_at(const fn_loss_args *a, numbers k, int64_t i, int m, pair_loss f) {
    const vec l = f(k, v_get((const fn_t *)a->x + i, m), v_get((const fn_t *)a->target + i, m), v_or(a->v, i, m, 1)) * v_or(a->weight, i, m, 1);
    if (a->reduction == NONE) v_put((fn_t *)a->y + i, l, m);
    return m == FN_VL ? l : v_select(m_first(m), l, v_zero());
}
FN_INLINE void pair_part(const fn_loss_args *a, part p, part_sum *sum, pair_loss f) {
    const numbers k = numbers_of(a);
    vec s0 = v_zero(), s1 = v_zero();
    int64_t i = p.j0;
    for (; i + 2 * FN_VL <= p.j1; i += 2 * FN_VL) s0 += pair_at(a, k, i, FN_VL, f), s1 += pair_at(a, k, i + FN_VL, FN_VL, f);
    for (; i < p.j1; i += FN_VL) s0 += pair_at(a, k, i, (int)(p.j1 - i < FN_VL ? p.j1 - i : FN_VL), f);
    sum->loss = (double)v_sum(s0 + s1);
    sum->total = (double)(p.j1 - p.j0);
}
FN_INLINE void pair_part_bwd(const fn_loss_args *a, part p, pair_slopes f, const int all) {
    const numbers k = numbers_of(a);
    fn_t *const dx = a->dx, *const dt = a->dt, *const dv = a->dv;
    const fn_t *const dy = a->reduction == NONE ? a->dy : NULL;
    const fn_t one = gradient(a);
    for (int64_t i = p.j0; i < p.j1; i += FN_VL) {
        const int m = (int)least(p.j1 - i, FN_VL);
        const slopes d = f(k, v_get((const fn_t *)a->x + i, m), v_get((const fn_t *)a->target + i, m), v_or(a->v, i, m, 1), all);
        const vec g = v_or(dy, i, m, one) * v_or(a->weight, i, m, 1);
        if (dx) v_put(dx + i, g * d.dx, m);
        if (all && dt) v_put(dt + i, g * d.dt, m);
        if (all && dv) v_put(dv + i, g * d.dv, m);
    }
}

/* name_of is the loss, name_slopes its slopes */
#define PAIR(name) \
    static void name##_part(const fn_loss_args *a, part p, part_sum *sum) { pair_part(a, p, sum, name##_of); } \
    static void name##_part_bwd(const fn_loss_args *a, part p) { \
        if (a->dt || a->dv) pair_part_bwd(a, p, name##_slopes, 1); \
        else pair_part_bwd(a, p, name##_slopes, 0); \
    } \
    FN_WORK(name##_fwd) { \
        (void)threads; \
        return work_for(args, parts_of(args, PAIR_PART)); \
    } \
    FN_KERNEL(name##_fwd) { run_losses(args, parts_of(args, PAIR_PART), t, name##_part, name##_part_bwd); } \
    FN_KERNEL(name##_bwd) { run_slopes(args, parts_of(args, PAIR_PART), t, name##_part_bwd); }
#define LOSS(name) FN_INLINE vec name##_of(numbers k, vec x, vec t, vec v)
#define SLOPES(name) FN_INLINE slopes name##_slopes(numbers k, vec x, vec t, vec v, const int all)
#define UNUSED (void)k, (void)x, (void)v
#define ONE v_set1(1)
#define HALF v_set1((fn_t)0.5)

FN_INLINE slopes of_difference(vec dx) { return (slopes){dx, -dx, v_zero()}; }

LOSS(mse) {
    UNUSED;
    return (x - t) * (x - t);
}
SLOPES(mse) {
    UNUSED, (void)all;
    return of_difference(v_set1(2) * (x - t));
}
PAIR(mse)

LOSS(l1) {
    UNUSED;
    return v_abs(x - t);
}
SLOPES(l1) {
    UNUSED, (void)all;
    const vec d = x - t;
    return of_difference(v_select(d > v_zero(), ONE, v_select(d < v_zero(), -ONE, v_zero())));
}
PAIR(l1)

LOSS(huber) {
    UNUSED;
    const vec d = v_abs(x - t), m = v_min(k.s, d);
    return m * (d - HALF * m) / k.s2;
}
SLOPES(huber) {
    UNUSED, (void)all;
    return of_difference(v_max(-k.s, v_min(k.s, x - t)) / k.s2);
}
PAIR(huber)

LOSS(bce) {
    UNUSED;
    const vec least = v_set1(-100);
    return v_fma(t - ONE, v_max(least, v_log1p(-x)), -t * v_max(least, v_log(x)));
}
SLOPES(bce) {
    UNUSED;
    return (slopes){(x - t) / v_max(v_set1((fn_t)1e-12), x * (ONE - x)), all ? v_log1p(-x) - v_log(x) : v_zero(), v_zero()};
}
PAIR(bce)

LOSS(bce_logits) {
    UNUSED;
    return v_fma(ONE - t, x, v_fma(v - ONE, t, ONE) * v_softplus(-x));
}
SLOPES(bce_logits) {
    UNUSED;
    const vec q = v * t;
    return (slopes){v_fma(v_fma(v, t, ONE - t), v_sigmoid(x), -q), all ? v_fma(v - ONE, v_softplus(-x), -x) : v_zero(), v_zero()};
}
PAIR(bce_logits)

FN_INLINE vec variance(vec v, vec least) { return v_select(v < v_zero(), v_set1((fn_t)NAN), v_max(least, v)); }
LOSS(gaussian_nll) {
    const vec d = x - t, u = variance(v, k.s);
    return v_fma(HALF, v_log(u) + d * d / u, k.s2);
}
SLOPES(gaussian_nll) {
    (void)all;
    const vec d = x - t, u = variance(v, k.s), dx = d / u;
    return (slopes){dx, -dx, (ONE - d * dx) / (v_set1(2) * u)};
}
PAIR(gaussian_nll)

LOSS(kl_div) {
    UNUSED;
    return v_select(t == v_zero(), -(t * x), t * (v_log(t) - x));
}
SLOPES(kl_div) {
    UNUSED;
    return (slopes){-t, all ? v_log(t) + t / t - x : v_zero(), v_zero()};
}
PAIR(kl_div)

LOSS(kl_div_log) {
    UNUSED;
    return v_exp(t) * (t - x);
}
SLOPES(kl_div_log) {
    UNUSED, (void)all;
    const vec e = v_exp(t);
    return (slopes){-e, e * (t - x + ONE), v_zero()};
}
PAIR(kl_div_log)
