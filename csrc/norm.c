/* Normalisation over fn_norm_args: x is (N, C, inner), and each channel has a mean and a variance of its n = N inner elements.
 *
 *   batch_norm   mean = sum x / n    var = sum (x - mean)^2 / n    rstd = 1 / sqrt(var + eps)    u = (x - mean) rstd    y = act(u w + b + r)
 *                db = sum dy         dw = sum dy u                 dx = w rstd (dy - (db + u dw) / n)
 *   eval         mean and var are the running ones, and dx = w rstd dy
 *
 * where r is the residual, if there is one, and dy counts as 0 if act is relu and y <= 0. Computed, with m the mean rounded to x's type
 * and d = mean - m:
 *
 *   y = act((x - m) s + t + r)       s = w rstd         t = b - d s
 *   dx = (x - m) q + dy s + r        q = -s rstd dw / n      r = -s db / n - d q
 *
 * so that a mean that is large beside the deviations costs no digits.
 *
 * LINES: where inner is long, a line (n, c) is a run of one channel. COLUMNS: else (channels-last has inner 1) the rows n hold C inner
 * columns, of which each channel has its own. Either way a tensor is cut into parts by its shape alone; the sums of a part go to work as
 * double, each channel adds its parts in order, and a second pass writes the result, last part first: what was read last is still near.
 * Of a tensor larger than the caches, where a cache has room for the lines of a channel, the second pass follows the first in each channel. */
#include "kernel.h"
#include "norm.h"
#include "norm_parts.h"

enum { SHORT = 64, ITEM = 1024, LINE = 4096, PART = 32768, CHANNELS = 16, LONG = 8192, NEAR = 2097152, EVEN = 8 };
enum { TRAIN, TRAIN_RELU, EVAL, EVAL_RELU };                 /* how dx is made */

/* ---- the plan, from the shape alone ------------------------------------------------------------------------------ */

typedef struct {
    int64_t fold;                /* columns: so many rows n are taken as one, to fill vectors; lines: 0 */
    int64_t groups, across;      /* parts: groups of n times stretches of inner */
    int64_t wide, strips;        /* columns: channels in a strip, strips */
    int64_t units;               /* lines: a part of one channel; columns: a strip of a part */
    int whole;                   /* lines: a channel is read and written before the next one is */
    int64_t next;                /* lines: from one to that which is fetched meanwhile; 0 where none need be */
} plan;

/* A unit: n0..n1 x c0..c1 x i0..i1 of (N, C, inner). */
typedef struct { int64_t part, n0, n1, c0, c1, i0, i1; } block;

FN_APART plan planned(const fn_norm_args *a) {
    const int64_t N = a->N, C = a->C, inner = a->inner, K = C * inner;
    plan p = {.across = 1};
    if (N * K == 0) return p;
    if (inner >= SHORT) {
        p.across = (inner + LINE - 1) / LINE;
        p.groups = inner >= ITEM ? N : (N * inner + ITEM - 1) / ITEM;
        p.units = p.groups * C * p.across;
        p.next = N * K * SIZE >= FN_FAR && inner * SIZE <= LONG ? (1 + FN_BEYOND / (inner * SIZE)) * inner : 0;
        return p;
    }
    p.fold = 1;
    while ((K * p.fold < 4 * FN_VL || K * p.fold % FN_VL) && K * p.fold <= WIDE / 2 && N >= p.fold * 2 * ROWS) p.fold *= 2;
    p.wide = C < WIDE / inner ? C : WIDE / inner;
    p.strips = (C + p.wide - 1) / p.wide;
    const int64_t rows = PART / (p.wide * inner * p.fold), deep = rows > ROWS ? rows : ROWS;
    p.groups = N / p.fold > deep ? N / p.fold / deep : 1;
    p.units = p.groups * p.strips;
    return p;
}

/* Group g of the rows n: whole folds, what is left over in the last. */
FN_APART void rows_of(const fn_norm_args *a, const plan *p, int64_t g, int64_t *n0, int64_t *n1) {
    const int64_t fold = p->fold ? p->fold : 1, folds = a->N / fold;
    *n0 = folds * g / p->groups * fold;
    *n1 = g + 1 == p->groups ? a->N : folds * (g + 1) / p->groups * fold;
}
FN_APART block block_at(const fn_norm_args *a, const plan *p, int64_t u) {
    block b = {.i1 = a->inner};
    int64_t g;
    if (p->fold) {
        g = b.part = u / p->strips;
        b.c0 = u % p->strips * p->wide;
        b.c1 = b.c0 + p->wide < a->C ? b.c0 + p->wide : a->C;
    } else {
        const int64_t k = u % p->across;
        g = u / p->across / a->C;
        b.part = g * p->across + k;
        b.c0 = u / p->across % a->C, b.c1 = b.c0 + 1;
        b.i0 = a->inner * k / p->across, b.i1 = a->inner * (k + 1) / p->across;
    }
    rows_of(a, p, g, &b.n0, &b.n1);
    return b;
}
/* Elements of a channel in a part. */
static double count_of(const fn_norm_args *a, const plan *p, int64_t part) {
    const int64_t k = part % p->across;
    int64_t n0, n1;
    rows_of(a, p, part / p->across, &n0, &n1);
    return (double)((n1 - n0) * (a->inner * (k + 1) / p->across - a->inner * k / p->across));
}
/* The plan for these threads, where so many arrays are read twice. */
static plan scheduled(const fn_norm_args *a, int read, fn_team t) {
    plan p = planned(a);
    const int64_t channel = a->N * a->inner * SIZE;
    p.whole = !p.fold && channel * a->C >= FN_FAR && channel * read <= NEAR && (a->C % t.size == 0 || a->C >= EVEN * t.size);
    if (p.whole) p.next *= a->C;
    return p;
}

/* The unit of part i and channel c, of lines. */
FN_INLINE int64_t unit_at(const fn_norm_args *a, const plan *p, int64_t i, int64_t c) {
    return (i / p->across * a->C + c) * p->across + i % p->across;
}

/* Each unit through `sums`, each channel, CHANNELS at a time at most, through `ends`, each unit through `writes`; NULL: not at all. */
typedef void unit_pass(const fn_norm_args *a, const plan *p, int64_t u);
typedef void channel_pass(const fn_norm_args *a, const plan *p, int64_t c, int64_t n);
static void two_passes(const fn_norm_args *a, const plan *p, fn_team t, unit_pass sums, channel_pass ends, unit_pass writes) {
    const int64_t C = a->C, parts = p->groups * p->across;
    int64_t lo, hi, c0, c1;
    if (p->whole) {
        fn_share(C, 1, t, &c0, &c1);
        for (int64_t c = c0; c < c1; c++) {
            for (int64_t i = 0; sums && i < parts; i++) sums(a, p, unit_at(a, p, i, c));
            if (ends) ends(a, p, c, 1);
            for (int64_t i = parts - 1; writes && i >= 0; i--) writes(a, p, unit_at(a, p, i, c));
        }
        fn_barrier(t);
        return;
    }
    fn_share(p->units, 1, t, &lo, &hi);
    for (int64_t u = lo; sums && u < hi; u++) sums(a, p, u);
    fn_barrier(t);
    fn_share(C, CHANNELS, t, &c0, &c1);
    for (int64_t c = c0; ends && c < c1; c += CHANNELS) ends(a, p, c, c1 - c < CHANNELS ? c1 - c : CHANNELS);
    fn_barrier(t);
    for (int64_t u = hi - 1; writes && u >= lo; u--) writes(a, p, u);
}

/* work: two values for each (part, channel), then two for each channel. */
static int64_t work_of(const fn_norm_args *a) {
    const plan p = planned(a);
    return (p.groups * p.across + 1) * 2 * a->C * (int64_t)sizeof(double);
}

/* ---- the statistics of a unit: mean and dev = sum (x - mean)^2 of its channels -----------------------------------
 * Sums about a guess m, the mean of the first elements: mean = m + a / n, dev = b - a^2 / n. */

/* Where squares overflow, or what is not finite came in: plainly, in double. */
FN_APART void plain_stats(const fn_norm_args *a, block k, int64_t c, double *mean, double *dev) {
    const fn_t *const x = a->x;
    const double n = (double)((k.n1 - k.n0) * (k.i1 - k.i0));
    double sum = 0, square = 0;
    for (int64_t i = k.n0; i < k.n1; i++)
        for (int64_t j = k.i0; j < k.i1; j++) sum += (double)x[(i * a->C + c) * a->inner + j];
    *mean = sum / n;
    for (int64_t i = k.n0; i < k.n1; i++)
        for (int64_t j = k.i0; j < k.i1; j++) {
            const double e = (double)x[(i * a->C + c) * a->inner + j] - *mean;
            square += e * e;
        }
    *dev = square;
}

FN_APART void line_stats(const fn_norm_args *a, const plan *p, block k, double *mean, double *dev) {
    const fn_t *const x = (const fn_t *)a->x + (k.n0 * a->C + k.c0) * a->inner + k.i0;
    const int64_t len = k.i1 - k.i0, first = len < ITEM ? len : ITEM;
    const double n = (double)((k.n1 - k.n0) * len);
    vec va[4] = {0}, vb[4] = {0};
    line_sums(GUESS, va, vb, x, NULL, first, 0, 0, 0, 0);
    const fn_t m = (fn_t)(sum4(va) / (double)first);
    for (int j = 0; j < 4; j++) va[j] = v_zero();
    for (int64_t i = 0; i < k.n1 - k.n0; i++) line_sums(ABOUT, va, vb, x + i * a->C * a->inner, NULL, len, p->next, m, 0, 0);
    const double sum = sum4(va), square = sum4(vb);
    *mean = (double)m + sum / n;
    *dev = square - sum * sum / n;
    if (!isfinite(*dev)) plain_stats(a, k, k.c0, mean, dev);
}

/* Rows of a unit of columns: its first element, rows of w columns ld apart, and at the end `rest` columns of one more row. */
typedef struct { int64_t at, w, ld, rows, rest; } grid;
FN_APART grid grid_of(const fn_norm_args *a, const plan *p, block k) {
    const int64_t K = a->C * a->inner, n = k.n1 - k.n0;
    return (grid){k.n0 * K + k.c0 * a->inner, p->fold * (k.c1 - k.c0) * a->inner, p->fold * K, n / p->fold, n % p->fold * K};
}

/* The sums of all rows, ROWS at a time. */
FN_INLINE void grid_sums(const int kind, double *restrict sa, double *restrict sb, const fn_t *x, const fn_t *dy, grid g, const terms *k) {
    fn_t a[WIDE], b[WIDE];
    for (int64_t j = 0; j < g.w; j++) sa[j] = sb[j] = 0;
    for (int64_t i = 0; i < g.rows; i += ROWS) {
        const int64_t rows = g.rows - i < ROWS ? g.rows - i : ROWS;
        column_sums(kind, a, b, x + i * g.ld, kind >= SLOPE ? dy + i * g.ld : dy, g.ld, rows, g.w, k);
        for (int64_t j = 0; j < g.w; j++) sa[j] += (double)a[j], sb[j] += (double)b[j];
    }
    if (!g.rest) return;
    column_sums(kind, a, b, x + g.rows * g.ld, kind >= SLOPE ? dy + g.rows * g.ld : dy, g.ld, 1, g.rest, k);
    for (int64_t j = 0; j < g.rest; j++) sa[j] += (double)a[j], sb[j] += (double)b[j];
}

FN_APART void column_stats(const fn_norm_args *a, const plan *p, block k, double *restrict mean, double *restrict dev) {
    const grid g = grid_of(a, p, k);
    const fn_t *const x = (const fn_t *)a->x + g.at;
    const int64_t C = k.c1 - k.c0, inner = a->inner, first = g.rows < ROWS ? g.rows : ROWS;
    const double whole = 1 / (double)g.rows, longer = 1 / (double)(g.rows + 1), n = (double)((k.n1 - k.n0) * inner);
    double sum[WIDE], square[WIDE];
    terms guess;
    column_sums(GUESS, guess.m, NULL, x, NULL, g.ld, first, g.w, &guess);
    for (int64_t j = 0; j < g.w; j++) guess.m[j] *= (fn_t)1 / (fn_t)first;
    grid_sums(ABOUT, sum, square, x, NULL, g, &guess);
    for (int64_t j = 0; j < g.w; j++) {                      /* now the mean and the deviation of each column */
        const double e = sum[j] * (j < g.rest ? longer : whole);
        square[j] -= sum[j] * e;
        sum[j] = (double)guess.m[j] + e;
    }
    if (p->fold * inner == 1) {
        memcpy(mean, sum, (size_t)C * sizeof *mean);
        memcpy(dev, square, (size_t)C * sizeof *dev);
    } else {
        for (int64_t c = 0; c < C; c++) {
            double m = 0, v = 0;
            for (int64_t f = 0; f < p->fold; f++)
                for (int64_t j = (f * C + c) * inner; j < (f * C + c + 1) * inner; j++) m += sum[j] * (double)(g.rows + (j < g.rest));
            m /= n;
            for (int64_t f = 0; f < p->fold; f++)
                for (int64_t j = (f * C + c) * inner; j < (f * C + c + 1) * inner; j++)
                    v += square[j] + (sum[j] - m) * (sum[j] - m) * (double)(g.rows + (j < g.rest));
            mean[c] = m, dev[c] = v;
        }
    }
    for (int64_t c = 0; c < C; c++)
        if (!isfinite(dev[c])) plain_stats(a, k, k.c0 + c, mean + c, dev + c);
}

FN_APART void unit_stats(const fn_norm_args *a, const plan *p, int64_t u) {
    const block b = block_at(a, p, u);
    double *const mean = (double *)a->work + b.part * a->C + b.c0, *const dev = mean + p->groups * p->across * a->C;
    if (p->fold) column_stats(a, p, b, mean, dev);
    else line_stats(a, p, b, mean, dev);
}

static fn_norm_args rows_as_args(int64_t rows, int64_t C) { return (fn_norm_args){.N = rows, .C = C, .inner = 1}; }
int64_t FN_NAME(norm_parts)(int64_t rows, int64_t C) {
    const fn_norm_args a = rows_as_args(rows, C);
    return planned(&a).groups;
}
int64_t FN_NAME(norm_row)(int64_t rows, int64_t C, int64_t i) {
    const fn_norm_args a = rows_as_args(rows, C);
    const plan p = planned(&a);
    int64_t n0, n1;
    if (i == p.groups) return rows;
    rows_of(&a, &p, i, &n0, &n1);
    return n0;
}
void FN_NAME(norm_stats)(double *sums, const void *x, int64_t rows, int64_t C, int64_t i) {
    fn_norm_args a = rows_as_args(rows, C);
    const plan p = planned(&a);
    a.work = sums, a.x = x;
    for (int64_t u = i * p.strips; u < (i + 1) * p.strips; u++) unit_stats(&a, &p, u);
}

/* mean and rstd of channels c..c+n (n <= CHANNELS) from their parts, and the running statistics. */
FN_APART void channel_stats(const fn_norm_args *a, const plan *p, int64_t c, int64_t n) {
    const int64_t C = a->C, parts = p->groups * p->across;
    const double *const means = (const double *)a->work + c, *const devs = means + parts * C, count = (double)(a->N * a->inner);
    const double f = a->momentum < 0 ? 1 / (double)(*a->tracked + 1) : a->momentum;
    fn_t *const running_mean = a->running_mean, *const running_var = a->running_var;
    double mean[CHANNELS] = {0}, dev[CHANNELS] = {0};
    for (int64_t i = 0; i < parts; i++) {
        const double k = count_of(a, p, i) / count;
        for (int64_t j = 0; j < n; j++) mean[j] += means[i * C + j] * k;
    }
    for (int64_t i = 0; i < parts; i++) {
        const double k = count_of(a, p, i);
        for (int64_t j = 0; j < n; j++) {
            const double e = means[i * C + j] - mean[j];
            dev[j] += devs[i * C + j] + e * e * k;
        }
    }
    for (int64_t j = 0; j < n; j++) {
        const double d = dev[j] < 0 ? 0 : dev[j];
        a->stats[c + j] = mean[j];
        a->stats[C + c + j] = parts ? 1 / sqrt(d / count + a->eps) : 0;
        if (running_mean && parts) running_mean[c + j] = (fn_t)((1 - f) * (double)running_mean[c + j] + f * mean[j]);
        if (running_var && parts) running_var[c + j] = (fn_t)((1 - f) * (double)running_var[c + j] + f * (d / (count - 1)));
    }
}

/* ---- y = act((x - m) s + t + r) ---------------------------------------------------------------------------------- */

/* m, s, t of channels c..c+n. */
FN_APART void terms_y(const fn_norm_args *a, int64_t c, int64_t n, terms *k) {
    const double *const mean = a->stats + c, *const rstd = mean + a->C;
    const fn_t *const w = a->w, *const b = a->b;
    for (int64_t j = 0; j < n; j++) {
        const double s = (w ? (double)w[c + j] : 1) * rstd[j];
        k->m[j] = (fn_t)mean[j];
        k->s[j] = (fn_t)s;
        k->t[j] = (fn_t)((b ? (double)b[c + j] : 0) - (mean[j] - (double)k->m[j]) * s);
    }
}
/* A value for each of n channels becomes one for each of their columns, `fold` times over. */
FN_APART void spread(fn_t *v, int64_t n, int64_t inner, int64_t fold) {
    for (int64_t c = n - 1; c >= 0 && inner > 1; c--)
        for (int64_t i = inner - 1; i >= 0; i--) v[c * inner + i] = v[c];
    for (int64_t f = 1; f < fold; f++) memcpy(v + f * n * inner, v, (size_t)(n * inner) * sizeof *v);
}

/* r: the residual's place, or x's again where there is none. */
FN_INLINE vec normal(const int relu, const int more, vec x, vec m, vec s, vec t, vec r) {
    const vec u = v_fma(x - m, s, t), y = more ? u + r : u;
    return relu ? v_relu(y) : y;
}
FN_INLINE void row_y(const int relu, const int more, fn_t *y, const fn_t *x, const fn_t *r, int64_t w, const terms *k) {
    int64_t j = 0;
    for (; j + FN_VL <= w; j += FN_VL)
        v_store(y + j, normal(relu, more, v_load(x + j), v_load(k->m + j), v_load(k->s + j), v_load(k->t + j), v_load(r + j)));
    if (j == w) return;
    const int n = (int)(w - j);
    v_store_n(y + j, normal(relu, more, v_load_n(x + j, n), v_load_n(k->m + j, n), v_load_n(k->s + j, n), v_load_n(k->t + j, n),
                            v_load_n(r + j, n)), n);
}
FN_INLINE void line_y(const int relu, const int more, fn_t *y, const fn_t *x, const fn_t *r, int64_t len, int64_t ahead, const terms *k) {
    const vec m = v_set1(k->m[0]), s = v_set1(k->s[0]), t = v_set1(k->t[0]);
    int64_t i = 0;
    for (; i + FN_VL <= len; i += FN_VL) {
        if (ahead) fetch_lines(x + i + ahead, FN_VBYTES, 0), fetch_lines(y + i + ahead, FN_VBYTES, 1);
        if (ahead && more) fetch_lines(r + i + ahead, FN_VBYTES, 0);
        v_store(y + i, normal(relu, more, v_load(x + i), m, s, t, v_load(r + i)));
    }
    const int n = (int)(len - i);
    if (n) v_store_n(y + i, normal(relu, more, v_load_n(x + i, n), m, s, t, v_load_n(r + i, n)), n);
}
FN_INLINE void unit_y(const int relu, const int more, const fn_norm_args *a, const plan *p, block b) {
    fn_t *const y = a->y;
    const fn_t *const x = a->x, *const r = more ? a->residual : a->x;
    terms k;
    terms_y(a, b.c0, b.c1 - b.c0, &k);
    if (!p->fold) {
        for (int64_t i = b.n0; i < b.n1; i++) {
            const int64_t at = (i * a->C + b.c0) * a->inner + b.i0;
            line_y(relu, more, y + at, x + at, r + at, b.i1 - b.i0, -p->next, &k);
        }
        return;
    }
    const grid g = grid_of(a, p, b);
    fn_t *const each[] = {k.m, k.s, k.t};
    for (int j = 0; j < 3; j++) spread(each[j], b.c1 - b.c0, a->inner, p->fold);
    for (int64_t i = 0, at = g.at; i < g.rows; i++, at += g.ld) row_y(relu, more, y + at, x + at, r + at, g.w, &k);
    const int64_t at = g.at + g.rows * g.ld;
    if (g.rest) row_y(relu, more, y + at, x + at, r + at, g.rest, &k);
}
static void write_y(const fn_norm_args *a, const plan *p, int64_t u) {
    const block b = block_at(a, p, u);
    if (a->act == FN_ACT_RELU && a->residual) unit_y(1, 1, a, p, b);
    else if (a->act == FN_ACT_RELU) unit_y(1, 0, a, p, b);
    else if (a->residual) unit_y(0, 1, a, p, b);
    else unit_y(0, 0, a, p, b);
}

FN_WORK(batch_norm_fwd) {
    (void)threads;
    return work_of(args);
}
FN_KERNEL(batch_norm_fwd) {
    const fn_norm_args *a = args;
    const plan p = scheduled(a, 1, t);
    two_passes(a, &p, t, a->summed ? NULL : unit_stats, channel_stats, write_y);
    if (a->tracked && t.rank == 0) ++*a->tracked;
}

FN_KERNEL(batch_norm_eval) {
    const fn_norm_args *a = args;
    const plan p = planned(a);
    const fn_t *const mean = a->running_mean, *const var = a->running_var;
    int64_t lo, hi;
    fn_share(a->C, CHANNELS, t, &lo, &hi);
    for (int64_t c = lo; c < hi; c++) {
        a->stats[c] = (double)mean[c];
        a->stats[a->C + c] = 1 / sqrt((double)var[c] + a->eps);
    }
    fn_barrier(t);
    fn_share(p.units, 1, t, &lo, &hi);
    for (int64_t u = hi - 1; u >= lo; u--) write_y(a, &p, u);
}

/* ---- dx = (x - m) q + dy s + r, dw, db --------------------------------------------------------------------------- */

FN_INLINE void line_slopes(const int kind, const fn_norm_args *a, const plan *p, block b, double *sum, double *dot) {
    vec va[4] = {0}, vb[4] = {0};
    terms k;
    terms_y(a, b.c0, 1, &k);
    for (int64_t i = b.n0; i < b.n1; i++) {
        const int64_t at = (i * a->C + b.c0) * a->inner + b.i0;
        line_sums(kind, va, vb, (const fn_t *)a->x + at, (const fn_t *)a->dy + at, b.i1 - b.i0, p->next, k.m[0], k.s[0], k.t[0]);
    }
    *sum = sum4(va), *dot = sum4(vb);
}
FN_INLINE void column_slopes(const int kind, const fn_norm_args *a, const plan *p, block b, double *sum, double *dot) {
    const grid g = grid_of(a, p, b);
    const int64_t C = b.c1 - b.c0, inner = a->inner;
    double sa[WIDE], sb[WIDE];
    terms k;
    terms_y(a, b.c0, C, &k);
    fn_t *const each[] = {k.m, k.s, k.t};
    for (int j = 0; j < 3; j++) spread(each[j], C, inner, p->fold);
    grid_sums(kind, sa, sb, (const fn_t *)a->x + g.at, (const fn_t *)a->dy + g.at, g, &k);
    for (int64_t c = 0; c < C; c++) {
        sum[c] = dot[c] = 0;
        for (int64_t f = 0; f < p->fold; f++)
            for (int64_t j = (f * C + c) * inner; j < (f * C + c + 1) * inner; j++) sum[c] += sa[j], dot[c] += sb[j];
    }
}

/* sum dy and sum dy (x - mean) of channels c..c+n (n <= CHANNELS) from their parts; from them db and dw. */
FN_APART void channel_slopes(const fn_norm_args *a, const plan *p, int64_t c, int64_t n) {
    const int64_t C = a->C, parts = p->groups * p->across;
    const double *const sums = (const double *)a->work + c, *const dots = sums + parts * C, *const mean = a->stats + c;
    double *const total = (double *)a->work + 2 * parts * C + c;
    fn_t *const dw = a->dw, *const db = a->db;
    double sum[CHANNELS] = {0}, dot[CHANNELS] = {0};
    for (int64_t i = 0; i < parts; i++)
        for (int64_t j = 0; j < n; j++) sum[j] += sums[i * C + j], dot[j] += dots[i * C + j];
    for (int64_t j = 0; j < n; j++) {
        dot[j] -= (mean[j] - (double)(fn_t)mean[j]) * sum[j];
        total[j] = sum[j], total[C + j] = dot[j];
        if (db) db[c + j] = (fn_t)sum[j];
        if (dw) dw[c + j] = (fn_t)(dot[j] * mean[C + j]);
    }
}

/* q and r of channels c..c+n, beside m, s and t. */
FN_APART void terms_dx(const fn_norm_args *a, const double *total, int64_t c, int64_t n, terms *k) {
    const double *const mean = a->stats + c, *const rstd = mean + a->C, count = 1 / (double)(a->N * a->inner);
    const fn_t *const w = a->w;
    for (int64_t j = 0; j < n; j++) {
        const double s = (w ? (double)w[c + j] : 1) * rstd[j], q = -s * rstd[j] * rstd[j] * total[a->C + c + j] * count;
        k->q[j] = (fn_t)q;
        k->r[j] = (fn_t)(-s * total[c + j] * count - (mean[j] - (double)(fn_t)mean[j]) * q);
    }
}

FN_INLINE vec slope(const int kind, vec dy, vec x, vec m, vec s, vec t, vec q, vec r) {
    const vec e = x - m, g = kind == TRAIN_RELU || kind == EVAL_RELU ? passed(dy, v_fma(e, s, t)) : dy;
    return kind == TRAIN || kind == TRAIN_RELU ? v_fma(g, s, v_fma(e, q, r)) : g * s;
}
FN_INLINE void row_dx(const int kind, fn_t *dx, const fn_t *dy, const fn_t *x, int64_t w, const terms *k) {
    for (int64_t j = 0; j < w; j += FN_VL) {
        const int n = w - j < FN_VL ? (int)(w - j) : FN_VL;
#define AT(v) v_get((v) + j, n)
        v_put(dx + j, slope(kind, AT(dy), AT(x), AT(k->m), AT(k->s), AT(k->t), AT(k->q), AT(k->r)), n);
#undef AT
    }
}
FN_INLINE void line_dx(const int kind, fn_t *dx, const fn_t *dy, const fn_t *x, int64_t len, int64_t ahead, const terms *k) {
    const vec m = v_set1(k->m[0]), s = v_set1(k->s[0]), t = v_set1(k->t[0]), q = v_set1(k->q[0]), r = v_set1(k->r[0]);
    for (int64_t i = 0; i < len; i += FN_VL) {
        const int n = len - i < FN_VL ? (int)(len - i) : FN_VL;
        if (ahead) fetch_lines(x + i + ahead, FN_VBYTES, 0), fetch_lines(dy + i + ahead, FN_VBYTES, 0), fetch_lines(dx + i + ahead, FN_VBYTES, 1);
        v_put(dx + i, slope(kind, v_get(dy + i, n), v_get(x + i, n), m, s, t, q, r), n);
    }
}
FN_INLINE void unit_dx(const int kind, const fn_norm_args *a, const plan *p, block b) {
    fn_t *const dx = a->dx;
    const fn_t *const x = a->x, *const dy = a->dy;
    terms k;
    terms_y(a, b.c0, b.c1 - b.c0, &k);
    if (kind == TRAIN || kind == TRAIN_RELU)
        terms_dx(a, (const double *)a->work + 2 * p->groups * p->across * a->C, b.c0, b.c1 - b.c0, &k);
    if (!p->fold) {
        for (int64_t i = b.n0; i < b.n1; i++) {
            const int64_t at = (i * a->C + b.c0) * a->inner + b.i0;
            line_dx(kind, dx + at, dy + at, x + at, b.i1 - b.i0, -p->next, &k);
        }
        return;
    }
    const grid g = grid_of(a, p, b);
    fn_t *const each[] = {k.m, k.s, k.t, k.q, k.r};
    for (int j = 0; j < (kind >= EVAL ? 3 : 5); j++) spread(each[j], b.c1 - b.c0, a->inner, p->fold);
    for (int64_t i = 0, at = g.at; i < g.rows; i++, at += g.ld) row_dx(kind, dx + at, dy + at, x + at, g.w, &k);
    const int64_t at = g.at + g.rows * g.ld;
    if (g.rest) row_dx(kind, dx + at, dy + at, x + at, g.rest, &k);
}

static void unit_slopes(const fn_norm_args *a, const plan *p, int64_t u) {
    const block b = block_at(a, p, u);
    double *const sum = (double *)a->work + b.part * a->C + b.c0, *const dot = sum + p->groups * p->across * a->C;
    const int relu = a->act == FN_ACT_RELU;
    if (p->fold && relu) column_slopes(SLOPE_RELU, a, p, b, sum, dot);
    else if (p->fold) column_slopes(SLOPE, a, p, b, sum, dot);
    else if (relu) line_slopes(SLOPE_RELU, a, p, b, sum, dot);
    else line_slopes(SLOPE, a, p, b, sum, dot);
}
static void write_dx(const fn_norm_args *a, const plan *p, int64_t u) {
    const block b = block_at(a, p, u);
    const int relu = a->act == FN_ACT_RELU;
    if (a->train && relu) unit_dx(TRAIN_RELU, a, p, b);
    else if (a->train) unit_dx(TRAIN, a, p, b);
    else if (relu) unit_dx(EVAL_RELU, a, p, b);
    else unit_dx(EVAL, a, p, b);
}

FN_WORK(batch_norm_bwd) {
    (void)threads;
    return work_of(args);
}
FN_KERNEL(batch_norm_bwd) {
    const fn_norm_args *a = args;
    const plan p = scheduled(a, 2, t);
    const int sums = a->train || a->dw || a->db;
    two_passes(a, &p, t, sums ? unit_slopes : NULL, sums ? channel_slopes : NULL, a->dx ? write_dx : NULL);
}
