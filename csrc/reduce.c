/* Reductions y[o] = scale * sum over r of f(x[o,r]) and their kin; the formulas stand in args.h.
 *
 * There are two ways through memory. LINES: each output runs over its own elements, BLOCK of them at a time in vector
 * lanes. COLUMNS: where outputs lie closer together than the elements of one, a strip of up to WIDE outputs runs down
 * its rows, ROWS at a time. Either way a block ends in acc_t (double, int64), where the blocks are added in order; so a
 * float32 sum carries the rounding of a few dozen additions whatever its length.
 *
 * Few outputs with much to reduce would starve a team: their blocks are cut into parts whose number comes from the
 * shape alone, the parts go through `work`, and every output adds its parts in order. */
#include "kernel.h"
#include <string.h>

#ifndef FN_INLINE
#define FN_INLINE static inline __attribute__((always_inline, unused))
#endif
#define ONCE static __attribute__((noinline, noclone))       /* one text for all ops: the driver is most of the code */
#define MIN2(a, b) ((a) < (b) ? (a) : (b))

enum { SUM, SUMSQ, SUMABS, SHIFTED, SUMDEV2, PROD, MAX, MIN, ANY, ALL };      /* SHIFTED: sum of x - m */
enum { ROWS = 32, WIDE = 512, ITEMS = 64, LEAST = 32768, DIRECT = 128, FOLD = 256, GATHER = 16, ABREAST = 4, SHORT_ARG = 4 };

#if FN_REAL
typedef double acc_t;
typedef fn_t sum_t;              /* what sums are stored as */
#define LOWEST (-INFINITY)
#define HIGHEST INFINITY
#define IS_NAN(a) ((a) != (a))
#define SHORT_LINE FN_VL
#define BLOCK (32 * 4 * FN_VL)   /* 32 additions in each lane of four vectors */
#else
typedef int64_t acc_t, sum_t;
#define LOWEST INT64_MIN
#define HIGHEST INT64_MAX
#define IS_NAN(a) 0
#define SHORT_LINE 8
#define BLOCK 1024
#endif

FN_INLINE acc_t neutral(const int op) {
    return op == MAX ? LOWEST : op == MIN ? HIGHEST : op == PROD || op == ALL ? 1 : 0;
}

/* a and then b, each a reduction of its own elements; a NaN in max and min stays. Integers wrap. */
FN_INLINE acc_t join(const int op, acc_t a, acc_t b) {
    switch (op) {
    case MAX: return b > a || IS_NAN(b) ? b : a;
    case MIN: return b < a || IS_NAN(b) ? b : a;
    case ANY: return b != 0 ? 1 : a;
    case ALL: return b == 0 ? 0 : a;
#if FN_REAL
    case PROD: return a * b;
    default: return a + b;
#else
    case PROD: return (acc_t)((uint64_t)a * (uint64_t)b);
    default: return (acc_t)((uint64_t)a + (uint64_t)b);
#endif
    }
}

FN_INLINE void store(const int op, void *y, int64_t i, acc_t v, double scale) {
    if (op == ANY || op == ALL) ((uint8_t *)y)[i] = v != 0;
    else if (op == MAX || op == MIN) ((fn_t *)y)[i] = (fn_t)v;
#if FN_REAL
    else ((fn_t *)y)[i] = (fn_t)(op == PROD ? v : v * scale);
#else
    else ((int64_t *)y)[i] = v;
    (void)scale;
#endif
}

/* ---- one block: n elements in a line, or rows of w columns ------------------------------------------------------- */

#if FN_REAL
/* Each lane of a takes the element of x below it; m is the mean (SHIFTED: a first guess of it). */
FN_INLINE vec v_step(const int op, vec a, vec x, vec m) {
    switch (op) {
    case SUMSQ: return v_fma(x, x, a);
    case SUMABS: return a + v_abs(x);
    case SHIFTED: return a + (x - m);
    case SUMDEV2: return v_fma(x - m, x - m, a);
    case PROD: return a * x;
    case MAX: return v_select((x > a) | m_nan(x), x, a);
    case MIN: return v_select((x < a) | m_nan(x), x, a);
    case ANY: return v_select(x != 0, v_set1(1), a);
    case ALL: return v_select(x == 0, v_zero(), a);
    default: return a + x;
    }
}

/* x[0..n) by lanes. */
FN_INLINE vec lanes(const int op, const fn_t *x, int64_t n, fn_t mean) {
    const int pair = op <= SUMDEV2 ? SUM : op;
    const vec e = v_set1((fn_t)neutral(op)), m = v_set1(mean);
    vec a = e, b = e, c = e, d = e;
    int64_t i = 0;
    for (; i + 4 * FN_VL <= n; i += 4 * FN_VL) {
        a = v_step(op, a, v_load(x + i), m);
        b = v_step(op, b, v_load(x + i + FN_VL), m);
        c = v_step(op, c, v_load(x + i + 2 * FN_VL), m);
        d = v_step(op, d, v_load(x + i + 3 * FN_VL), m);
    }
    for (; i + FN_VL <= n; i += FN_VL) a = v_step(op, a, v_load(x + i), m);
    if (i < n) {                                             /* lanes beyond n change nothing */
        const vec last = v_load_n(x + i, (int)(n - i)), pad = op == SHIFTED || op == SUMDEV2 ? m : e;
        a = v_step(op, a, v_select(m_lanes() < m_set1((fn_i)(n - i)), last, pad), m);
    }
    return v_step(pair, v_step(pair, a, b, m), v_step(pair, c, d, m), m);
}
typedef vec (*lanes_fn)(const fn_t *x, int64_t n, fn_t mean);

/* The reduction of x[0..n). */
FN_INLINE acc_t line(const int op, lanes_fn f, const fn_t *x, int64_t n, fn_t mean) {
    const vec a = f(x, n, mean);
    acc_t s[FN_VL];
    for (int k = 0; k < FN_VL; k++) s[k] = a[k];
    for (int w = FN_VL / 2; w; w /= 2)
        for (int k = 0; k < w; k++) s[k] = join(op, s[k], s[k + w]);
    return s[0];
}
/* That of x[at[i]..at[i] + n) for i < count <= MANY: the lanes of all at once, and the same bits. */
enum { MANY = FN_VL };
FN_INLINE void lines(const int op, lanes_fn f, acc_t *acc, const fn_t *x, const int64_t *at, int count, int64_t n, const fn_t *mean) {
    vec a[MANY];
    acc_t s[MANY][MANY];
    for (int i = 0; i < MANY; i++) a[i] = i < count ? f(x + at[i], n, mean[i]) : v_zero();
    v_transpose(a);
    for (int k = 0; k < MANY; k++)
        for (int i = 0; i < MANY; i++) s[k][i] = a[k][i];
    for (int w = MANY / 2; w; w /= 2)
        for (int k = 0; k < w; k++)
            for (int i = 0; i < MANY; i++) s[k][i] = join(op, s[k][i], s[k + w][i]);
    memcpy(acc, s[0], (size_t)count * sizeof *acc);
}

/* acc[j] takes x[at[r] + j] over the nr <= ROWS rows; mean holds a value for each column. */
FN_INLINE void rows(const int op, acc_t *restrict acc, const fn_t *x, const int64_t *at, int64_t nr, int64_t w,
                    const fn_t *mean) {
    const vec e = v_set1((fn_t)neutral(op));
    vec m[4] = {e, e, e, e};
    fn_t part[WIDE];
    int64_t j = 0;
    for (; j + 4 * FN_VL <= w; j += 4 * FN_VL) {
        vec a = e, b = e, c = e, d = e;
        if (op == SHIFTED || op == SUMDEV2)
            for (int k = 0; k < 4; k++) m[k] = v_load(mean + j + k * FN_VL);
        for (int64_t r = 0; r < nr; r++) {
            const fn_t *p = x + at[r] + j;
            a = v_step(op, a, v_load(p), m[0]);
            b = v_step(op, b, v_load(p + FN_VL), m[1]);
            c = v_step(op, c, v_load(p + 2 * FN_VL), m[2]);
            d = v_step(op, d, v_load(p + 3 * FN_VL), m[3]);
        }
        v_store(part + j, a), v_store(part + j + FN_VL, b);
        v_store(part + j + 2 * FN_VL, c), v_store(part + j + 3 * FN_VL, d);
    }
    for (; j + FN_VL <= w; j += FN_VL) {
        vec a = e;
        if (op == SHIFTED || op == SUMDEV2) m[0] = v_load(mean + j);
        for (int64_t r = 0; r < nr; r++) a = v_step(op, a, v_load(x + at[r] + j), m[0]);
        v_store(part + j, a);
    }
    if (j < w) {
        vec a = e;
        const int n = (int)(w - j);
        if (op == SHIFTED || op == SUMDEV2) m[0] = v_load_n(mean + j, n);
        for (int64_t r = 0; r < nr; r++) a = v_step(op, a, v_load_n(x + at[r] + j, n), m[0]);
        v_store_n(part + j, a, n);
    }
    for (j = 0; j < w; j++) acc[j] = join(op, acc[j], part[j]);
}
#else
/* The extreme of n >= 1 numbers in their own type, which as many lanes of a vector have room for. */
FN_INLINE fn_t extreme(const int op, fn_t a, fn_t b) { return (op == MAX ? b > a : b < a) ? b : a; }

FN_INLINE acc_t line(const int op, const fn_t *x, int64_t n) {
    if (op == MAX || op == MIN) {
        enum { EACH = 256 / sizeof(fn_t) };
        fn_t a = x[0], each[EACH];
        int64_t i = 0;
        if (n >= EACH) memcpy(each, x, sizeof each);
        for (; i + EACH <= n; i += EACH)
            for (int j = 0; j < EACH; j++) each[j] = extreme(op, each[j], x[i + j]);
        for (int j = 0; j < (i ? EACH : 0); j++) a = extreme(op, a, each[j]);
        for (; i < n; i++) a = extreme(op, a, x[i]);
        return a;
    }
    acc_t a = neutral(op);
    for (int64_t i = 0; i < n; i++) a = join(op, a, x[i]);
    return a;
}
enum { MANY = 16 };

FN_INLINE void rows(const int op, acc_t *restrict acc, const fn_t *x, const int64_t *at, int64_t nr, int64_t w,
                    const fn_t *mean) {
    (void)mean;
    if (op == MAX || op == MIN) {
        fn_t part[WIDE];
        for (int64_t j = 0; j < w; j++) part[j] = x[at[0] + j];
        for (int64_t r = 1; r < nr; r++) {
            const fn_t *x_r = x + at[r];
            __asm__ volatile("" : "+r"(x_r));            /* GCC would take two rows together, and then number by number */
            for (int64_t j = 0; j < w; j++) part[j] = extreme(op, part[j], x_r[j]);
        }
        for (int64_t j = 0; j < w; j++) acc[j] = join(op, acc[j], part[j]);
        return;
    }
    for (int64_t r = 0; r < nr; r++)
        for (int64_t j = 0; j < w; j++) acc[j] = join(op, acc[j], x[at[r] + j]);
}
#endif

typedef struct {
    acc_t (*line)(const fn_t *x, int64_t n, fn_t mean);
    void (*lines)(acc_t *acc, const fn_t *x, const int64_t *at, int count, int64_t n, const fn_t *mean);
    void (*rows)(acc_t *restrict acc, const fn_t *x, const int64_t *at, int64_t nr, int64_t w, const fn_t *mean);
} kind;
#if FN_REAL
#define LINES(op) \
    ONCE vec lanes_##op(const fn_t *x, int64_t n, fn_t mean) { return lanes(op, x, n, mean); } \
    static acc_t line_##op(const fn_t *x, int64_t n, fn_t mean) { return line(op, lanes_##op, x, n, mean); } \
    static void lines_##op(acc_t *acc, const fn_t *x, const int64_t *at, int count, int64_t n, const fn_t *mean) { \
        lines(op, lanes_##op, acc, x, at, count, n, mean); \
    }
#else
#define LINES(op) \
    static acc_t line_##op(const fn_t *x, int64_t n, fn_t mean) { return (void)mean, line(op, x, n); } \
    static void lines_##op(acc_t *acc, const fn_t *x, const int64_t *at, int count, int64_t n, const fn_t *mean) { \
        (void)mean; \
        for (int i = 0; i < count; i++) acc[i] = line(op, x + at[i], n); \
    }
#endif
#define KIND(op) \
    LINES(op) \
    static void rows_##op(acc_t *restrict acc, const fn_t *x, const int64_t *at, int64_t nr, int64_t w, \
                          const fn_t *mean) { \
        rows(op, acc, x, at, nr, w, mean); \
    } \
    static const kind kind_##op = { line_##op, lines_##op, rows_##op };
KIND(MAX)
KIND(MIN)
KIND(ANY)
KIND(ALL)
#if !FN_BOOLEAN
KIND(SUM)
KIND(PROD)
#endif
#if FN_REAL
KIND(SUMSQ)
KIND(SUMABS)
KIND(SHIFTED)
KIND(SUMDEV2)
#endif

/* Columns cs apart are brought together, GATHER at a time. */
ONCE void rows_apart(const kind *f, acc_t *acc, const fn_t *x, const int64_t *at, int64_t nr, int64_t w, int64_t cs,
                     const fn_t *mean) {
    if (cs == 1) {
        f->rows(acc, x, at, nr, w, mean);
        return;
    }
    fn_t buf[ROWS * GATHER];
    int64_t tight[ROWS];
    for (int64_t r = 0; r < nr; r++) tight[r] = r * GATHER;
    for (int64_t j = 0; j < w; j += GATHER) {
        const int64_t n = MIN2(GATHER, w - j);
        for (int64_t r = 0; r < nr; r++)
            for (int64_t k = 0; k < n; k++) buf[r * GATHER + k] = x[at[r] + (j + k) * cs];
        f->rows(acc + j, buf, tight, nr, n, mean + j);
    }
}

/* ---- the plan, from the shape alone ------------------------------------------------------------------------------ */

typedef struct {
    int64_t outs, red;           /* outputs, elements in each */
    int64_t run, direct;         /* lines: elements between seams that no block crosses; in place, or gathered */
    int64_t n, cs;               /* columns, their stride; n is 0 for lines */
    int64_t fold, rest;          /* narrow dense columns: `fold` rows taken as one of fold*n, `rest` left over */
    int64_t strips, width;       /* of the columns; a strip is WIDE but for the last one */
    int64_t units, blocks;       /* units: outputs, or strips of them; each has this many blocks */
    int64_t parts, per;          /* parts of a unit, blocks in a part */
} plan;

/* Outputs that lie closer together than the elements of one, or have fewer than `few`, are columns. */
ONCE plan planned(const fn_reduce_args *a, int whole, int64_t few) {
    const int64_t nout = a->nout, nred = a->nred;
    plan p = { .outs = 1, .red = 1, .fold = 1, .width = 1, .strips = 1, .parts = 1 };
    for (int64_t d = 0; d < nout; d++) p.outs *= a->o_n[d];
    for (int64_t d = 0; d < nred; d++) p.red *= a->r_n[d];
    if (!p.outs) return p;
    const int64_t last = nout - 1, rs = nred ? a->r_x[nred - 1] : INT64_MAX;
    if (nout && a->o_n[last] > 1 && (a->o_x[last] < rs || p.red < few)) {
        p.n = a->o_n[last];
        p.cs = a->o_x[last];
        if (!whole && nred == 1 && p.cs == 1 && rs == p.n && p.n <= FOLD / 2 && p.red >= 2 * ROWS) p.fold = FOLD / p.n;
        const int64_t rows = p.red / p.fold;
        p.rest = p.red % p.fold;
        p.strips = (p.n * p.fold + WIDE - 1) / WIDE;
        p.width = MIN2(p.n * p.fold, WIDE);
        p.units = p.outs / p.n * p.strips;
        p.blocks = (rows + ROWS - 1) / ROWS;
    } else {
        p.direct = !nred || (a->r_x[nred - 1] == 1 && (nred == 1 || a->r_n[nred - 1] >= DIRECT));
        p.run = p.direct && nred && p.red ? a->r_n[nred - 1] : p.red;
        p.units = p.outs;
        p.blocks = p.red ? p.red / p.run * ((p.run + BLOCK - 1) / BLOCK) : 0;
    }
    p.per = p.blocks;
    if (!whole && p.units < ITEMS) {
        const int64_t want = (ITEMS + p.units - 1) / p.units, most = p.outs * p.red / p.units / LEAST;
        const int64_t parts = MIN2(MIN2(want, most), p.blocks);
        if (parts > 1) {
            p.per = (p.blocks + parts - 1) / parts;
            p.parts = (p.blocks + p.per - 1) / p.per;
        }
    }
    return p;
}

/* Are there several lines, of a block each, as they lie in memory? */
FN_INLINE int abreast(const plan *p) { return !p->n && p->direct && p->blocks == 1 && p->units > 1; }

/* Block b of the line that begins at x: its n elements, in place or gathered into buf. */
ONCE const fn_t *stretch(const fn_reduce_args *a, const plan *p, const fn_t *x, int64_t b, int64_t *n, fn_t *buf) {
    const int64_t each = (p->run + BLOCK - 1) / BLOCK, from = b % each * BLOCK;
    *n = MIN2(BLOCK, p->run - from);
    if (p->direct) return x + fn_at(b / each, a->nred - 1, a->r_n, a->r_x) + from;
    int64_t o[BLOCK];
    fn_offsets(o, from, *n, a->nred, a->r_n, a->r_x);
    for (int64_t k = 0; k < *n; k++) buf[k] = x[o[k]];
    return buf;
}

/* Where unit u begins in an array with strides s (last s of the columns), and its width. */
ONCE int64_t corner(const fn_reduce_args *a, const plan *p, const int64_t *s, int64_t u, int64_t *w) {
    if (!p->n) return *w = 1, fn_at(u, a->nout, a->o_n, s);
    const int64_t j = u % p->strips * WIDE;
    *w = MIN2(WIDE, p->n * p->fold - j);
    return fn_at(u / p->strips, a->nout - 1, a->o_n, s) + j * s[a->nout - 1];
}

/* The reduction of one part of a unit: a value for each of its columns. */
ONCE void item(const int op, const kind *f, acc_t *acc, const fn_reduce_args *a, const plan *p, int64_t u, int64_t part,
               const fn_t *mean) {
    int64_t w;
    const fn_t *x = (const fn_t *)a->x + corner(a, p, a->o_x, u, &w);
    const int64_t b0 = part * p->per, b1 = MIN2(b0 + p->per, p->blocks);
    for (int64_t j = 0; j < w; j++) acc[j] = neutral(op);
    if (!p->n) {
        fn_t buf[BLOCK];
        for (int64_t b = b0, n; b < b1; b++) {
            const fn_t *s = stretch(a, p, x, b, &n, buf);
            acc[0] = join(op, acc[0], f->line(s, n, mean[0]));
        }
        return;
    }
    int64_t at[ROWS];
    const int64_t deep = p->red / p->fold, seam = deep * p->fold * p->n;
    for (int64_t b = b0; b < b1; b++) {
        const int64_t nr = MIN2(ROWS, deep - b * ROWS);
        if (p->fold > 1)
            for (int64_t r = 0; r < nr; r++) at[r] = (b * ROWS + r) * p->fold * p->n;
        else fn_offsets(at, b * ROWS, nr, a->nred, a->r_n, a->r_x);
        rows_apart(f, acc, x, at, nr, w, p->cs, mean);
    }
    if (p->rest && b1 == p->blocks) f->rows(acc, x, &seam, 1, p->n * p->rest, mean);
}

/* acc = the parts of a unit in order, then the rows that were folded into one. */
ONCE void total(const int op, acc_t *acc, const acc_t *part, const plan *p) {
    if (part != acc)
        for (int64_t j = 0; j < p->width; j++) acc[j] = part[j];
    for (int64_t k = 1; k < p->parts; k++)
        for (int64_t j = 0; j < p->width; j++) acc[j] = join(op, acc[j], part[k * p->width + j]);
    for (int64_t g = 1; g < p->fold; g++)
        for (int64_t j = 0; j < p->n; j++) acc[j] = join(op, acc[j], acc[g * p->n + j]);
}

/* The mean of each column: a guess, its first element, and from there by the mean distance, which keeps its digits. */
ONCE void guess(fn_t *mean, const fn_reduce_args *a, const plan *p, int64_t u) {
    int64_t w;
    const fn_t *x = (const fn_t *)a->x + corner(a, p, a->o_x, u, &w);
    for (int64_t j = 0; j < w; j++) mean[j] = p->red ? x[(p->fold > 1 ? j % p->n : j) * p->cs] : 0;
}

/* Moves the guess to the mean of red numbers whose distances from it sum to `away`. Rounding moves the mean by d, which adds
 * red d^2 to the squared distances; that is given back. */
FN_INLINE acc_t centre(fn_t *mean, acc_t away, int64_t red) {
    const acc_t exact = *mean + away / (acc_t)red, d = exact - (acc_t)(fn_t)exact;
    *mean = (fn_t)exact;
    return (acc_t)red * d * d;
}

/* The squared distances from the mean in one part of a unit, whose distances from the guess are `away`, part by part. */
ONCE void squares(const kind *f, acc_t *acc, const acc_t *away, fn_t *mean, const fn_reduce_args *a, const plan *p,
                  int64_t u, int64_t part) {
    acc_t sum[WIDE];
    const int64_t cols = p->width / p->fold;
    guess(mean, a, p, u);
    total(SHIFTED, sum, away, p);
    for (int64_t j = 0; j < cols; j++) sum[j] = centre(mean + j, sum[j], p->red);
    for (int64_t j = cols; j < p->width; j++) mean[j] = mean[j - cols];
    item(SUMDEV2, f, acc, a, p, u, part, mean);
    for (int64_t j = 0; part == 0 && j < cols; j++) acc[j] -= sum[j];
}

/* The reduction of several lines; sumdev2 first sums for the mean, by f0, else that is f. */
ONCE void together(const int op, const kind *f0, const kind *f, acc_t *acc, const fn_t *x, const int64_t *at, int count, int64_t n) {
    acc_t back[MANY];
    fn_t mean[MANY] = {0};
    for (int i = 0; op == SUMDEV2 && i < count; i++) mean[i] = x[at[i]];
    f0->lines(acc, x, at, count, n, mean);
    if (op != SUMDEV2) return;
    for (int i = 0; i < count; i++) back[i] = centre(mean + i, acc[i], n);
    f->lines(acc, x, at, count, n, mean);
    for (int i = 0; i < count; i++) acc[i] -= back[i];
}

ONCE void finish(const int op, const fn_reduce_args *a, const plan *p, int64_t u, const acc_t *acc) {
    int64_t w;
    const int64_t at = corner(a, p, a->o_y, u, &w), s = p->n ? a->o_y[a->nout - 1] : 0;
    for (int64_t j = 0; j < w / p->fold; j++) store(op, a->y, at + j * s, acc[j], a->scale);
}

ONCE void reduce(const int op, const kind *f0, const kind *f, const void *args, fn_team t, int whole) {
    const fn_reduce_args *a = args;
    const plan p = planned(a, whole, SHORT_LINE);
    const int lead = op == SUMDEV2 ? SHIFTED : op;
    acc_t acc[WIDE], *part = a->work;                        /* (units, parts, width) */
    fn_t mean[WIDE] = {0};
    int64_t lo, hi;
    if (p.parts == 1) {
        fn_share(p.units, 1, t, &lo, &hi);
        for (int64_t n, x_at[MANY], y_at[MANY]; abreast(&p) && lo < hi; lo += n) {
            n = MIN2(MANY, hi - lo);
            fn_offsets(x_at, lo, n, a->nout, a->o_n, a->o_x), fn_offsets(y_at, lo, n, a->nout, a->o_n, a->o_y);
            together(op, f0, f, acc, a->x, x_at, (int)n, p.red);
            for (int64_t i = 0; i < n; i++) store(op, a->y, y_at[i], acc[i], a->scale);
        }
        for (int64_t u = lo; u < hi; u++) {
            if (op == SUMDEV2) guess(mean, a, &p, u);
            item(lead, f0, acc, a, &p, u, 0, mean);
            if (op == SUMDEV2) squares(f, acc, acc, mean, a, &p, u, 0);
            total(op, acc, acc, &p);
            finish(op, a, &p, u, acc);
        }
        return;
    }
    fn_share(p.units * p.parts, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        if (op == SUMDEV2) guess(mean, a, &p, i / p.parts);
        item(lead, f0, part + i * p.width, a, &p, i / p.parts, i % p.parts, mean);
    }
    fn_barrier(t);
    if (op == SUMDEV2) {
        acc_t *dev = part + p.units * p.parts * p.width;
        for (int64_t i = lo; i < hi; i++)
            squares(f, dev + i * p.width, part + i / p.parts * p.parts * p.width, mean, a, &p, i / p.parts,
                    i % p.parts);
        part = dev;
        fn_barrier(t);
    }
    fn_share(p.units, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        total(op, acc, part + u * p.parts * p.width, &p);
        finish(op, a, &p, u, acc);
    }
}

ONCE int64_t scratch(const int op, const void *args) {
    const plan p = planned(args, 0, SHORT_LINE);
    return p.parts > 1 ? p.units * p.parts * p.width * (int64_t)sizeof(acc_t) * (op == SUMDEV2 ? 2 : 1) : 0;
}

#define REDUCTION(name, first, op) \
    FN_KERNEL(name) { reduce(op, &kind_##first, &kind_##op, args, t, 0); } \
    FN_WORK(name) { return (void)threads, scratch(op, args); }

REDUCTION(max, MAX, MAX)
REDUCTION(min, MIN, MIN)
FN_KERNEL(any) { reduce(ANY, &kind_ANY, &kind_ANY, args, t, 1); }
FN_KERNEL(all) { reduce(ALL, &kind_ALL, &kind_ALL, args, t, 1); }
#if !FN_BOOLEAN
REDUCTION(sum, SUM, SUM)
REDUCTION(prod, PROD, PROD)
#if FN_REAL
REDUCTION(sumsq, SUMSQ, SUMSQ)
REDUCTION(sumabs, SUMABS, SUMABS)
REDUCTION(sumdev2, SHIFTED, SUMDEV2)
#endif

/* ---- argmax, argmin: the first place of the extreme; a NaN is one ------------------------------------------------ */

FN_INLINE int beats(const int op, acc_t v, acc_t best) {
    return (op == MAX ? v > best : v < best) || (IS_NAN(v) && !IS_NAN(best));
}
FN_INLINE int same(fn_t v, fn_t best) { return v == best || (IS_NAN(v) && IS_NAN(best)); }

/* The first of n elements that is `best`; one is, unless another thread writes them. Looks at 32 at once: a branch for each
 * would be guessed wrong. */
static int64_t first(const fn_t *x, int64_t n, fn_t best) {
    for (int64_t k = 0; k < n; k += 32) {
        uint32_t hits = 0;
        if (k + 32 <= n)
            for (int i = 0; i < 32; i++) hits |= (uint32_t)same(x[k + i], best) << i;
        else
            for (int64_t i = 0; i < n - k; i++) hits |= (uint32_t)same(x[k + i], best) << i;
        if (hits) return k + __builtin_ctz(hits);
    }
    return n - 1;
}

/* The best block is found by values alone, and searched once when it is known. */
ONCE void arg(const int op, const kind *f, const void *args, fn_team t) {
    const fn_reduce_args *a = args;
    const plan p = planned(a, 1, SHORT_ARG);
    acc_t best[WIDE], got[WIDE];
    int64_t block[WIDE], at[ROWS], lo, hi, w, n;
    fn_t buf[BLOCK], mean[WIDE] = {0};
    fn_share(p.units, 1, t, &lo, &hi);
    for (int64_t x_at[MANY], y_at[MANY]; abreast(&p) && lo < hi; lo += n) {
        n = MIN2(MANY, hi - lo);
        fn_offsets(x_at, lo, n, a->nout, a->o_n, a->o_x), fn_offsets(y_at, lo, n, a->nout, a->o_n, a->o_y);
        together(op, f, f, best, a->x, x_at, (int)n, p.red);
        for (int64_t i = 0; i < n; i++) ((int64_t *)a->y)[y_at[i]] = first((const fn_t *)a->x + x_at[i], p.red, (fn_t)best[i]);
    }
    for (int64_t u = lo; u < hi; u++) {
        const fn_t *x = (const fn_t *)a->x + corner(a, &p, a->o_x, u, &w);
        int64_t *y = (int64_t *)a->y + corner(a, &p, a->o_y, u, &w);
        for (int64_t j = 0; j < w; j++) best[j] = neutral(op), block[j] = 0;
        if (!p.n) {
            for (int64_t b = 0; b < p.blocks; b++) {
                const fn_t *s = stretch(a, &p, x, b, &n, buf);
                const acc_t v = f->line(s, n, 0);
                if (beats(op, v, best[0])) best[0] = v, block[0] = b;
            }
            const int64_t each = (p.run + BLOCK - 1) / BLOCK;
            const fn_t *s = stretch(a, &p, x, block[0], &n, buf);
            y[0] = block[0] / each * p.run + block[0] % each * BLOCK + first(s, n, (fn_t)best[0]);
            continue;
        }
        for (int64_t b = 0; b < p.blocks; b++) {
            const int64_t nr = MIN2(ROWS, p.red - b * ROWS);
            fn_offsets(at, b * ROWS, nr, a->nred, a->r_n, a->r_x);
            for (int64_t j = 0; j < w; j++) got[j] = neutral(op);
            rows_apart(f, got, x, at, nr, w, p.cs, mean);
            for (int64_t j = 0; j < w; j++)
                if (beats(op, got[j], best[j])) best[j] = got[j], block[j] = b;
        }
        for (int64_t j = 0; j < w; j++) {
            const int64_t from = block[j] * ROWS, nr = MIN2(ROWS, p.red - from);
            int64_t k = 0;
            fn_offsets(at, from, nr, a->nred, a->r_n, a->r_x);
            while (k < nr - 1 && !same(x[at[k] + j * p.cs], (fn_t)best[j])) k++;
            y[j * a->o_y[a->nout - 1]] = from + k;
        }
    }
}

FN_KERNEL(argmax) { arg(MAX, &kind_MAX, args, t); }
FN_KERNEL(argmin) { arg(MIN, &kind_MIN, args, t); }

/* ---- cumsum: y[o,r] = x[o,0] + ... + x[o,r] ---------------------------------------------------------------------- */

/* n lines, that none waits for its last sum */
FN_INLINE void cumsum_lines(sum_t *const *y, int64_t ry, const fn_t *const *x, int64_t rx, int64_t red, const int n) {
    acc_t acc[ABREAST];
    for (int k = 0; k < n; k++) acc[k] = 0;
    for (int64_t r = 0; r < red; r++)
        for (int k = 0; k < n; k++) {
            acc[k] = join(SUM, acc[k], x[k][r * rx]);
            y[k][r * ry] = (sum_t)acc[k];
        }
}
FN_KERNEL(cumsum) {
    const fn_reduce_args *a = args;
    const plan p = planned(a, 1, SHORT_LINE);
    const int64_t red = p.red, rx = a->r_x[0], ry = a->y_r, xs = p.cs, ys = p.n ? a->o_y[a->nout - 1] : 0;
    acc_t acc[WIDE];
    int64_t lo, hi, w;
    fn_share(p.units, 1, t, &lo, &hi);
    for (int64_t u = lo, n; u < hi && !p.n; u += n) {
        const fn_t *x[ABREAST];
        sum_t *y[ABREAST];
        n = rx == 1 && ry == 1 && hi - u >= ABREAST ? ABREAST : 1;
        for (int64_t k = 0; k < n; k++)
            x[k] = (const fn_t *)a->x + corner(a, &p, a->o_x, u + k, &w), y[k] = (sum_t *)a->y + corner(a, &p, a->o_y, u + k, &w);
        if (n == ABREAST) cumsum_lines(y, 1, x, 1, red, ABREAST);
        else cumsum_lines(y, ry, x, rx, red, 1);
    }
    for (int64_t u = lo; u < hi && p.n; u++) {
        const fn_t *x = (const fn_t *)a->x + corner(a, &p, a->o_x, u, &w);
        sum_t *y = (sum_t *)a->y + corner(a, &p, a->o_y, u, &w);
        for (int64_t j = 0; j < w; j++) acc[j] = 0;
        for (int64_t r = 0; r < red; r++)
            for (int64_t j = 0; j < w; j++) {
                acc[j] = join(SUM, acc[j], x[r * rx + j * xs]);
                y[r * ry + j * ys] = (sum_t)acc[j];
            }
    }
}
#endif
