/* Optimizers, and what is done to gradients before them, over the segments that follow the args (fn_seg in args.h).
 *
 * One pass over memory. Shares are cut in the elements of all segments laid end to end; a value depends on its own element
 * alone. Every number of a group is read through `hyper` when the kernel runs. Formulas and order are PyTorch's. */
#include "optim.h"

#define GRAIN 64                             /* elements; shares are cut at multiples */
#define PART 4096                            /* elements of one partial sum of grad_norm */

/* step[]: steps taken t, -lr / (1 - beta1^t), (1 - beta2^t)^-1/2, 1 - lr decay */
enum { STEP, NEG_STEP_SIZE, RSQRT_BC2, KEEP };

/* The n elements from `at` on, and their gradients. */
static fn_seg cut(const fn_seg *seg, int64_t at, const fn_t *g, int64_t n) {
    fn_seg s = *seg;
    s.n = n, s.p = (fn_t *)s.p + at, s.g = (void *)g;
    if (s.s0) s.s0 = (fn_t *)s.s0 + at;
    if (s.s1) s.s1 = (fn_t *)s.s1 + at;
    if (s.s2) s.s2 = (fn_t *)s.s2 + at;
    return s;
}
/* f(args, segment) for this rank's share of each segment */
typedef void piece(const fn_optim_args *, const fn_seg *);
FN_INLINE void each(const fn_optim_args *a, fn_team t, piece *f) {
    const fn_seg *seg = fn_segs(a);
    int64_t lo, hi, at = 0;
    fn_share(a->total, GRAIN, t, &lo, &hi);
    for (int64_t k = 0; k < a->nseg && at < hi; at += seg[k++].n) {
        const int64_t first = lo > at ? lo - at : 0, last = hi - at < seg[k].n ? hi - at : seg[k].n;
        if (first >= last) continue;
        const fn_seg s = cut(seg + k, first, (const fn_t *)seg[k].g + first, last - first);
        f(a, &s);
    }
}

/* 1 - beta^step. beta^step < exp(step (beta - 1)): if that is less than half the distance from 1 to the number before it, it changes nothing. */
static double unbiased(double beta, double step) { return beta >= 0 && step * (1 - beta) > 38 ? 1 : 1 - pow(beta, step); }

/* step += 1, and what follows from it; segments of one group and age share the powers */
FN_KERNEL(optim_tick) {
    const fn_optim_args *a = args;
    const fn_seg *seg = fn_segs(a);
    for (int64_t k = 0; k < a->nseg && t.rank == 0; k++) {
        double *s = seg[k].step;
        const double *h = seg[k].hyper;
        s[STEP] += 1;
        if (k && h == seg[k - 1].hyper && s[STEP] == seg[k - 1].step[STEP]) {
            memcpy(s, seg[k - 1].step, 4 * sizeof *s);
            continue;
        }
        s[NEG_STEP_SIZE] = -h[FN_LR] / unbiased(h[FN_BETA1], s[STEP]);
        s[RSQRT_BC2] = 1 / sqrt(unbiased(h[FN_BETA2], s[STEP]));
        s[KEEP] = 1 - h[FN_LR] * h[FN_WEIGHT_DECAY];
    }
}

/* An optimizer, STEPS(name), steps a segment by its g, or by an outer product: rows of `length` elements, whose gradients are a number
 * of s each times g, and go to dw if it is not null. EACH_VECTOR is its loop: m elements from e on, with the gradients g. */
#define STEPS(name) FN_INLINE void name##_by(const int outer, const fn_seg *seg, const fn_t *s, int64_t length, fn_t *dw)
#define EACH_VECTOR(...) do { \
    const fn_t *const x = seg->g; \
    for (int64_t first = 0, row = 0; first < seg->n; first += length, row++) { \
        const vec s_row = v_set1(outer ? s[row] : 1); \
        FN_VECTORS(length, { \
            const int64_t e = first + i; \
            const vec g = outer ? v_fma(s_row, v_get(x + i, m), v_zero()) : v_get(x + i, m); \
            if (outer && dw) v_put(dw + e, g, m); \
            __VA_ARGS__ \
        }); \
    } \
} while (0)
#define OPTIMIZER(name) \
    static void name##_piece(const fn_optim_args *a, const fn_seg *seg) { (void)a, name##_by(0, seg, 0, seg->n, 0); } \
    static void name##_outer(const fn_seg *seg, const fn_t *s, int64_t length, fn_t *dw) { name##_by(1, seg, s, length, dw); } \
    FN_KERNEL(name) { each(args, t, name##_piece); }

/* d = +-g + decay p, what every optimizer goes by */
typedef struct {
    vec sign, decay;
    int decays;
} pull;
FN_INLINE pull pull_of(const double *h) {
    return (pull){v_set1(h[FN_MAXIMIZE] != 0 ? (fn_t)-0.0 : 0), v_set1((fn_t)h[FN_WEIGHT_DECAY]),
                  h[FN_WEIGHT_DECAY] != 0 && h[FN_DECOUPLED] == 0};
}
FN_INLINE vec pulled(const pull q, vec g, vec p) {
    const vec d = (vec)((mask)g ^ (mask)q.sign);
    return q.decays ? v_fma(q.decay, p, d) : d;
}

/* m + c (d - m), from c = 1/2 on as d + (c - 1)(d - m), which is d if c is 1 */
typedef struct {
    vec rate;
    int near;
} blend;
FN_INLINE blend blend_of(double c) { return (blend){v_set1((fn_t)(c < 0.5 ? c : c - 1)), c < 0.5}; }
FN_INLINE vec blended(const blend q, vec m, vec d) { return v_fma(q.rate, d - m, q.near ? m : d); }

/* b = d in the first step, else momentum b + (1 - dampening) d;
 * p -= lr (d + momentum b) if nesterov, lr b if not, lr d without momentum */
STEPS(sgd) {
    const double *h = seg->hyper;
    fn_t *p = seg->p, *b = seg->s0;
    const pull to = pull_of(h);
    const vec lr = v_set1((fn_t)-h[FN_LR]), momentum = v_set1((fn_t)h[FN_MOMENTUM]);
    const vec damp = v_set1((fn_t)(1 - h[FN_DAMPENING]));
    const int nesterov = h[FN_NESTEROV] != 0, heavy = b && h[FN_MOMENTUM] != 0;
    const int begins = heavy && seg->step[STEP] == 1;
    if (!heavy) EACH_VECTOR({
        const vec w = v_get(p + e, m);
        v_put(p + e, v_fma(lr, pulled(to, g, w), w), m);
    });
    else EACH_VECTOR({
        const vec w = v_get(p + e, m), d = pulled(to, g, w);
        const vec v = begins ? d : v_fma(damp, d, momentum * v_get(b + e, m));
        v_put(b + e, v, m);
        v_put(p + e, v_fma(lr, nesterov ? v_fma(momentum, v, d) : v, w), m);
    });
}
OPTIMIZER(sgd)

/* AdamW shrinks p by 1 - lr decay and has no decay in d;  m += (1 - beta1) (d - m), here mean;  v = beta2 v + (1 - beta2) d^2;
 * vmax = max(vmax, v) takes v's place if amsgrad;  p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps) */
STEPS(adam) {
    const double *h = seg->hyper, *at = seg->step;
    fn_t *p = seg->p, *mean = seg->s0, *v = seg->s1, *vmax = seg->s2;
    const pull to = pull_of(h);
    const blend by = blend_of(1 - h[FN_BETA1]);
    const vec beta2 = v_set1((fn_t)h[FN_BETA2]), gain = v_set1((fn_t)(1 - h[FN_BETA2]));
    const vec step = v_set1((fn_t)at[NEG_STEP_SIZE]), rsqrt = v_set1((fn_t)at[RSQRT_BC2]), eps = v_set1((fn_t)h[FN_EPS]);
    const vec keep = v_set1(h[FN_DECOUPLED] != 0 ? (fn_t)at[KEEP] : 1);
    const int ams = vmax && h[FN_AMSGRAD] != 0;
    EACH_VECTOR({
        const vec w = v_get(p + e, m) * keep, d = pulled(to, g, w), m1 = blended(by, v_get(mean + e, m), d);
        vec v1 = v_fma(gain * d, d, beta2 * v_get(v + e, m));
        v_put(mean + e, m1, m);
        v_put(v + e, v1, m);
        if (ams) {
            const vec old = v_get(vmax + e, m);
            v1 = v_select(m_nan(old), old, v_max(old, v1));
            v_put(vmax + e, v1, m);
        }
        v_put(p + e, v_fma(step, m1 / v_fma(v_sqrt(v1), rsqrt, eps), w), m);
    });
}
OPTIMIZER(adam)

/* v = alpha v + (1 - alpha) d^2;  c += (1 - alpha) (d - c) and v - c^2, not below 0, takes v's place if centered;
 * b = momentum b + d / (sqrt(v) + eps);  p -= lr b */
STEPS(rmsprop) {
    const double *h = seg->hyper;
    fn_t *p = seg->p, *v = seg->s0, *b = seg->s1, *c = seg->s2;
    const pull to = pull_of(h);
    const blend by = blend_of(1 - h[FN_ALPHA]);
    const vec alpha = v_set1((fn_t)h[FN_ALPHA]), gain = v_set1((fn_t)(1 - h[FN_ALPHA]));
    const vec lr = v_set1((fn_t)-h[FN_LR]), momentum = v_set1((fn_t)h[FN_MOMENTUM]), eps = v_set1((fn_t)h[FN_EPS]);
    const int heavy = b && h[FN_MOMENTUM] != 0, centered = c && h[FN_CENTERED] != 0;
    EACH_VECTOR({
        const vec w = v_get(p + e, m);
        vec d = pulled(to, g, w), v1 = v_fma(gain * d, d, alpha * v_get(v + e, m));
        v_put(v + e, v1, m);
        if (centered) {
            const vec c1 = blended(by, v_get(c + e, m), d);
            v_put(c + e, c1, m);
            v1 = v_max(v_zero(), v_fma(-c1, c1, v1));
        }
        d /= v_sqrt(v1) + eps;
        if (heavy) {
            d = v_fma(momentum, v_get(b + e, m), d);
            v_put(b + e, d, m);
        }
        v_put(p + e, v_fma(lr, d, w), m);
    });
}
OPTIMIZER(rmsprop)

/* v += d^2;  p -= lr / (1 + (t - 1) lr_decay) d / (sqrt(v) + eps) in step t */
STEPS(adagrad) {
    const double *h = seg->hyper;
    fn_t *p = seg->p, *v = seg->s0;
    const pull to = pull_of(h);
    const vec lr = v_set1((fn_t)(-h[FN_LR] / (1 + (seg->step[STEP] - 1) * h[FN_LR_DECAY]))), eps = v_set1((fn_t)h[FN_EPS]);
    EACH_VECTOR({
        const vec w = v_get(p + e, m), d = pulled(to, g, w), v1 = v_fma(d, d, v_get(v + e, m));
        v_put(v + e, v1, m);
        v_put(p + e, v_fma(lr, d / (v_sqrt(v1) + eps), w), m);
    });
}
OPTIMIZER(adagrad)

#define OF(op, kind) ((op) == FN_OP_sgd ? sgd_##kind : (op) == FN_OP_adam ? adam_##kind : (op) == FN_OP_rmsprop ? rmsprop_##kind : adagrad_##kind)
void FN_NAME(optim_piece)(int64_t op, const fn_seg *seg, int64_t at, const fn_t *g, int64_t n) {
    const fn_seg s = cut(seg, at, g, n);
    OF(op, piece)(0, &s);
}
void FN_NAME(optim_outer)(int64_t op, const fn_seg *seg, int64_t at, const fn_t *s, int64_t rows, const fn_t *x, int64_t n, fn_t *dw) {
    const fn_seg part = cut(seg, at, x, rows * n);
    OF(op, outer)(&part, s, n, dw);
}

/* ---- gradients: norm, scale, clamp ------------------------------------------------------------------------------- */

typedef double dvec __attribute__((vector_size(FN_VBYTES)));
typedef fn_t narrow __attribute__((vector_size(FN_VBYTES / sizeof(double) * sizeof(fn_t))));
#define HALVES ((int)(sizeof(dvec) / sizeof(narrow)))    /* dvecs that a vec widens to */

/* The larger (smaller, if sign is negative) of two; NaN wins. */
static inline double pick(double a, double b, double sign) { return (b - a) * sign > 0 || b != b ? b : a; }

/* sum |g|^power in double, or for an infinite power the largest (least) |g|, over the n elements of one part */
static double part_norm(const fn_t *g, int64_t n, double power) {
    if (power == 1 || power == 2) {
        dvec sum[2] = {{0}, {0}};
        for (int64_t i = 0; i < n; i += FN_VL) {
            const vec v = v_abs(v_get(g + i, n - i));
            narrow h[HALVES];
            memcpy(h, &v, sizeof h);
            for (int k = 0; k < HALVES; k++) {
                const dvec d = __builtin_convertvector(h[k], dvec);
                sum[k] += power == 2 ? d * d : d;
            }
        }
        double lane[FN_VBYTES / sizeof(double)], total = 0;
        sum[0] += sum[1];
        memcpy(lane, sum, sizeof lane);
        for (size_t k = 0; k < sizeof lane / sizeof *lane; k++) total += lane[k];
        return total;
    }
    double total = isinf(power) ? fabs((double)g[0]) : 0;
    if (!isinf(power)) for (int64_t i = 0; i < n; i++) total += pow(fabs((double)g[i]), power);
    else for (int64_t i = 1; i < n; i++) total = pick(total, fabs((double)g[i]), power);
    return total;
}

static int64_t parts_of(const fn_seg *seg) { return (seg->n + PART - 1) / PART; }

FN_WORK(grad_norm) {
    (void)threads;
    const fn_optim_args *a = args;
    int64_t parts = 0;
    for (int64_t k = 0; k < a->nseg; k++) parts += parts_of(fn_segs(a) + k);
    return parts * (int64_t)sizeof(double);
}

/* norm = (sum |g|^power)^(1/power) over all segments, in parts of PART elements, added in order; power may be +-inf */
FN_KERNEL(grad_norm) {
    const fn_optim_args *a = args;
    const fn_seg *seg = fn_segs(a);
    const double power = a->s;
    double *part = a->work;
    int64_t lo, hi, at = 0;
    const int64_t parts = FN_NAME(grad_norm_work)(args, t.size) / (int64_t)sizeof(double);
    fn_share(parts, 1, t, &lo, &hi);
    for (int64_t k = 0; k < a->nseg && at < hi; at += parts_of(seg + k++)) {
        const int64_t mine = parts_of(seg + k), first = lo > at ? lo - at : 0, last = hi - at < mine ? hi - at : mine;
        for (int64_t j = first; j < last; j++) {
            const int64_t left = seg[k].n - j * PART;
            part[at + j] = part_norm((const fn_t *)seg[k].g + j * PART, left < PART ? left : PART, power);
        }
    }
    fn_barrier(t);
    if (t.rank) return;
    double total = parts ? part[0] : 0;
    for (int64_t j = 1; j < parts; j++) total = isinf(power) ? pick(total, part[j], power) : total + part[j];
    *a->norm = power == 2 ? sqrt(total) : isinf(power) ? total : pow(total, 1 / power);
}

/* g *= min(1, max_norm / (norm + 1e-6)); a norm of NaN makes them NaN */
static void scale_piece(const fn_optim_args *a, const fn_seg *seg) {
    const double c = a->s / (*a->norm + 1e-6);
    const vec f = v_set1((fn_t)c);
    fn_t *g = seg->g;
    if (!(c >= 1)) FN_VECTORS(seg->n, v_put(g + i, v_get(g + i, m) * f, m););
}
FN_KERNEL(grad_scale) { each(args, t, scale_piece); }

/* g = min(max(g, -bound), bound), NaN kept */
static void clamp_piece(const fn_optim_args *a, const fn_seg *seg) {
    const vec high = v_set1((fn_t)a->s), low = -high;
    fn_t *g = seg->g;
    FN_VECTORS(seg->n, v_put(g + i, v_min(high, v_max(low, v_get(g + i, m))), m););
}
FN_KERNEL(grad_clamp) { each(args, t, clamp_piece); }
