/* 2-D convolution: forward, and the gradients of input, weight and bias.
 *
 *   y[n,k,p,q]  = b[k] + sum over c,r,s of w[k,c,r,s] x[n, c, p stride - pad + r dil, q stride - pad + s dil]
 *   dx[n,c,h,w] = sum over k,r,s of w[k,c,r,s] dy[n,k,p,q]      where p stride - pad + r dil = h, and q likewise
 *   dw[k,c,r,s] = sum over n,p,q of dy[n,k,p,q] x[n, c, p stride - pad + r dil, q stride - pad + s dil]
 *
 * y and dx are one computation, a correlation: dx's pixels fall into stride x stride phases, and those of one phase are
 * a correlation of dy with the taps that reach them, turned round. Taps that fall outside of all columns meet zeros,
 * those outside of the rows are left out. Forms of a correlation, chosen by shapes and strides alone:
 *   CHANNELS  vectors run along output channels, numbers of the input are broadcast
 *   PIXELS    vectors run along pixels, weights are broadcast: output channels that would leave a vector half empty
 *   IMAGES    as CHANNELS, where a tile's rows are images: those are many and small
 * conv_scatter.c has a form for a dx of few channels, conv_slide.c the tiles of CHANNELS that taps slide along.
 * Every sum runs in one order fixed by the shapes, whatever the threads. docs/convolution.md has it at length. */
#include "conv.h"

enum { CHANNELS, PIXELS, IMAGES };
#define MIDDLE 65536             /* bytes of a block in planes */
#define NEAR 24576               /* bytes of a block that should stay in the first-level cache */
#define WEIGHTS 65536            /* bytes of packed weights that pass over a block at a time */
#define CHUNK 16                 /* input channels that are packed at a time */

/* ---- a correlation ----------------------------------------------------------------------------------------------- */

/* y[n, g*O + o, p, q] = act(bias + sum over i,r,s of w[g,o,i,r,s] x[n, g*I + i, ...]) */
typedef struct {
    const fn_t *x, *w, *bias;
    fn_t *y;
    int64_t x_n, x_c, x_h, x_w, y_n, y_h, y_w, w_g, w_o, w_i, w_r;
    int64_t N, G, I, O, relu;
    axis h, w_;                              /* rows; columns */
    int64_t form, nv, width, panels;         /* vectors, lanes of a panel of weights; panels of a group */
    int64_t in_place;                        /* the input is read where it lies */
    int64_t pixel, pitch, cols, rows;        /* a block: elements between pixels, between rows; columns; output rows */
    int64_t sliding;                         /* conv_slide.c */
    int64_t merged;                          /* the taps and channels of a filter row are one run */
    int64_t flat;                            /* a block's output rows are one run of pixels */
    int64_t pack, x_room, t_room, room;      /* elements: packed weights; of a thread: block, results, all */
} corr;

static inline int64_t taps_of(const corr *c) { return c->h.taps * c->w_.taps; }
/* The cost of an output pixel in vector multiply-adds: PIXELS turns its results, and computes between rows too. Its blocks
 * hold rows outside of the image as zeros, so taps must not be far apart. */
static int fewer(const corr *c) {
    const double sums = (double)(c->I * taps_of(c)), waste = (double)c->cols / (double)most(c->w_.out, 1);
    return c->h.step == 1 && c->w_.step == 1 && (c->h.taps - 1) * c->h.dil <= 2 * c->h.in &&
           ((double)c->O / FN_VL) * sums * waste + 0.5 * (double)c->O + (double)c->I < (double)over(c->O, FN_VL) * sums;
}

static void arrange(corr *c) {
    const int64_t Q = c->w_.out;
    c->cols = c->w_.taps ? (Q - 1) * c->w_.step + (c->w_.taps - 1) * c->w_.dil + 1 : 0;
    c->form = fewer(c) ? PIXELS : CHANNELS;
    c->pixel = c->form == PIXELS ? 1 : pixel_of(c->I, c->w_.step);
    if (c->form == CHANNELS && c->x_c == 1 && small_images(c->N, Q)) c->form = IMAGES;
    c->in_place = c->form == CHANNELS && lies_well(&c->w_, c->cols, c->x_c, c->x_w, c->I);
    if (c->in_place) c->pixel = c->x_w;
    c->merged = c->form == CHANNELS && c->pixel == c->I && c->w_.dil == 1;
    c->nv = c->O <= FN_VL ? 1 : c->O > 2 * FN_VL && Q <= FN_ROWS4 ? 4 : 2;
    if (c->form == PIXELS) c->nv = c->O <= FN_ROWS4 ? 4 : 2;
    c->width = c->nv * FN_VL, c->panels = over(c->O, c->width), c->pitch = c->in_place ? c->x_h : c->cols * c->pixel;
    c->flat = c->form == CHANNELS && taps_of(c) == 1 && c->h.first >= 0 && c->y_h == Q * c->y_w &&
              (c->h.out - 1) * c->h.step + c->h.first < c->h.in && c->h.step * c->pitch == Q * c->w_.step * c->pixel;
    c->sliding = FN_SLIDES && c->form == CHANNELS && !small_images(c->N, Q) && c->nv == 1 &&
                 c->w_.step == 1 && c->w_.dil == 1 && (c->w_.taps == 3 || c->w_.taps == 5) &&
                 c->I * c->w_.taps > 8 && (Q % 4 == 0 || Q % 5 == 0);
    /* a block of `rows` output rows needs (rows - 1) * step + reach input rows, but `held` at most, of each of I planes in PIXELS */
    const int64_t planes = c->form == PIXELS ? c->I : 1, held = c->form == PIXELS ? INT64_MAX : c->h.in;
    const int64_t reach = least(most((c->h.taps - 1) * c->h.dil, 0) + 1, held);
    const int64_t bytes = c->form == CHANNELS ? BLOCK : c->form == PIXELS ? MIDDLE : NEAR;
    const int64_t each = most(planes * c->cols * c->pixel + (c->form == PIXELS ? c->O * c->cols : 0), 1) * SIZE;
    c->rows = most(least(c->h.out, (bytes / each - reach) / most(c->h.step, 1) + 1), 1);
    c->rows = most(over(c->h.out, most(over(c->h.out, c->rows), 1)), 1);
    if (c->form == IMAGES) {     /* images a page apart would crowd few sets of a cache; the copy is the team's */
        c->in_place = c->x_n * SIZE % PAGE != 0;
        c->nv = c->O <= FN_VL ? 1 : 2, c->width = c->nv * FN_VL, c->panels = over(c->O, c->width);
        c->pitch = c->in_place ? c->x_n : c->h.in * c->w_.in * c->I + 64 / SIZE;
        c->pack = c->in_place ? 0 : c->N * c->G * c->pitch;
        c->t_room = up((c->N + 1 + taps_of(c) * c->I) * c->width, 64);
        c->room = up(c->t_room + 2 * taps_of(c) * 8 / SIZE + SPARE, 64);
        return;
    }
    c->x_room = c->in_place ? 0 : up(planes * least((c->rows - 1) * c->h.step + reach, held) * c->pitch + SPARE, 64);
    if (c->form == PIXELS) {
        c->t_room = c->O * (up(c->rows * c->cols, c->width) + FN_VL);
    } else {
        c->pack = c->G * c->panels * taps_of(c) * c->I * c->width;
        c->t_room = ((c->flat ? c->rows : 1) * Q + 1) * c->panels * c->width;
    }
    c->t_room = up(c->t_room, 64);
    const int64_t tables = 2 * (c->form == PIXELS ? most(taps_of(c), c->I * c->h.taps) : taps_of(c)) * 8 / SIZE;
    c->room = up(c->x_room + c->t_room + tables + SPARE, 64);
}

static corr forward_of(const fn_conv_args *args) {
    const fn_conv_args one = folded(args), *const a = &one;
    const int64_t I = a->C / a->G, O = a->K / a->G;
    corr c = {.x = a->x, .w = a->w, .bias = a->b, .y = a->y, .x_n = a->x_n, .x_c = a->x_c, .x_h = a->x_h,
              .x_w = a->x_w, .y_n = a->P * a->Q * a->K, .y_h = a->Q * a->K, .y_w = a->K, .w_g = O * I * a->R * a->S,
              .w_o = I * a->R * a->S, .w_i = a->R * a->S, .w_r = a->S, .N = a->N, .G = a->G, .I = I, .O = O,
              .relu = a->act == FN_ACT_RELU,
              .h = forward_axis(a->H, a->P, a->R, a->stride_h, a->pad_h, a->dil_h),
              .w_ = forward_axis(a->W, a->Q, a->S, a->stride_w, a->pad_w, a->dil_w)};
    arrange(&c);
    return c;
}
static corr backward_of(const fn_conv_args *a, int64_t phase) {
    const int64_t I = a->K / a->G, O = a->C / a->G;
    int64_t h, w;
    corr c = {.x = a->dy, .w = a->w, .x_n = a->dy_n, .x_c = a->dy_c, .x_h = a->dy_h, .x_w = a->dy_w,
              .y_n = a->H * a->W * a->C, .y_h = a->stride_h * a->W * a->C, .y_w = a->stride_w * a->C,
              .w_g = I * O * a->R * a->S, .w_o = a->R * a->S, .w_i = O * a->R * a->S, .w_r = a->S, .N = a->N,
              .G = a->G, .I = I, .O = O,
              .h = backward_axis(a->H, a->P, a->R, a->stride_h, a->pad_h, a->dil_h, phase / a->stride_w, &h),
              .w_ = backward_axis(a->W, a->Q, a->S, a->stride_w, a->pad_w, a->dil_w, phase % a->stride_w, &w)};
    c.y = (fn_t *)a->dx + (h * a->W + w) * a->C;
    arrange(&c);
    return c;
}

/* ---- packed weights ---------------------------------------------------------------------------------------------- */

/* Where tap (r,s) of a correlation lies in a filter. */
static inline int64_t weight_at(const corr *c, int64_t r, int64_t s) {
    return (c->h.w0 + r * c->h.w_step) * c->w_r + c->w_.w0 + s * c->w_.w_step;
}

/* y[at(j)*width + lane] = w[lane*w_o + j] for a run of J weights: all taps, in order or turned round, of J / taps input
 * channels from channel i on; at(j) = tap*I + channel. Zeros in lanes beyond `lanes`. */
static void pack_run(fn_t *y, int64_t width, const fn_t *w, int64_t w_o, int64_t lanes, int64_t J, int64_t taps,
                     int64_t I, int64_t i, int turned) {
    for (int64_t l = 0; l < width; l += FN_VL) {
        const int64_t m = least(FN_VL, lanes - l);
        int64_t at = i, tap = 0;
        for (int64_t j = 0; j < J; j += FN_PIECE) {
            vec v[FN_PIECE];
            const int64_t q0 = j - most(least(j, J - FN_PIECE), 0);              /* the last piece begins earlier */
            const fn_t *const w_j = w + l * w_o + j - q0;
            if (m == FN_VL && J >= FN_PIECE) {
                UNROLL for (int q = 0; q < FN_PIECE; q++) v[q] = v_pieces(w_j + q * w_o, FN_PIECE * w_o);
            } else {
                fn_t z[FN_VL][FN_PIECE] = {{0}};
                for (int64_t k = 0; k < m; k++)
                    for (int64_t q = 0; q < least(FN_PIECE, J); q++) z[k][q] = w_j[k * w_o + q];
                UNROLL for (int q = 0; q < FN_PIECE; q++) v[q] = v_pieces(z[q], FN_PIECE * FN_PIECE);
            }
            v_transpose_pieces(v);
            for (int64_t q = q0; q < FN_PIECE && j + q - q0 < J; q++) {
                v_store(y + ((turned ? taps - 1 - tap : tap) * I + at) * width + l, v[q]);
                if (++tap == taps) tap = 0, at++;
            }
        }
    }
}

/* Input channels [i0, i0 + n) of a panel [r][s][i][k % width]; zeros beyond O. */
static void pack_panel(const corr *c, fn_t *y, int64_t panel, int64_t i0, int64_t n) {
    const int64_t I = c->I, S = c->w_.taps, taps = taps_of(c), width = c->width, w_o = c->w_o;
    const int64_t k = panel % c->panels * width, lanes = least(width, c->O - k);
    const int whole = taps == least(c->w_i, c->w_o), turned = c->h.w_step < 0;
    const fn_t *const w = c->w + panel / c->panels * c->w_g + k * c->w_o + i0 * c->w_i;
    if (whole && c->w_o == 1) {
        for (int64_t i = 0; i < n; i++) {
            fn_t *const y_i = y + (i0 + i) * width;
            copy(y_i, w + i * c->w_i, lanes), clear(y_i + lanes, width - lanes);
        }
    } else if (whole && c->w_i == taps) {
        pack_run(y, width, w, c->w_o, lanes, n * taps, taps, I, i0, turned);
    } else if (whole) {
        for (int64_t i = 0; i < n; i++)
            pack_run(y, width, w + i * c->w_i, c->w_o, lanes, taps, taps, I, i0 + i, turned);
    } else {
        for (int64_t tap = 0; tap < taps; tap++) {
            const fn_t *const w_t = w + weight_at(c, tap / S, tap % S);
            for (int64_t i = 0; i < n; i++) {
                const fn_t *const from = w_t + i * c->w_i;
                fn_t *const y_i = y + (tap * I + i0 + i) * width;
                for (int64_t l = 0, at = 0; l < lanes; l++, at += w_o) y_i[l] = from[at];
                clear(y_i + lanes, width - lanes);
            }
        }
    }
}
/* Panels [g][k / width], by the team. */
static void pack_weights(const corr *c, fn_t *packed, fn_team t) {
    const int64_t chunks = over(c->I, CHUNK);
    int64_t lo, hi;
    fn_share(c->G * c->panels * chunks, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        const int64_t panel = u / chunks, i = u % chunks * CHUNK;
        pack_panel(c, packed + panel * taps_of(c) * c->I * c->width, panel, i, least(CHUNK, c->I - i));
    }
}

/* ---- CHANNELS ---------------------------------------------------------------------------------------------------- */

/* Shares of a correlation: (group, image, block of rows, part of the panels). */
typedef struct {
    int64_t rows, blocks, splits, n;
} shares;
static shares shares_of(const corr *c, int64_t splits, int size) {
    shares s = {.rows = c->rows, .splits = 1};
    const int64_t images = c->G * c->N, P = c->h.out;
    if (size > 1 && images) {
        const int64_t want = over(2 * size, images);
        if (c->pack * SIZE > LARGE) s.splits = least(splits, want);
        s.rows = least(s.rows, over(P, over(want, s.splits)));
        s.splits = least(splits, most(s.splits, over(want, over(P, s.rows))));
    }
    s.blocks = over(P, s.rows);
    s.n = images * s.blocks * s.splits;
    return s;
}

static void channels(const corr *c, const fn_t *packed, fn_t *room, fn_team t) {
    const int64_t I = c->I, O = c->O, P = c->h.out, Q = c->w_.out, R = c->h.taps, S = c->w_.taps, width = c->width;
    const int64_t a_k = c->merged ? S * I : I, per_row = c->merged ? 1 : S, panel = R * S * I * width;
    fn_t *const block = room, *const T = block + c->x_room, *const bias_rest = T + c->t_room - c->panels * width;
    int64_t *const a_at = (int64_t *)(T + c->t_room), *const b_at = a_at + R * S;
    for (int64_t r = 0, i = 0; r < R; r++)
        for (int64_t s = 0; s < per_row; s++, i++)
            a_at[i] = r * c->h.dil * c->pitch + s * c->w_.dil * c->pixel, b_at[i] = i * a_k * width;
    const shares sh = shares_of(c, c->panels, t.size);
    const int64_t at_once = most(WEIGHTS / (most(panel, 1) * SIZE), 1);
    int64_t held = -1, h0 = 0, h1 = 0;
    const int one = c->in_place && R * per_row == 1;         /* a single tap: pixels side by side are read once */
    const int far_a = one && fn_far_a(c->N * P * Q, I), fetch_c = fn_fetch_c(c->N * P * Q, O);
    fn_deal deal = fn_dealt(sh.n, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        const int64_t part = u % sh.splits, which = u / sh.splits, p0 = which % sh.blocks * sh.rows;
        const int64_t p1 = least(P, p0 + sh.rows), n = which / sh.blocks % c->N, g = which / sh.blocks / c->N;
        const fn_t *const x = c->x + n * c->x_n + g * I * c->x_c;
        if (which != held && !c->in_place) {
            rows_of(&c->h, p0, p1, &h0, &h1);
            copy_block(block, &c->w_, c->cols, c->pixel, x, c->x_h, c->x_w, c->x_c, h0, h1, I);
            held = which;
        }
        const fn_t *const from = c->in_place ? x + c->w_.first * c->x_w : block;
        const fn_t *bias = c->bias ? c->bias + g * O : 0;
        if (bias && O % FN_VL) copy(bias_rest, bias, O), clear(bias_rest + O, c->panels * width - O), bias = bias_rest;
        const int64_t last = c->panels * (part + 1) / sh.splits, run = c->flat ? p1 - p0 : 1;
        for (int64_t k = c->panels * part / sh.splits, passed; k < last; k += passed) {
            passed = least(at_once, last - k);
            const int64_t o = k * width, lanes = least(passed * width, O - o), through = lanes % FN_VL;
            const fn_t *const w = packed + (g * c->panels + k) * panel;
            for (int64_t p = p0; p < p1; p += run) {
                int64_t r0, r1;
                taps_at(&c->h, p, &r0, &r1);
                fn_t *const y = c->y + n * c->y_n + p * c->y_h + g * O + o, *const to = through ? T : y;
                const int64_t ldc = through ? up(lanes, FN_VL) : c->y_w;
                const fn_t *const x_p = from + (p * c->h.step + c->h.first - h0) * c->pitch;
                if (c->sliding) {
                    const slide b = {.c = to, .c_q = ldc, .init = bias, .x = x_p + r0 * c->h.dil * c->pitch,
                                     .x_r = c->h.dil * c->pitch, .w = w + r0 * S * I * FN_VL, .pixel = c->pixel,
                                     .rows = r1 - r0, .Q = Q, .S = S, .I = I, .relu = c->relu};
                    FN_NAME(conv_slide)(&b);
                } else {
                    const fn_brgemm b = {
                        .c = to, .ldc = ldc, .init = bias ? bias + o : 0, .a = x_p, .a_m = c->w_.step * c->pixel,
                        .a_k = 1, .a_at = a_at + r0 * per_row, .b_at = b_at + r0 * per_row,
                        .count = (r1 - r0) * per_row, .b = w, .b_k = width, .b_panel = panel, .m = run * Q,
                        .n = up(lanes, FN_VL), .k = a_k, .nv = c->nv, .relu = c->relu, .far_a = far_a, .fetch_c = through ? FN_FETCH_NONE : fetch_c};
                    FN_NAME(brgemm)(&b);
                }
                for (int64_t q = 0; through && q < run * Q; q++) copy(y + q * c->y_w, T + q * ldc, lanes);
            }
        }
    }
}

/* ---- IMAGES ------------------------------------------------------------------------------------------------------ */

/* The images side by side, each group's channels apart, where the input cannot be read in place. */
static void pack_images(const corr *c, fn_t *packed, fn_team t) {
    int64_t lo, hi;
    fn_share(c->in_place ? 0 : c->N * c->G, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++)
        for (int64_t h = 0; h < c->h.in; h++)
            for (int64_t w = 0; w < c->w_.in; w++)
                copy(packed + u * c->pitch + (h * c->w_.in + w) * c->I,
                     c->x + u / c->G * c->x_n + u % c->G * c->I + h * c->x_h + w * c->x_w, c->I);
}

/* For each output position one product over the taps that lie inside, rows of its tiles being images. */
static void images(const corr *c, const fn_t *packed, fn_t *room, fn_team t) {
    const int64_t N = c->N, I = c->I, O = c->O, P = c->h.out, Q = c->w_.out, S = c->w_.taps, width = c->width;
    const int64_t x_w = c->in_place ? c->x_w : I, x_h = c->in_place ? c->x_h : c->w_.in * I;
    const fn_t *const x = c->in_place ? c->x : packed;
    fn_t *const panel = room, *const T = panel + taps_of(c) * I * width, *const bias_rest = T + N * width;
    int64_t *const a_at = (int64_t *)(room + c->t_room), *const b_at = a_at + taps_of(c);
    int64_t held = -1;
    fn_deal deal = fn_dealt(c->G * c->panels * P, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        const int64_t p = u % P, g = u / P / c->panels, o = u / P % c->panels * width, lanes = least(width, O - o);
        for (int64_t i = 0; i < I && u / P != held; i += CHUNK) pack_panel(c, panel, u / P, i, least(CHUNK, I - i));
        held = u / P;
        const fn_t *bias = c->bias ? c->bias + g * O + o : 0;
        int64_t r0, r1, s0, s1;
        if (bias && lanes % FN_VL) {
            copy(bias_rest, bias, lanes), clear(bias_rest + lanes, width - lanes);
            bias = bias_rest;
        }
        taps_at(&c->h, p, &r0, &r1);
        for (int64_t q = 0; q < Q; q++) {
            int64_t count = 0;
            taps_at(&c->w_, q, &s0, &s1);
            for (int64_t r = r0; r < r1; r++)
                for (int64_t s = s0; s < s1; s++, count++) {
                    a_at[count] = (p * c->h.step + c->h.first + r * c->h.dil) * x_h +
                                  (q * c->w_.step + c->w_.first + s * c->w_.dil) * x_w;
                    b_at[count] = (r * S + s) * I * width;
                }
            fn_t *const y = c->y + p * c->y_h + q * c->y_w + g * O + o;
            const int through = lanes % FN_VL != 0;
            const fn_brgemm b = {
                .c = through ? T : y, .ldc = through ? up(lanes, FN_VL) : c->y_n, .init = bias,
                .a = x + g * (c->in_place ? I : c->pitch), .a_m = c->pitch * (c->in_place ? 1 : c->G), .a_k = 1,
                .a_at = a_at, .b_at = b_at, .count = count, .b = panel, .b_k = width, .m = N, .n = up(lanes, FN_VL),
                .k = I, .nv = c->nv, .relu = c->relu, .fetch_c = through ? FN_FETCH_NONE : fn_fetch_c(N * P * Q, O)};
            FN_NAME(brgemm)(&b);
            if (through)
                for (int64_t n = 0; n < N; n++) copy(y + n * c->y_n, T + n * b.ldc, lanes);
        }
    }
}

/* ---- PIXELS ------------------------------------------------------------------------------------------------------ */

/* A block's rows lie end to end, so vectors run across row ends too; what they compute between rows is dropped. */
static void pixels(const corr *c, fn_t *room, fn_team t) {
    const int64_t I = c->I, O = c->O, P = c->h.out, Q = c->w_.out, R = c->h.taps, S = c->w_.taps, pitch = c->pitch;
    fn_t *const block = room, *const T = block + c->x_room;
    const int along = S >= I;                /* the inner sum runs over the taps of a filter row, or over channels */
    const int64_t count = along ? I * R : R * S;
    int64_t *const a_at = (int64_t *)(T + c->t_room), *const b_at = a_at + count;
    const shares sh = shares_of(c, 1, t.size);
    const int64_t plane = ((sh.rows - 1) + (R - 1) * c->h.dil + 1) * pitch;
    for (int64_t i = 0; i < count; i++) {
        const int64_t j = along ? i / R : 0, r = along ? i % R : i / S, s = along ? 0 : i % S;
        a_at[i] = j * c->w_i + weight_at(c, r, s), b_at[i] = j * plane + r * c->h.dil * pitch + s * c->w_.dil;
    }
    fn_deal deal = fn_dealt(sh.n, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        const int64_t p0 = u % sh.blocks * sh.rows, n = u / sh.blocks % c->N, g = u / sh.blocks / c->N;
        const int64_t rows = least(P - p0, sh.rows), lanes = (rows - 1) * pitch + Q;
        const fn_t *const x = c->x + n * c->x_n + g * I * c->x_c;
        const int64_t h0 = p0 + c->h.first;
        copy_block_planes(block, plane, &c->w_, pitch, x, c->x_h, c->x_w, c->x_c, c->h.in, h0,
                          h0 + rows + (R - 1) * c->h.dil, I);
        const int64_t ldc = up(lanes, FN_VL);
        const fn_brgemm b = {
            .c = T, .ldc = ldc, .a = c->w + g * c->w_g, .a_at = a_at, .a_m = c->w_o,
            .a_k = along ? c->w_.w_step : c->w_i, .b = block, .b_at = b_at, .b_k = along ? c->w_.dil : plane,
            .b_panel = c->width, .m = O, .n = ldc, .k = along ? S : I, .count = count, .nv = c->nv};
        FN_NAME(brgemm)(&b);
        for (int64_t p = 0; p < rows; p++) {
            fn_t *const y = c->y + n * c->y_n + (p0 + p) * c->y_h + g * O;
            interleave_(y, c->y_w, T + p * pitch, ldc, Q, O, 1, c->bias ? c->bias + g * O : 0, c->relu);
        }
    }
}

/* ---- any form ---------------------------------------------------------------------------------------------------- */

static void pack(const corr *c, fn_t *packed, fn_team t) {
    if (c->form == CHANNELS) pack_weights(c, packed, t);
    if (c->form == IMAGES) pack_images(c, packed, t);
}
static void correlate(const corr *c, const fn_t *packed, fn_t *room, fn_team t) {
    if (c->N == 0 || c->h.out <= 0 || c->w_.out <= 0 || c->O == 0) return;
    if (c->form == CHANNELS) channels(c, packed, room, t);
    else if (c->form == IMAGES) images(c, packed, room, t);
    else pixels(c, room, t);
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

#if FN_FIRST
static int first_with_maximum(const fn_conv_args *a, const corr *c) {
    return is_first(a) && c->form == PIXELS && a->K % 2 == 0 && 5 * up(a->Q / 2, FN_VL) <= 7 * (a->Q / 2);
}
#endif
FN_WORK(conv2d_fwd) {
    const fn_conv_args *a = args;
    const corr c = forward_of(a);
#if FN_FIRST
    if (a->tap && first_with_maximum(a, &c)) return FN_NAME(conv_first_fwd_work)(a, threads);
#endif
    return (a->tap ? FN_NAME(conv_map_work)(a, threads) : 0) + (up(c.pack, 64) + c.room * threads) * SIZE;
}
FN_KERNEL(conv2d_fwd) {
    const fn_conv_args *a = args;
    const corr c = forward_of(a);
    if (a->tap) {
#if FN_FIRST
        if (first_with_maximum(a, &c)) {
            FN_NAME(conv_first_fwd)(a, t);
            return;
        }
#endif
        FN_NAME(conv_maximum)(a, t);
        return;
    }
    fn_t *const packed = a->work, *const room = packed + up(c.pack, 64) + t.rank * c.room;
    if (c.pack) {
        pack(&c, packed, t);
        fn_barrier(t);
    }
    correlate(&c, packed, room, t);
}

/* ---- backward: the input's gradient ------------------------------------------------------------------------------ */

FN_WORK(conv2d_bwd_x) {
    const fn_conv_args *a = args;
    if (FN_NAME(conv_scatters)(a)) return FN_NAME(conv_scatter_work)(a, threads);
    int64_t weights = 0, room = 0;
    for (int64_t i = 0; i < a->stride_h * a->stride_w; i++) {
        const corr c = backward_of(a, i);
        weights += up(c.pack, 64), room = most(room, c.room);
    }
    return (weights + room * threads) * SIZE;
}
FN_KERNEL(conv2d_bwd_x) {
    const fn_conv_args *a = args;
    fn_t *packed = a->work;
    if (FN_NAME(conv_scatters)(a)) {
        FN_NAME(conv_scatter)(a, t);
        return;
    }
    int64_t room = 0;
    for (int64_t i = 0; i < a->stride_h * a->stride_w; i++) {
        const corr c = backward_of(a, i);
        pack(&c, packed, t);
        packed += up(c.pack, 64), room = most(room, c.room);
    }
    if (packed != a->work) fn_barrier(t);
    fn_t *const own = packed + t.rank * room;
    packed = a->work;
    for (int64_t i = 0; i < a->stride_h * a->stride_w; i++) {
        const corr c = backward_of(a, i);
        if (i) fn_barrier(t);                /* each deals out its own items */
        correlate(&c, packed, own, t);
        packed += up(c.pack, 64);
    }
}
