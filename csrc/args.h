/* The args structs, one a family: the op's documentation, the eager call's arguments, the program's record, the test's input.
 *
 * Every struct begins with `work`, scratch given by the caller (see ops.inc), then pointers, then sizes and strides in
 * elements. Outputs come before inputs. No pointer may be null unless it says so; outputs alias no input unless it says so. */
#ifndef FN_ARGS_H
#define FN_ARGS_H
#include "fn.h"

enum { FN_ACT_NONE, FN_ACT_RELU, FN_ACT_SIGMOID, FN_ACT_TANH };

/* c = act(beta c + a b + bias), for each of `batch` matrices, or of their sum where c_batch is 0. Any strides, so a transpose
 * is a swap of two of them. */
typedef struct {
    void *work;
    void *c;                     /* (batch, M, N), rows of unit stride: element (m,n) at c + m*ldc + n */
    const void *a;               /* (batch, M, K), element (m,k) at a + m*a_m + k*a_k */
    const void *b;               /* (batch, K, N), element (k,n) at b + k*b_k + n*b_n */
    const void *packed;          /* b as gemm_pack laid it out (fn_packed_room), or null; then batch is 1 */
    const void *bias;            /* (N) or null */
    int64_t batch, M, N, K;
    int64_t c_batch, ldc, a_batch, a_m, a_k, b_batch, b_k, b_n;
    int64_t beta;                /* 0: c is not read; 1: added to */
    int64_t act;                 /* FN_ACT_... applied last */
    int64_t weight;              /* b is a weight, whose rows the threads of this team step */
} fn_gemm_args;

/* Elements that hold b (K,N) as gemm_pack lays it out, on any instruction set. */
static inline int64_t fn_packed_room(int64_t N, int64_t K) { return (N + 31) / 32 * 32 * ((K + 31) / 32 * 32 * 5 / 2 + 1); }

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

/* y[n,k,p,q] = act(b[k] + sum over c,r,s of w[k,c,r,s] x[n, g C/G + c, p stride_h - pad_h + r dil_h, q stride_w - pad_w + s dil_w])
 * with x zero outside of its H rows and W columns, c running over the C/G channels of k's group g = k / (K/G). */
typedef struct {
    void *work;
    void *y;                     /* (N,K,P,Q), in memory (N,P,Q,K) */
    void *dx;                    /* (N,C,H,W), in memory (N,H,W,C) */
    void *dw, *db;               /* (K,C/G,R,S) row-major, (K); either may be null */
    void *tap;                   /* conv2d_fwd, conv2d_bwd_w: a 2x2 maximum of stride 2 follows, whose taps these are, (N,P/2,Q/2,K) as in pooling.
                                    y (act behind the maximum) and dy are its own, in the same order; dy's strides are the map's. Or null */
    double *sums;                /* winograd_fwd: work of the batch_norm_fwd that follows, where y's parts are summed up for it; or null. G is 1 */
    const void *x;               /* (N,C,H,W) of any strides */
    const void *w;               /* (K,C/G,R,S) row-major */
    const void *b;               /* (K) or null */
    const void *dy;              /* (N,K,P,Q) of any strides */
    const void *residual;        /* winograd_bwd_x: like dx, added to it; or null */
    const void *gate;            /* winograd_bwd_x, beside a residual: like dx, which is 0 where this is 0 or less; or null */
    int64_t N, C, H, W, K, R, S, P, Q, G;
    int64_t x_n, x_c, x_h, x_w, dy_n, dy_c, dy_h, dy_w;
    int64_t stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;  /* pad: above and to the left; P and Q tell of the rest */
    int64_t act;                 /* FN_ACT_NONE or FN_ACT_RELU; forward only */
    int64_t planes;              /* depthwise: rows of x and dy have unit stride, y and dx are row-major */
} fn_conv_args;
/* Are x's channels no whole vectors, but enough for winograd.c to gather, of rows of x, those of all phases into some? (Sums of fewer numbers
 * than 100 the direct form makes more than four times as accurately.) */
static inline int fn_folds(const fn_conv_args *a) { return a->stride_h > 1 && a->C % 16 != 0 && a->C * a->R * a->S >= 100; }

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
 * sort: x is dense (i_n[0], i_n[1]), y and order are (i_n[0], i_n[2]) and get the first of each sorted row. nonzero: x is dense over i_n;
 *   order gets the count if y is null, else y the coordinates (count, ni) as int64.
 * Those of take, put and put_add may be negative, counted from extent[d]. Callers have checked them; one that is out of range
 * all the same (a replayed program's) reads as zero and writes nothing. */
typedef struct {
    void *work;
    void *y;
    int64_t *order;              /* sort: where each value came from in its row; nonzero: (1) the count */
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

/* Normalisation of each channel over the others of (N, C, inner), see norm.c: dense, element (n,c,i) at (n*C + c)*inner + i.
 * Channels-last has inner 1 and N rows of channels. fwd: by the batch's statistics; eval: by the running ones. */
typedef struct {
    void *work;
    void *y;                     /* forward: may be x */
    void *dx, *dw, *db;          /* backward: like x, (C), (C); each may be null; dx may be dy */
    double *stats;               /* (2,C): mean, 1 / sqrt(var + eps); written forward, read backward */
    void *running_mean;          /* (C); fwd: moved towards the batch's, or null; eval: read */
    void *running_var;           /* (C); the same; the batch's variance counts with n - 1 */
    int64_t *tracked;            /* (1) batches so far, fwd adds one; or null */
    const void *x;
    const void *w, *b;           /* (C), or null: 1 and 0; b only where y or act needs it */
    const void *dy;              /* like x */
    const void *residual;        /* forward: like x, added before act, may be y; or null */
    int64_t N, C, inner;
    int64_t act;                 /* FN_ACT_NONE or FN_ACT_RELU; backward finds y's sign anew from x, so it knows no residual */
    int64_t train;               /* backward: 1: of fwd; 0: of eval */
    int64_t summed;              /* fwd: whoever made x has summed its parts up in work */
    double momentum, eps;        /* fwd: weight of the batch; below 0: 1 / tracked, the mean of all batches */
} fn_norm_args;

/* Normalisation of rows, see layer_norm.c: x is (N, G, D, inner), dense, a row (n,g) the D inner numbers of it; w and b are (G, D).
 * layer_norm: G and inner are 1. */
typedef struct {
    void *work;
    void *y;                     /* forward: may be x */
    void *dx, *dw, *db;          /* backward: like x, (G,D), (G,D); each may be null; dx may be dy */
    double *stats;               /* (2,N,G): mean, 1 / sqrt(var + eps); written forward, read backward */
    const void *x;
    const void *w, *b;           /* (G,D), or null: 1 and 0 */
    const void *dy;              /* like x */
    int64_t N, G, D, inner;
    int64_t rms;                 /* layer_norm: the mean counts as 0 */
    int64_t last;                /* group_norm: x, y, dx, dy are (N, inner, G, D) in memory */
    double eps;
} fn_layer_norm_args;

/* cross_entropy over (rows, C, inner) logits with int64 classes, or probabilities; nll the same over log-probabilities; the
 * losses of single elements (mse and what follows it in loss.c) over n = rows, with C and inner 1.
 *   reduction 0 none, 1 mean (weighted by the classes' weights), 2 sum */
typedef struct {
    void *work;
    void *y;                     /* forward: loss, scalar or (rows, inner) */
    void *total;                 /* (1): what mean divides by; written forward, read backward; null if reduction is not 1, or it is rows */
    void *dx;                    /* like x; backward, of elements: may be null; forward: null, or written at once (not of nll) */
    void *dt, *dv;               /* of elements: like x, may be null; forward: as dx */
    void *prob;                  /* (rows, C, inner): softmax of x, written forward if not null, read backward (cross_entropy); null if both */
    const void *x;               /* (rows, C, inner) dense; of elements: (rows) */
    const void *target;          /* int64 (rows, inner), or reals like x if soft; of elements: like x */
    const void *v;               /* of elements: like x or null, see loss.c */
    const void *weight;          /* (C) or null; of elements: a factor of each, (rows) or null */
    const void *dy;              /* of dx, dt, dv: scalar (null: 1), or (rows, inner) if reduction is 0 */
    int64_t rows, C, inner;
    int64_t reduction, ignore_index, soft;
    double smoothing;
    double s, s2;                /* of elements: see loss.c */
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

/* Scaled dot product attention, see attention.c. A head is an index of the nb leading dimensions n, whose strides x_b tell where it
 * begins; within it q is (L, E), k (S, E), v (S, Ev), y (L, Ev), rows of unit stride. dq, dk, dv are like q, k, v. */
typedef struct {
    void *work;
    void *y;                     /* forward written, backward read */
    void *lse;                   /* (heads, L) dense: log2 of the row sums of 2^s, 0 for a row that attends to nothing. Forward written, may be
                                  * null; backward read */
    uint64_t *drawn;             /* (2) or null: seed and counter that dropout used. Forward written, backward read */
    void *dq, *dk, *dv;          /* each may be null */
    const void *q, *k, *v;
    const void *dy;
    const void *mask;            /* (L, S) of any strides, or null */
    const uint64_t *rng;         /* forward, with dropout: see random */
    int64_t offset;
    int64_t nb, n[FN_DIMS];
    int64_t y_b[FN_DIMS], q_b[FN_DIMS], k_b[FN_DIMS], v_b[FN_DIMS], mask_b[FN_DIMS], dy_b[FN_DIMS], dq_b[FN_DIMS], dk_b[FN_DIMS], dv_b[FN_DIMS];
    int64_t L, S, E, Ev;
    int64_t y_l, q_l, k_s, v_s, mask_l, mask_s, dy_l, dq_l, dk_s, dv_s;
    int64_t mask_bool;           /* 1: uint8, 1 where attended to; 0: reals, added to the scores */
    int64_t causal;              /* 1: query i sees keys 0..i */
    double scale, drop;          /* drop: probability, below 1 */
} fn_attention_args;

/* Pooling, see pool.h. Both layouts of logical (N,C,H,W): row-major, or with channels last; all arrays of a call have the same.
 * Output (p,q) takes the taps (r,s), 0..R-1, 0..S-1, at h = p*sh - ph + r*dh, w = q*sw - pw + s*dw. */
typedef struct {
    void *work;
    void *y;                     /* (N,C,P,Q) forward */
    void *dx;                    /* (N,C,H,W) backward */
    void *tap;                   /* max, like y: r*S + s of the winner, uint8, or int32 if R*S > 256. Forward written, may be null; backward read */
    int64_t *flat;               /* max forward, like y: h*W + w of the winner; or null. Needs tap */
    const void *x;               /* (N,C,H,W) forward */
    const void *dy;              /* (N,C,P,Q) backward */
    int64_t N, C, H, W, P, Q, R, S;
    int64_t sh, sw, ph, pw, dh, dw;  /* stride, padding, dilation (average: 1) */
    int64_t last;                /* 1: channels last */
    int64_t adaptive;            /* average: windows p*H/P .. ceil((p+1)*H/P) instead */
    int64_t count_pad;           /* average: padding counts in the divisor */
    int64_t divisor;             /* average: what sums are divided by; 0: the window's count */
} fn_pool2d_args;

/* Resampling of images, see upsample.c. Both layouts of logical (N,C,H,W), as in pooling. */
enum { FN_UP_NEAREST, FN_UP_EXACT, FN_UP_LINEAR, FN_UP_CORNERS };
typedef struct {
    void *work;
    void *y;                     /* (N,C,P,Q) forward */
    void *dx;                    /* (N,C,H,W) backward */
    const void *x;               /* (N,C,H,W) forward */
    const void *dy;              /* (N,C,P,Q) backward */
    int64_t N, C, H, W, P, Q;    /* none of the last four is 0 */
    int64_t last;                /* 1: channels last */
    int64_t mode;                /* FN_UP_... */
    double ratio_h, ratio_w;     /* input rows per output row, columns per column; linear: 0 for that of the sizes */
} fn_upsample_args;

/* Optimizers: nseg segments follow the struct in memory. Group numbers are read through `hyper` when the kernel runs. */
typedef struct {
    void *p;                     /* (n) parameter */
    void *g;                     /* (n) its gradient; only grad_scale and grad_clamp write it */
    void *s0, *s1, *s2;          /* (n) state, named as in optim.c: sgd b | adam m, v, vmax | rmsprop v, b, c | adagrad v; null where the options need none */
    double *step;                /* (4): steps taken, then what optim_tick derives from it (see optim.c) */
    const double *hyper;         /* (FN_HYPER) numbers of its group, see below */
    int64_t n;
} fn_seg;
enum { FN_LR, FN_MOMENTUM, FN_DAMPENING, FN_WEIGHT_DECAY, FN_NESTEROV, FN_MAXIMIZE, FN_BETA1, FN_BETA2, FN_EPS, FN_AMSGRAD, FN_DECOUPLED,
       FN_ALPHA, FN_CENTERED, FN_LR_DECAY,
       FN_INITIAL,               /* of s0, before the first step; read where it is made */
       FN_HYPER = 16 };

typedef struct {
    void *work;
    double *norm;                /* grad_norm: written; grad_scale: read: g *= min(1, max_norm / (norm + 1e-6)) */
    int64_t nseg, total;         /* total: elements of all segments */
    double s, s2;                /* grad_norm: s the power (inf allowed); grad_scale: s max_norm; grad_clamp: s bound */
} fn_optim_args;
static inline const fn_seg *fn_segs(const fn_optim_args *a) { return (const fn_seg *)(a + 1); }

/* dense_bwd_w and the optimizer's step by its dw and db in one pass; either may be null where nobody reads them afterwards.
 * Of a single row dx too, by w as it was, or null. */
typedef struct {
    fn_dense_args d;
    int64_t optimizer;           /* FN_OP_sgd ... */
    fn_seg w, b;                 /* of (N,K), (N), their g unused; without p: not stepped, and dw or db may not be null */
} fn_dense_step_args;

#endif
