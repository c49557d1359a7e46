/* The args structs, one a family: the op's documentation, the eager call's arguments, the program's record, the test's input.
 *
 * Every struct begins with `work`, scratch given by the caller (see ops.inc), then pointers, then sizes and strides in
 * elements. Outputs come before inputs. No pointer may be null unless it says so; outputs alias no input unless it says so. */
#ifndef FN_ARGS_H
#define FN_ARGS_H
#include "fn.h"

enum { FN_ACT_NONE, FN_ACT_RELU, FN_ACT_SIGMOID, FN_ACT_TANH };

/* c = act(beta c + a b + bias), for each of `batch` matrices. Any strides, so a transpose is a swap of two of them. */
typedef struct {
    void *work;
    void *c;                     /* (batch, M, N), rows of unit stride: element (m,n) at c + m*ldc + n */
    const void *a;               /* (batch, M, K), element (m,k) at a + m*a_m + k*a_k */
    const void *b;               /* (batch, K, N), element (k,n) at b + k*b_k + n*b_n */
    const void *packed;          /* b as gemm_pack laid it out, or null; then batch is 1 */
    const void *bias;            /* (N) or null */
    int64_t batch, M, N, K;
    int64_t c_batch, ldc, a_batch, a_m, a_k, b_batch, b_k, b_n;
    int64_t beta;                /* 0: c is not read; 1: added to */
    int64_t act;                 /* FN_ACT_... applied last */
} fn_gemm_args;

/* y = act(x w' + b)   dx = dy w   dw = dy' x   db = column sums of dy */
typedef struct {
    void *work;
    void *y;                     /* (M,N) rows of unit stride */
    void *dx, *dw, *db;          /* (M,K), (N,K), (N); db may be null; dw may be null (db alone) */
    const void *x;               /* (M,K) */
    const void *w;               /* (N,K), PyTorch's (out_features, in_features) */
    const void *packed;          /* w as gemm_pack laid it out for the op at hand, or null */
    const void *b;               /* (N) or null */
    const void *dy;              /* (M,N) */
    int64_t M, N, K;
    int64_t ldx, ldw, ldy;       /* row strides of x and dx, of w and dw, of y and dy */
    int64_t act;                 /* forward only */
} fn_dense_args;

/* y[i] = f(a[i], b[i], c[i]) over an index space of ndim dimensions, stride 0 where an operand is broadcast.
 * Dimensions were merged by the caller, the last one is innermost. y may be exactly a, b or c (in place).
 * The element type named by the op is that of a and b; eq ne lt le, logical_*, isnan isinf isfinite write uint8 0/1. */
typedef struct {
    void *work;
    void *y;
    const void *a;
    const void *b;               /* null: the scalar takes its place (binary ops), or there is none (unary ops) */
    const void *c;               /* where: c is the uint8 condition, y = c ? a : b; addcmul: y = a + s b c; backward ops: see act.c */
    int64_t ndim;                /* 1..FN_DIMS */
    int64_t n[FN_DIMS], y_s[FN_DIMS], a_s[FN_DIMS], b_s[FN_DIMS], c_s[FN_DIMS];
    double s, s2;                /* scalar operand for reals; clamp: s = min, s2 = max; add, sub: y = a + s2 b (s2 the alpha) */
    int64_t k, k2;               /* the same for integer types */
    int64_t swap;                /* binary with a scalar: 1: y = f(scalar, a) */
} fn_elem_args;

/* y[o] = reduction of x over r. sumsq sum x^2, sumabs sum |x|, sumdev2 sum (x - mean)^2 (var).
 * sum and prod of i32, u8 give int64; argmax, argmin give int64 (the flat index over the reduced dimensions); any, all give uint8.
 * max, min, argmax, argmin: NaN wins. cumsum: nred is 1, y has x's index space with y_r the stride along it; i32, u8 give int64. */
typedef struct {
    void *work;
    void *y;
    const void *x;
    int64_t nout, nred;          /* kept and reduced dimensions; either may be 0 */
    int64_t o_n[FN_DIMS], o_y[FN_DIMS], o_x[FN_DIMS];    /* kept: extent, stride in y, stride in x */
    int64_t r_n[FN_DIMS], r_x[FN_DIMS];                  /* reduced: extent, stride in x; last innermost */
    int64_t y_r;
    double scale;                /* the sum is multiplied by it (mean: 1/n); 1 otherwise; ignored for integers */
} fn_reduce_args;

/* y[i] = (type of y) x[i]; bool from a number is x != 0. fill: y[i] = value; arange: y[i] = start + i*step (ndim 1).
 * x and y do not overlap unless they are the same elements. */
typedef struct {
    void *work;
    void *y;
    const void *x;
    int64_t x_dtype;             /* fn_dtype */
    int64_t ndim, n[FN_DIMS], y_s[FN_DIMS], x_s[FN_DIMS];
    double s, s2;                /* fill: value; arange: start, step */
    int64_t k, k2;               /* the same for integer types */
} fn_copy_args;

/* take, put, put_add: rows addressed by up to FN_DIMS index arrays of a common broadcast shape.
 *   take: y[i, j] = x[off(i) + j]; put: y[off(i) + j] = x[i, j]; put_add adds, in ascending i (each thread owns destination ranges or columns)
 *   off(i) = sum over d of wrapped(idx[d][i]) * step[d]; i runs over the index space (in dims), j over the other dims.
 * gather: y[i] = x[i with coordinate `axis` replaced by idx[0][i]]; scatter, scatter_add the reverse. The other coordinates
 *   lie in the indexed array by j_at, where j_at[axis] is 0; nidx is 1, and nj, j_n, j_dense stay unused.
 * sort: y, order, x are dense (i_n[0], i_n[1]) and the rows are sorted. nonzero: x is dense over i_n; y gets the
 *   coordinates (count, ni) as int64, or if it is null, order the count alone.
 * Indices may be negative, counted from extent[d]. Callers have checked them; one that is out of range all the same
 * (a replayed program's) reads as zero and writes nothing. */
typedef struct {
    void *work;
    void *y;
    int64_t *order;              /* sort: where each value came from in its row; nonzero: (1) the count. Otherwise null */
    const void *x;
    const int64_t *idx[FN_DIMS];
    int64_t nidx;
    int64_t extent[FN_DIMS], step[FN_DIMS];          /* of the indexed dims: size, stride in the indexed array */
    int64_t ni, i_n[FN_DIMS], i_dense[FN_DIMS];      /* index space: extent, stride in the dense array (y of take, x of put) */
    int64_t i_idx[FN_DIMS][FN_DIMS];                 /* [d]: strides of idx[d] over the index space */
    int64_t nj, j_n[FN_DIMS], j_dense[FN_DIMS], j_at[FN_DIMS];   /* other dims: extent, stride in the dense and in the indexed array */
    int64_t axis;
    int64_t flag;                /* sort: descending */
} fn_index_args;

/* Along an axis of n elements with stride 1 or more: outer x n x inner.
 *   softmax y = exp(x - max) / sum; bwd dx = y (dy - sum dy y)
 *   log_softmax y = x - max - log sum exp(x - max); bwd dx = dy - exp(y) sum dy
 *   logsumexp y (outer, inner) */
typedef struct {
    void *work;
    void *y;                     /* forward: output, may be x. backward: dx, may be dy */
    const void *x;               /* forward: input. backward: dy */
    const void *saved;           /* backward: forward's y */
    int64_t outer, n, inner;     /* all dense: element (o,i,j) at (o*n + i)*inner + j */
} fn_softmax_args;

/* cross_entropy over (rows, C, inner) logits with int64 classes, or probabilities; nll the same over log-probabilities; mse over n = rows.
 *   reduction 0 none, 1 mean (weighted), 2 sum */
typedef struct {
    void *work;
    void *y;                     /* forward: loss, scalar or (rows, inner) */
    void *total;                 /* (1): what mean divides by; written forward, read backward; null if reduction is not 1 */
    void *dx;                    /* backward; like x */
    void *prob;                  /* (rows, C, inner): softmax of x, written forward if not null, read backward (cross_entropy) */
    const void *x;               /* (rows, C, inner) dense; mse: (rows) */
    const void *target;          /* int64 (rows, inner), or reals like x if soft; mse: like x */
    const void *weight;          /* (C) or null */
    const void *dy;              /* backward: scalar, or (rows, inner) if reduction is 0 */
    int64_t rows, C, inner;
    int64_t reduction, ignore_index, soft;
    double smoothing;
} fn_loss_args;

/* Philox4x32-10: bits = philox(key = rng[0] seed, counter = (element / 4, rng[1] + offset)); independent of threads. */
typedef struct {
    void *work;
    void *y;                     /* (n) dense */
    const void *p;               /* bernoulli: probabilities (n) of the same real type, or null: s */
    const uint64_t *rng;         /* seed, counter: read when the kernel runs */
    int64_t offset, n;
    double s, s2;                /* uniform [s, s2), normal mean s deviation s2, bernoulli p = s */
    int64_t k, k2;               /* randint [k, k2); randperm of n */
} fn_random_args;

/* y = x mask / (1 - p), mask uint8 drawn as in random; bwd dx = dy mask / (1 - p). `run` > 1: one draw for that many
 * neighbouring elements (dropout2d). */
typedef struct {
    void *work;
    void *y;                     /* may be x */
    uint8_t *mask;               /* (n / run); written forward, read backward */
    const void *x;               /* backward: dy */
    const uint64_t *rng;
    int64_t offset, n, run;
    double p;
} fn_dropout_args;

/* Optimizers: nseg segments follow the struct in memory. Group numbers are read through `hyper` when the kernel runs. */
typedef struct {
    void *p;                     /* (n) parameter */
    void *g;                     /* (n) its gradient; only grad_scale and grad_clamp write it */
    void *s0, *s1, *s2;          /* (n) state: sgd momentum | adam m, v, vmax; null where the options need none */
    double *step;                /* (4): steps taken, then what optim_tick derives from it (see optim.c) */
    const double *hyper;         /* (FN_HYPER) numbers of its group, see below */
    int64_t n;
} fn_seg;
enum { FN_LR, FN_MOMENTUM, FN_DAMPENING, FN_WEIGHT_DECAY, FN_NESTEROV, FN_MAXIMIZE, FN_BETA1, FN_BETA2, FN_EPS, FN_AMSGRAD, FN_DECOUPLED, FN_HYPER = 16 };

typedef struct {
    void *work;
    double *norm;                /* grad_norm: written; grad_scale: read: g *= min(1, max_norm / (norm + 1e-6)) */
    int64_t nseg, total;         /* total: elements of all segments */
    double s, s2;                /* grad_norm: s the power (inf allowed); grad_scale: s max_norm; grad_clamp: s bound */
} fn_optim_args;
static inline const fn_seg *fn_segs(const fn_optim_args *a) { return (const fn_seg *)(a + 1); }

#endif
