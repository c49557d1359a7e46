/* A 3x3 correlation of stride 1, and the gradient of its weights, by Winograd's minimal filtering.
 *
 *   y[k]    = A' [ sum over c of (G w[k,c] G') * (B' d[c] B) ] A          d 6x6 of x, w 3x3, y 4x4:  F(4x4, 3x3)
 *   dw[k,c] = E' [ sum over tiles of (F dy[k] F') * (B' d[c] B) ] E       dy 4x4, dw 3x3:            F(3x3, 4x4)
 *
 * `*` is elementwise, so the sums are 36 matrix products (brgemm). The six points 0, 1, -1, 1/2, -2 and infinity give
 * both forms the same B. Tiles are those of y, 4x4 each, over the rim where P or Q is no multiple of four.
 * docs/convolution.md derives the matrices. Source: A. Lavin and S. Gray, Fast algorithms for convolutional neural
 * networks, 2016. */
#include "brgemm.h"
#include "conv.h"

enum { D = 6, PLANES = D * D, OUT = 4, TAPS = 3 };
#define ROWS (FN_ROWS2 == 14 ? 14 : 12)      /* tiles that pass together through the products */
#define CHUNK_BYTES 1572864      /* of transformed tiles that winograd_w holds at a time, or more where dU is large */
#define FEW 32                   /* tiles of a sum of winograd_w */
#define WHOLE 64                 /* elements that a part of the scratch is rounded up to */

typedef struct {
    const fn_t *x;               /* (N,H,W,I), channels side by side */
    fn_t *y;                     /* (N,P,Q,O), channels side by side; of winograd_w: dy, read */
    fn_t *w;                     /* element (o,i,r,s) at o*w_o + i*w_i + r*w_r + s*w_s; of winograd_w: dw, written */
    const fn_t *bias;            /* (O) or null */
    int64_t x_n, x_h, x_w, y_n, y_h, y_w, w_o, w_i, w_r, w_s;
    int64_t N, H, W, I, P, Q, O;
    int64_t top, left;           /* output (p,q) begins at input (p - top, q - left) */
    int64_t relu;
} filtering;

/* ---- the transforms of six, four and three numbers, a vector of channels each ------------------------------------ */

/* B' d */
FN_INLINE void spread_x(vec *v, const vec *d) {
    const vec e = d[3] - d[1], f = d[4] - d[2];
    const vec c1 = v_set1((fn_t)1.5), c2 = v_set1(2), c3 = v_set1((fn_t)2.5), c4 = v_set1((fn_t)0.5);
    v[0] = (d[0] + d[4]) + (c1 * e - c2 * d[2]);
    v[1] = (d[4] - d[1]) + (c4 * d[2] + c3 * d[3]);
    v[2] = (d[4] + d[1]) + (c4 * d[3] - c3 * d[2]);
    v[3] = c2 * e + f;
    v[4] = f - c4 * e;
    v[5] = (d[1] + d[5]) + (c1 * f - c2 * d[3]);
}

/* G w, 6 of 3, and F dy, 6 of 4 */
FN_INLINE void spread_taps(vec *v, const vec *w, const int taps) {
    const vec third = v_set1((fn_t)(1.0 / 3)), half = v_set1((fn_t)0.5), two = v_set1(2);
    const vec c3 = v_set1((fn_t)(-16.0 / 15)), c4 = v_set1((fn_t)(1.0 / 15)), zero = v_zero();
    const vec w3 = taps == 4 ? w[3] : zero, even = w[0] + w[2], odd = w[1] + w3;
    v[0] = w[0];
    v[1] = third * (even + odd);
    v[2] = third * (odd - even);
    v[3] = c3 * (w[0] + half * (w[1] + half * (w[2] + half * w3)));
    v[4] = c4 * (w[0] - two * (w[1] - two * (w[2] - two * w3)));
    v[5] = taps == 4 ? w3 : w[2];
}

/* A' m, 4 of 6, and E' m, 3 of 6 */
FN_INLINE void gather(vec *y, const vec *m, const int outputs) {
    const vec sum = m[1] + m[2], difference = m[1] - m[2];
    const vec half = v_set1((fn_t)0.5), two = v_set1(2), quarter = v_set1((fn_t)0.25), four = v_set1(4);
    y[0] = (m[0] + sum) + (m[3] + m[4]);
    y[1] = difference + (half * m[3] - two * m[4]);
    y[2] = sum + (quarter * m[3] + four * m[4]);
    if (outputs == 3) y[2] += m[5];
    else y[3] = (difference + m[5]) + (v_set1((fn_t)0.125) * m[3] - v_set1(8) * m[4]);
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t across, tiles;       /* tiles of an image row; of all images */
    int64_t depth;               /* elements from tile to tile of V */
    int64_t panels, plane;       /* of FN_NR output channels; elements from plane to plane of U, one row apart */
    int64_t chunk, chunks;       /* of winograd_w: tiles */
} plan;

static plan plan_of(const filtering *g) {
    plan p = {.across = over(g->Q, OUT), .panels = over(g->O, FN_NR), .depth = g->I + FN_VL,
              .plane = (g->I + 1) * FN_NR};
    p.tiles = g->N * over(g->P, OUT) * p.across;
    p.chunk = most(CHUNK_BYTES / (PLANES * (g->I + g->O) * SIZE), g->I * g->O / (g->I + g->O) / 2);
    p.chunk = most(32, least(512, p.chunk));
    p.chunks = over(p.tiles, p.chunk);
    p.chunk = over(p.tiles, p.chunks);
    return p;
}

/* Are channels side by side, whole vectors of them, and is there something to gain?
 * Costs for a pair of channels, in what the direct form takes for an output: a tile's products 5, its transforms 110
 * for each channel of one side (so 110 over the channels of the other), the transform of the weight 100, and 350 where
 * the second-level cache does not hold them all. Measured. */
static int pays(const filtering *g) {
    /* of small images the direct form leaves taps out that fall outside */
    const double rim = small_images(g->N, g->Q) ? (3.0 - 2.0 / (double)g->P) * (3.0 - 2.0 / (double)g->Q) / 9 : 1;
    const double tiles = (double)plan_of(g).tiles, outputs = rim * (double)(g->N * g->P * g->Q);
    const double I = (double)g->I, O = (double)g->O, weights = I * O > 16384 ? 350 : 100;
    return g->I % FN_VL == 0 && g->O % FN_VL == 0 && outputs > tiles * (5 + 110 / I + 110 / O) + weights;
}

/* Where tile t begins in y. */
static inline void place(const filtering *g, const plan *p, int64_t t, int64_t *n, int64_t *row, int64_t *column) {
    const int64_t down = over(g->P, OUT);
    *column = t % p->across * OUT, *row = t / p->across % down * OUT, *n = t / (p->across * down);
}

/* V[plane][t][i] = B' d B for tiles [from, from + count); `ldv` apart the tiles, `ldp` the planes. */
static void transform_x(const filtering *g, const plan *p, fn_t *v, int64_t ldv, int64_t ldp, const fn_t *zeros,
                        int64_t from, int64_t count) {
    for (int64_t t = 0; t < count; t++, v += ldv) {
        int64_t n, row, column;
        const fn_t *at[D][D];
        place(g, p, from + t, &n, &row, &column);
        for (int64_t a = 0; a < D; a++)
            for (int64_t b = 0; b < D; b++) {
                const int64_t h = row - g->top + a, w = column - g->left + b;
                const int inside = h >= 0 && h < g->H && w >= 0 && w < g->W;
                at[a][b] = inside ? g->x + n * g->x_n + h * g->x_h + w * g->x_w : zeros;
            }
        for (int64_t i = 0; i < g->I; i += FN_VL) {
            vec half[D][D];
            UNROLL for (int b = 0; b < D; b++) {
                vec d[D], s[D];
                UNROLL for (int a = 0; a < D; a++) d[a] = v_load(at[a][b] + i);
                spread_x(s, d);
                UNROLL for (int a = 0; a < D; a++) half[a][b] = s[a];
            }
            UNROLL for (int a = 0; a < D; a++) {
                vec s[D];
                spread_x(s, half[a]);
                UNROLL for (int b = 0; b < D; b++) v_store(v + (a * D + b) * ldp + i, s[b]);
            }
        }
    }
}

/* ---- forward, and backward to the input -------------------------------------------------------------------------- */

/* U[panel][plane][i][FN_NR] = G w G' */
static void transform_w(const filtering *g, const plan *p, fn_t *u, int64_t from, int64_t to) {
    for (int64_t j = from; j < to; j++) {
        const int64_t o = j / g->I * FN_NR, i = j % g->I, lanes = least(FN_NR, g->O - o);
        fn_t w[TAPS][TAPS][FN_NR] = {0};
        for (int r = 0; r < TAPS; r++)
            for (int s = 0; s < TAPS; s++) {
                const fn_t *const at = g->w + o * g->w_o + i * g->w_i + r * g->w_r + s * g->w_s;
                for (int64_t l = 0; l < lanes; l++) w[r][s][l] = at[l * g->w_o];
            }
        fn_t *const to_u = u + j / g->I * PLANES * p->plane + i * FN_NR;
        for (int l = 0; l < FN_NR; l += FN_VL) {
            vec half[D][TAPS];
            UNROLL for (int s = 0; s < TAPS; s++) {
                vec a[TAPS], b[D];
                UNROLL for (int r = 0; r < TAPS; r++) a[r] = v_load(w[r][s] + l);
                spread_taps(b, a, TAPS);
                UNROLL for (int q = 0; q < D; q++) half[q][s] = b[q];
            }
            UNROLL for (int q = 0; q < D; q++) {
                vec b[D];
                spread_taps(b, half[q], TAPS);
                UNROLL for (int s = 0; s < D; s++) v_store(to_u + (q * D + s) * p->plane + l, b[s]);
            }
        }
    }
}

/* y = act(A' M A + bias) for `lanes` channels from o on, M[t][plane][FN_NR]; *odd is NaN if one is not finite. */
static void transform_y(const filtering *g, const plan *p, const fn_t *m, int64_t from, int64_t count, int64_t o,
                        int64_t lanes, vec *odd) {
    const vec zero = v_zero();
    vec seen = *odd;
    for (int64_t t = 0; t < count; t++, m += PLANES * FN_NR) {
        int64_t n, row, column;
        place(g, p, from + t, &n, &row, &column);
        const int64_t rows = least(OUT, g->P - row), columns = least(OUT, g->Q - column);
        fn_t *const y = g->y + n * g->y_n + row * g->y_h + column * g->y_w + o;
        for (int64_t l = 0; l < lanes; l += FN_VL) {
            vec half[OUT][D];
            const vec bias = g->bias ? v_load(g->bias + o + l) : zero;
            UNROLL for (int b = 0; b < D; b++) {
                vec d[D], s[OUT];
                UNROLL for (int a = 0; a < D; a++) d[a] = v_load(m + (a * D + b) * FN_NR + l);
                gather(s, d, OUT);
                UNROLL for (int a = 0; a < OUT; a++) half[a][b] = s[a];
            }
            for (int a = 0; a < rows; a++) {
                vec s[OUT];
                gather(s, half[a], OUT);
                for (int b = 0; b < columns; b++) {
                    const vec z = s[b] + bias;
                    seen += z * zero;
                    v_store(y + a * g->y_h + b * g->y_w + l, g->relu ? v_relu(z) : z);
                }
            }
        }
    }
    *odd = seen;
}

/* Scratch of all: U, a flag for each thread; of a thread: V, M, zeros. */
static int64_t u_room(const plan *p) { return up(p->panels * PLANES * p->plane, WHOLE); }
static int64_t v_room(const plan *p) { return up(PLANES * ROWS * p->depth, WHOLE); }
#define M_ROOM up(PLANES * ROWS * FN_NR, WHOLE)
#define FLAGS up(FN_MAX_THREADS, WHOLE)

static int64_t room(const filtering *g, int threads) {
    const plan p = plan_of(g);
    return SIZE * (FLAGS + u_room(&p) + threads * (v_room(&p) + M_ROOM + up(g->I, WHOLE)));
}

/* Has any thread met a NaN? */
static int all_finite(fn_t *flags, vec odd, fn_team t) {
    flags[t.rank] = v_sum(odd) == 0;
    fn_barrier(t);
    for (int i = 0; i < t.size; i++)
        if (!flags[i]) return 0;
    return 1;
}

/* 0 if a result is not finite: an infinity spreads over its tile, so a direct form must redo them all. */
static int correlate(const filtering *g, void *work, fn_team t) {
    const plan p = plan_of(g);
    fn_t *const flags = work, *const u = flags + FLAGS, *const own = u + u_room(&p);
    fn_t *const v = own + t.rank * (v_room(&p) + M_ROOM + up(g->I, WHOLE)), *const m = v + v_room(&p);
    fn_t *const zeros = m + M_ROOM;
    const int64_t blocks = over(p.tiles, ROWS);
    int64_t lo, hi;
    fn_share(p.panels * g->I, 1, t, &lo, &hi);
    transform_w(g, &p, u, lo, hi);
    memset(zeros, 0, g->I * SIZE);
    fn_barrier(t);
    /* Where there are fewer blocks than threads, threads share the panels of a block and transform its tiles alike. */
    const int64_t shares = most(1, least(p.panels, t.size / most(1, blocks)));
    vec odd = v_zero();
    fn_share(blocks * shares, 1, t, &lo, &hi);
    for (int64_t j = lo; j < hi; j++) {
        const int64_t b = j / shares, from = p.tiles * b / blocks, count = p.tiles * (b + 1) / blocks - from;
        const int64_t k0 = p.panels * (j % shares) / shares, k1 = p.panels * (j % shares + 1) / shares;
        const int64_t ldp = ROWS * p.depth;
        if (j == lo || j % shares == 0) transform_x(g, &p, v, p.depth, ldp, zeros, from, count);
        for (int64_t k = k0; k < k1; k++) {
            const int64_t lanes = least(FN_NR, g->O - k * FN_NR);
            for (int64_t q = 0; q < PLANES; q++) {
                const fn_brgemm c = {.c = m + q * FN_NR, .a = v + q * ldp, .b = u + (k * PLANES + q) * p.plane,
                                     .m = count, .n = lanes, .k = g->I, .count = 1, .ldc = PLANES * FN_NR,
                                     .a_m = p.depth, .a_k = 1, .b_k = FN_NR, .nv = 2};
                FN_NAME(brgemm)(&c);
            }
            transform_y(g, &p, m, from, count, k * FN_NR, lanes, &odd);
        }
    }
    return all_finite(flags, odd, t);
}

/* ---- backward to the weights ------------------------------------------------------------------------------------- */

/* Z[plane][panel][t][FN_NR] = F dy F' for tiles [from, from + count) of a chunk, at place `at` in it */
static void transform_dy(const filtering *g, const plan *p, fn_t *z, int64_t at, int64_t from, int64_t count) {
    const int64_t ldp = p->panels * p->chunk * FN_NR;
    for (int64_t t = 0; t < count; t++) {
        int64_t n, row, column;
        place(g, p, from + t, &n, &row, &column);
        const fn_t *const y = g->y + n * g->y_n + row * g->y_h + column * g->y_w;
        const int64_t rows = least(OUT, g->P - row), columns = least(OUT, g->Q - column);
        for (int64_t o = 0; o < g->O; o += FN_VL) {
            vec half[D][OUT];
            fn_t *const to = z + (o / FN_NR * p->chunk + at + t) * FN_NR + o % FN_NR;
            UNROLL for (int b = 0; b < OUT; b++) {
                vec d[OUT], s[D];
                UNROLL for (int a = 0; a < OUT; a++)
                    d[a] = a < rows && b < columns ? v_load(y + a * g->y_h + b * g->y_w + o) : v_zero();
                spread_taps(s, d, OUT);
                UNROLL for (int a = 0; a < D; a++) half[a][b] = s[a];
            }
            UNROLL for (int a = 0; a < D; a++) {
                vec s[D];
                spread_taps(s, half[a], OUT);
                UNROLL for (int b = 0; b < D; b++) v_store(to + (a * D + b) * ldp, s[b]);
            }
        }
    }
}

/* dw = E' dU E for items [from, to) of panels times input channels, dU[plane][panel][i][FN_NR] */
static void transform_dw(const filtering *g, const plan *p, const fn_t *du, int64_t from, int64_t to, vec *odd) {
    for (int64_t j = from; j < to; j++) {
        const int64_t o = j / g->I * FN_NR, i = j % g->I, lanes = least(FN_NR, g->O - o);
        const fn_t *const at = du + j / g->I * p->plane + i * FN_NR;
        fn_t w[TAPS][TAPS][FN_NR];
        for (int64_t l = 0; l < lanes; l += FN_VL) {
            vec half[TAPS][D];
            UNROLL for (int b = 0; b < D; b++) {
                vec d[D], s[TAPS];
                UNROLL for (int a = 0; a < D; a++) d[a] = v_load(at + (a * D + b) * p->panels * p->plane + l);
                gather(s, d, TAPS);
                UNROLL for (int a = 0; a < TAPS; a++) half[a][b] = s[a];
            }
            UNROLL for (int a = 0; a < TAPS; a++) {
                vec s[TAPS];
                gather(s, half[a], TAPS);
                UNROLL for (int b = 0; b < TAPS; b++) *odd += s[b] * v_zero(), v_store(w[a][b] + l, s[b]);
            }
        }
        for (int64_t l = 0; l < lanes; l++)
            for (int r = 0; r < TAPS; r++)
                for (int s = 0; s < TAPS; s++)
                    g->w[(o + l) * g->w_o + i * g->w_i + r * g->w_r + s * g->w_s] = w[r][s][l];
    }
}

/* Scratch of all: a flag for each thread, dU, V and Z of a chunk, zeros; of a thread: a sum over a few tiles. */
static int64_t w_room(const filtering *g, int threads) {
    const plan p = plan_of(g);
    return SIZE * (FLAGS + u_room(&p) + up(PLANES * p.chunk * g->I, WHOLE) + p.panels * PLANES * p.chunk * FN_NR +
                   up(g->I, WHOLE) + threads * g->I * FN_NR);
}

/* dU += V' Z over `count` tiles, FEW at a time, so that the roundings of long sums stay small. */
static void add_tiles(const fn_brgemm *product, int64_t count, int first, fn_t *sum) {
    fn_brgemm b = *product;
    for (int64_t at = 0; at < count; at += b.k) {
        b.k = least(FEW, count - at);
        b.a = product->a + at * b.a_k, b.b = product->b + at * FN_NR, b.c = first && at == 0 ? product->c : sum;
        FN_NAME(brgemm)(&b);
        if (b.c != sum) continue;
        fn_t *const c = product->c;
        for (int64_t i = 0; i < b.m * FN_NR; i += FN_VL) v_store(c + i, v_load(c + i) + v_load(sum + i));
    }
}

static int correlate_w(const filtering *g, void *work, fn_team t) {
    const plan p = plan_of(g);
    fn_t *const flags = work, *const du = flags + FLAGS, *const v = du + u_room(&p);
    fn_t *const z = v + up(PLANES * p.chunk * g->I, WHOLE), *const zeros = z + p.panels * PLANES * p.chunk * FN_NR;
    fn_t *const sum = zeros + up(g->I, WHOLE) + t.rank * g->I * FN_NR;
    const int64_t ldp = p.chunk * g->I;
    int64_t lo, hi;
    if (t.rank == 0) memset(zeros, 0, g->I * SIZE);
    fn_barrier(t);
    for (int64_t c = 0; c < p.chunks; c++) {
        const int64_t begin = p.tiles * c / p.chunks, count = p.tiles * (c + 1) / p.chunks - begin;
        fn_share(count, 1, t, &lo, &hi);
        transform_x(g, &p, v + lo * g->I, g->I, ldp, zeros, begin + lo, hi - lo);
        transform_dy(g, &p, z, lo, begin + lo, hi - lo);
        fn_barrier(t);
        fn_share(p.panels * PLANES, 1, t, &lo, &hi);
        for (int64_t j = lo; j < hi; j++) {
            const fn_brgemm b = {.c = du + j * p.plane, .a = v + j / p.panels * ldp, .b = z + j * p.chunk * FN_NR,
                                 .m = g->I, .n = FN_NR, .count = 1, .ldc = FN_NR, .a_m = 1, .a_k = g->I, .b_k = FN_NR,
                                 .nv = 2};
            add_tiles(&b, count, c == 0, sum);
        }
        fn_barrier(t);
    }
    vec odd = v_zero();
    fn_share(p.panels * g->I, 1, t, &lo, &hi);
    transform_dw(g, &p, du, lo, hi, &odd);
    return all_finite(flags, odd, t);
}

/* ---- the operations: as those of conv.c, by the direct form where it is cheaper or must redo --------------------- */

static filtering forward_of(const fn_conv_args *a) {
    return (filtering){.x = a->x, .y = a->y, .w = (fn_t *)a->w, .bias = a->b, .x_n = a->x_n, .x_h = a->x_h,
                       .x_w = a->x_w,
                       .y_n = a->P * a->Q * a->K, .y_h = a->Q * a->K, .y_w = a->K, .w_o = a->C * 9, .w_i = 9, .w_r = 3,
                       .w_s = 1, .N = a->N, .H = a->H, .W = a->W, .I = a->C, .P = a->P, .Q = a->Q, .O = a->K,
                       .top = a->pad_h, .left = a->pad_w, .relu = a->act == FN_ACT_RELU};
}
static filtering backward_of(const fn_conv_args *a) {
    return (filtering){.x = a->dy, .y = a->dx, .w = (fn_t *)a->w + 8, .x_n = a->dy_n, .x_h = a->dy_h, .x_w = a->dy_w,
                       .y_n = a->H * a->W * a->C, .y_h = a->W * a->C, .y_w = a->C, .w_o = 9, .w_i = a->C * 9, .w_r = -3,
                       .w_s = -1, .N = a->N, .H = a->P, .W = a->Q, .I = a->K, .P = a->H, .Q = a->W, .O = a->C,
                       .top = TAPS - 1 - a->pad_h, .left = TAPS - 1 - a->pad_w};
}
static filtering weights_of(const fn_conv_args *a) {
    filtering g = forward_of(a);
    g.y = (fn_t *)a->dy, g.y_n = a->dy_n, g.y_h = a->dy_h, g.y_w = a->dy_w, g.w = a->dw;
    return g;
}
static int plain(const fn_conv_args *a) {
    return a->R == TAPS && a->S == TAPS && a->G == 1 && a->stride_h == 1 && a->stride_w == 1 && a->dil_h == 1 &&
           a->dil_w == 1;
}

FN_WORK(winograd_fwd) {
    const fn_conv_args *a = args;
    const filtering g = forward_of(a);
    const int64_t direct = FN_NAME(conv2d_fwd_work)(a, threads);
    return plain(a) && a->x_c == 1 && pays(&g) ? most(direct, room(&g, threads)) : direct;
}
FN_KERNEL(winograd_fwd) {
    const fn_conv_args *a = args;
    const filtering g = forward_of(a);
    if (plain(a) && a->x_c == 1 && pays(&g)) {
        if (correlate(&g, a->work, t)) return;
        fn_barrier(t);
    }
    FN_NAME(conv2d_fwd)(a, t);
}

FN_WORK(winograd_bwd_x) {
    const fn_conv_args *a = args;
    const filtering g = backward_of(a);
    const int64_t direct = FN_NAME(conv2d_bwd_x_work)(a, threads);
    return plain(a) && a->dy_c == 1 && pays(&g) ? most(direct, room(&g, threads)) : direct;
}
FN_KERNEL(winograd_bwd_x) {
    const fn_conv_args *a = args;
    const filtering g = backward_of(a);
    if (plain(a) && a->dy_c == 1 && pays(&g)) {
        if (correlate(&g, a->work, t)) return;
        fn_barrier(t);
    }
    FN_NAME(conv2d_bwd_x)(a, t);
}

FN_WORK(winograd_bwd_w) {
    const fn_conv_args *a = args;
    const filtering g = weights_of(a);
    const int64_t direct = FN_NAME(conv2d_bwd_w_work)(a, threads);
    return a->dw && plain(a) && a->x_c == 1 && a->dy_c == 1 && pays(&g) ? most(direct, w_room(&g, threads)) : direct;
}
FN_KERNEL(winograd_bwd_w) {
    fn_conv_args a = *(const fn_conv_args *)args;
    const filtering g = weights_of(&a);
    if (a.dw && plain(&a) && a.x_c == 1 && a.dy_c == 1 && pays(&g)) {
        if (correlate_w(&g, a.work, t)) a.dw = 0;
        fn_barrier(t);
    }
    if (a.dw || a.db) FN_NAME(conv2d_bwd_w)(&a, t);
}
