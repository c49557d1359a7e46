/* 2-D convolution: the gradients of weight and bias.
 *
 *   dw[k,c,r,s] = sum over n,p,q of dy[n,k,p,q] x[n, c, p stride - pad + r dil, q stride - pad + s dil]
 *   db[k]       = sum over n,p,q of dy[n,k,p,q]
 *
 * A unit is some images by some output rows; each visit to a tile of dw adds one unit's products. Units fall into parts
 * that the shape alone fixes: within a part they are added in order, and so are the parts at the end. Forms:
 *   TILES   vectors run along output channels, numbers of x are broadcast: tiles of (channels of a tap) by (panel of k)
 *   TURNED  the roles exchanged: vectors run along a filter row and its channels, numbers of dy are broadcast; few
 *           output channels
 *   LANES   vectors run along a row's pixels: each lane sums its own, and they meet at the end; few output channels */
#include "conv.h"

enum { TILES, TURNED, LANES };
#define NEAR 32768               /* bytes of LANES' blocks, which should stay in the first-level cache */
#define SUM_PIXELS 256           /* at least, in one visit to a tile of dw */
#define PART_PIXELS 256          /* at least, in a part */
#define LONG_PART 8192           /* pixels: a longer sum loses accuracy */
#define MAX_PARTS 16             /* enough to feed a team */
#define THIN 64                  /* products a number of dy is worth packing for */
#define WIDE 128                 /* numbers between pixels that are read: further apart they cost pages and lines */
#define NEAR_SUMS 524288         /* bytes of sums that stay in the second-level cache beside the block */

/* A group's sums. TILES: panels [k / width][r][s][c][k % width]; TURNED: [r][k][s,c], ldt lanes;
 * LANES: [r][s][c][k][FN_VL] */
typedef struct {
    int64_t form, G, I, O, taps;
    int64_t nv, width, panels, merged;       /* TILES: as in conv.c */
    int64_t sliding;                         /* TILES: conv_slide.c */
    int64_t ldt;
    int64_t cols, pixel, pitch;              /* of a block of x */
    int64_t x_in_place, dy_in_place, flat;
    int64_t images, rows, blocks, units, parts;      /* images and output rows of a unit; blocks of rows */
    int64_t image, dy_image;                 /* elements of an image in the blocks of x and dy */
    int64_t sums, biases;                    /* elements: sums of a group, of its biases */
    int64_t own;                             /* one part: its sums are the thread's own and finished at once */
    int64_t chunk, chunks;                   /* channels of a block of x; TILES: fewer than all if those are many */
    int64_t at_once, sum_I;                  /* panels that meet a block; channels of a tap in a visit's sums */
    int64_t x_room, dy_room, sum_room, room;
    axis h, v;
} grad;

static grad grad_of(const fn_conv_args *args) {
    const fn_conv_args one = folded(args), *const a = &one;
    const int64_t P = a->P, Q = a->Q, N = a->N;
    grad d = {.G = a->G, .I = a->C / a->G, .O = a->K / a->G, .taps = a->R * a->S,
              .h = forward_axis(a->H, P, a->R, a->stride_h, a->pad_h, a->dil_h),
              .v = forward_axis(a->W, Q, a->S, a->stride_w, a->pad_w, a->dil_w)};
    const double products = (double)(d.I * d.taps), fill = (double)up(Q, FN_VL) / (double)most(Q, 1);
    const double lanes = 1.2 * fill * products * (double)d.O / FN_VL + 0.5 * (double)(d.I + d.O);
    d.ldt = up(a->S * d.I, FN_VL);
    const double turn = (double)(a->R * up(d.ldt / FN_VL, 2) * most(d.O, 4));
    const double tile = products * (double)over(d.O, FN_VL);
    const int turned = d.O <= FN_VL && d.ldt > FN_VL && a->dil_w == 1 && pixel_of(d.I, a->stride_w) == d.I &&
                       turn < 0.75 * tile;
    const double least_cost = turned ? turn : tile;
    d.form = a->stride_w == 1 && lanes < 0.8 * least_cost ? LANES : turned ? TURNED : TILES;
    const int64_t reach = least((a->R - 1) * a->dil_h + 1, a->H);
    d.cols = (Q - 1) * a->stride_w + (a->S - 1) * a->dil_w + 1;
    const int whole = d.O % FN_VL == 0 && a->dy_c == 1 && a->dy_w * SIZE % PAGE && a->dy_w >= d.O;
    d.x_in_place = d.form != LANES && lies_well(&d.v, d.cols, a->x_c, a->x_w, d.I) &&
                   (d.form == TILES || d.I % FN_VL == 0) && (d.form != TURNED || a->x_w == d.I) &&
                   (d.I <= WIDE || d.O < WIDE);
    d.dy_in_place = d.form != LANES && whole &&
                    (d.form != TILES || d.taps == 1 || d.taps * d.I <= THIN || (d.O <= FN_VL && a->dy_w == d.O));
    d.nv = d.O <= FN_VL ? 1 : 2, d.width = d.nv * FN_VL, d.panels = d.form <= TURNED ? over(d.O, d.width) : 1;
    d.sliding = FN_SLIDES && d.form == TILES && d.nv == 1 && a->stride_w == 1 && a->dil_w == 1 &&
                (a->S == 3 || a->S == 5) && d.I > 2 && Q >= a->S;
    d.chunks = d.form == TILES && !d.sliding ? over(d.I, most(WIDE / a->stride_w, FN_VL)) : 1;
    d.chunk = d.chunks == 1 ? d.I : up(over(d.I, d.chunks), FN_VL);
    const int64_t block_pixel = d.form == LANES ? 1 : pixel_of(d.chunk, a->stride_w);
    const int64_t tiles = d.G * d.panels * d.chunks;
    if (d.x_in_place || !a->dw) d.chunks = 1, d.chunk = d.I;
    d.pixel = d.x_in_place ? a->x_w : block_pixel, d.merged = d.pixel == d.I && a->dil_w == 1;
    d.pitch = d.x_in_place ? a->x_h : d.form == LANES ? up(Q, FN_VL) : d.cols * d.pixel;
    d.flat = d.form <= TURNED && d.taps == 1 && !a->pad_h && a->stride_h * d.pitch == Q * a->stride_w * d.pixel &&
             (!d.dy_in_place || a->dy_h == Q * a->dy_w);
    /* units are the same however x lies */
    const int64_t row = d.form == LANES ? d.I * d.cols : d.cols * block_pixel;
    const int64_t fit = d.form == LANES ? (NEAR / SIZE - reach * row) / most(row + d.O * d.pitch, 1)
                                        : BLOCK / (most(row, 1) * SIZE) - reach;
    d.rows = least(P, over(d.form == LANES ? 4 * SUM_PIXELS : SUM_PIXELS, most(Q, 1)));
    d.rows = most(least(d.rows, fit / a->stride_h + 1), 1);
    d.rows = most(over(P, most(over(P, d.rows), 1)), 1), d.blocks = over(P, d.rows);
    const int64_t x_image = least((d.rows - 1) * a->stride_h + reach, a->H) * row;
    d.image = d.x_in_place ? a->x_n : x_image;
    const int64_t images = least(over(SUM_PIXELS, most(P * Q, 1)), 2 * BLOCK / most(x_image * SIZE, 1));
    d.images = d.rows == P ? most(least(N, images), 1) : 1;
    d.units = over(N, d.images) * d.blocks;
    const int64_t pixels = N * P * Q, feed = least(over(MAX_PARTS, most(tiles, 1)), pixels / PART_PIXELS);
    const int64_t exact = d.taps * d.I * d.O * SIZE > LARGE ? 0 : least(pixels / LONG_PART, 4 * MAX_PARTS);
    d.parts = most(least(d.units, most(feed, exact)), 1);
    const int64_t dy_row = d.form == LANES ? d.O * d.pitch : Q * d.width;
    d.dy_image = d.rows * dy_row;
    d.sums = d.form == TILES    ? d.panels * d.taps * d.I * d.width
             : d.form == TURNED ? a->R * d.O * d.ldt : d.taps * d.I * d.O * (d.form == LANES ? FN_VL : 1);
    if (!a->dw) d.sums = 0;
    d.biases = d.form <= TURNED ? d.panels * d.width : d.O * (d.form == LANES ? FN_VL : 1);
    d.own = d.parts == 1, d.sum_I = d.own && d.form == TILES ? d.chunk : d.I;
    d.at_once = d.form == TILES ? least(d.panels, most(NEAR_SUMS / (d.taps * d.chunk * d.width * SIZE), 1)) : d.panels;
    d.sum_room = d.form == TILES ? d.at_once * ((a->dw ? d.taps * d.sum_I : 0) + 1) * d.width : d.sums + d.biases;
    if (!d.own) d.sum_room = 0;
    d.x_room = d.x_in_place ? 0 : up(d.images * x_image + SPARE, 64);
    d.dy_room = d.dy_in_place ? 0 : up(d.images * d.dy_image + SPARE, 64);
    d.sum_room = up(d.sum_room, 64);
    d.room = up(d.x_room + d.dy_room + d.sum_room + 2 * d.images * d.rows * 8 / SIZE, 64);
    return d;
}
FN_WORK(conv2d_bwd_w) {
    const fn_conv_args *a = args;
#if FN_FIRST
    if (has_first_weights(a)) return FN_NAME(conv_first_bwd_w_work)(a, threads);
#endif
    const grad d = grad_of(a);
    const int64_t map = a->tap ? FN_NAME(conv_map_work)(a, threads) : 0;
    return map + ((d.own ? 0 : up(d.parts * d.G * (d.sums + d.biases), 64)) + d.room * threads) * SIZE;
}

/* ---- TILES ------------------------------------------------------------------------------------------------------- */

/* sums[lane] += sum over n pixels of dy[pixel*stride + lane]; pixels go round four chains, which meet at the end */
static void sum_pixels(fn_t *sums, const fn_t *dy, int64_t n, int64_t stride, int64_t lanes) {
    for (int64_t l = 0; l < lanes; l += FN_VL) {
        vec acc[4];
        UNROLL for (int j = 0; j < 4; j++) acc[j] = v_zero();
        int64_t i = 0;
        for (; i + 4 <= n; i += 4)
            UNROLL for (int j = 0; j < 4; j++) acc[j] += v_load(dy + (i + j) * stride + l);
        for (; i < n; i++) acc[0] += v_load(dy + i * stride + l);
        v_store(sums + l, v_load(sums + l) + ((acc[0] + acc[1]) + (acc[2] + acc[3])));
    }
}

/* A unit of a group, to panels [k0, k1) of the sums of its channels [i0, i1). */
static void add_tiles(const fn_conv_args *a, const grad *d, int64_t g, int64_t n0, int64_t n1, int64_t p0, int64_t p1,
                      int64_t k0, int64_t k1, int64_t i0, int64_t i1, int first, fn_t *sums, fn_t *biases,
                      fn_t *room) {
    const int64_t Q = a->Q, S = a->S, I = i1 - i0, sum_I = d->sum_I, width = d->width, rows = p1 - p0;
    fn_t *const block = room, *const packed = block + d->x_room;
    int64_t *const a_at = (int64_t *)(packed + d->dy_room + d->sum_room), *const b_at = a_at + d->images * d->rows;
    const fn_t *x = (const fn_t *)a->x + n0 * a->x_n + (g * d->I + i0) * a->x_c;
    int64_t h0 = 0, h1;
    if (!d->x_in_place && a->dw) {
        rows_of(&d->h, p0, p1, &h0, &h1);
        for (int64_t n = 0; n < n1 - n0; n++)
            copy_block(block + n * d->image, &d->v, d->cols, d->pixel, x + n * a->x_n, a->x_h, a->x_w, a->x_c, h0, h1,
                       I);
        x = block;
    } else {
        x += d->v.first * a->x_w;
    }
    for (int64_t k = k0; k < k1; k++, sums += d->taps * sum_I * width, biases += width) {
        const int64_t lanes = least(width, d->O - k * width), vectors = up(lanes, FN_VL);
        const fn_t *dy = (const fn_t *)a->dy + n0 * a->dy_n + p0 * a->dy_h + (g * d->O + k * width) * a->dy_c;
        int64_t dy_n = a->dy_n, dy_h = a->dy_h, dy_w = a->dy_w;
        if (!d->dy_in_place) {
            if (lanes < vectors) clear(packed, (n1 - n0) * rows * Q * width);
            for (int64_t n = 0; n < n1 - n0; n++)
                for (int64_t p = 0; p < rows; p++) {
                    const fn_t *const from = dy + n * dy_n + p * dy_h;
                    fetch_planes(from + 2 * dy_h, dy_w, a->dy_c, Q, lanes);
                    copy_pixels(packed + (n * rows + p) * Q * width, width, from, dy_w, a->dy_c, Q, lanes);
                }
            dy = packed, dy_n = rows * Q * width, dy_h = Q * width, dy_w = width;
        }
        if (first && i0 == 0) clear(biases, width);
        for (int64_t n = 0; n < n1 - n0 && a->db && i0 == 0; n++)
            for (int64_t p = 0; p < rows; p++) sum_pixels(biases, dy + n * dy_n + p * dy_h, Q, dy_w, vectors);
        for (int64_t r = 0; r < a->R && a->dw; r++) {
            int64_t count = 0;
            for (int64_t n = 0; n < n1 - n0; n++)
                for (int64_t p = 0; p < (d->flat ? 1 : rows); p++) {
                    const int64_t h = (p0 + p) * a->stride_h - a->pad_h + r * a->dil_h;
                    if (h < 0 || h >= a->H) continue;
                    a_at[count] = n * d->image + (h - h0) * d->pitch, b_at[count++] = n * dy_n + p * dy_h;
                }
            if (d->form == TURNED) {
                fn_t *const c = sums + r * d->O * d->ldt;
                const fn_brgemm b = {.c = c, .ldc = d->ldt, .init = first ? 0 : c, .ld_init = d->ldt,
                                     .a = dy, .a_at = b_at, .a_m = 1, .a_k = dy_w, .b = x, .b_at = a_at,
                                     .b_k = a->stride_w * d->pixel, .b_panel = 2 * FN_VL, .m = d->O, .n = d->ldt,
                                     .k = d->flat ? rows * Q : Q, .count = count, .nv = 2};
                FN_NAME(brgemm)(&b);
                continue;
            }
            if (d->sliding) {
                const slide_sum b = {.c = sums + r * S * sum_I * width, .c_s = sum_I * width, .x = x, .x_at = a_at,
                                     .dy = dy, .dy_at = b_at, .pixel = d->pixel, .dy_w = dy_w, .rows = count, .Q = Q,
                                     .S = S, .I = I, .first = first};
                FN_NAME(conv_slide_sum)(&b);
                continue;
            }
            for (int64_t s = 0; s < (d->merged ? 1 : S); s++) {
                fn_t *const c = sums + (r * S + s) * sum_I * width;
                const fn_brgemm b = {.c = c, .ldc = width, .init = first ? 0 : c, .ld_init = width,
                                     .a = x + s * a->dil_w * d->pixel, .a_at = a_at, .a_m = 1,
                                     .a_k = a->stride_w * d->pixel, .b = dy, .b_at = b_at, .b_k = dy_w,
                                     .m = d->merged ? S * I : I, .n = vectors, .k = d->flat ? rows * Q : Q,
                                     .count = count, .nv = d->nv};
                FN_NAME(brgemm)(&b);
            }
        }
    }
}

/* dw[k,c,tap] = sum over parts, `part` elements apart, of a panel's lanes, channels i0 to i1 (a thread's own sums are of
 * these alone): vectors run along c and tap, neighbours in memory. */
static void finish_panel(const grad *d, fn_t *dw, const fn_t *sums, int64_t part, int64_t lanes, int64_t i0,
                         int64_t i1) {
    const int64_t sum_I = d->sum_I, taps = d->taps, width = d->width, row = d->I * taps, J = (i1 - i0) * taps;
    fn_t z[FN_VL][FN_VL] = {{0}};
    for (int64_t l = 0; l < lanes; l += FN_VL) {
        fn_t *const y = dw + l * row + i0 * taps;
        for (int64_t j = 0, i = d->own ? 0 : i0, tap = 0; j < J; j += FN_VL) {
            const int64_t n = least(FN_VL, J - j), m = least(FN_VL, lanes - l);
            for (int64_t e = 0; e < n; e++) {
                const fn_t *const s = sums + (tap * sum_I + i) * width + l;
                vec v = v_load(s);
                for (int64_t k = 1; k < d->parts; k++) v += v_load(s + k * part);
                v_store(z[e], v);
                if (++tap == taps) tap = 0, i++;
            }
            for (int64_t k = 0; k < m; k += FN_PIECE) {
                vec v[FN_PIECE];
                v_load_turned(v, z[0] + k, FN_VL, FN_VL);
                for (int64_t q = 0; q < least(FN_PIECE, m - k); q++) v_put(y + (k + q) * row + j, v[q], n);
            }
        }
    }
}

/* ---- LANES ------------------------------------------------------------------------------------------------------- */

#if FN_ROWS2 == 14
enum { OUTS = 6, TAPS = 5 };                 /* most output channels and taps of a tile */
static const int64_t taps_of[OUTS] = {5, 5, 5, 5, 4, 4};         /* of so many output channels, as registers allow */
#else
enum { OUTS = 2, TAPS = 4 };
static const int64_t taps_of[OUTS] = {4, 4};
#endif

/* Of a row's last vector the first `rest` pixels, zeros after them. */
FN_INLINE vec load_rest(const fn_t *p, int rest, mask inside) {
#if defined(__AVX512F__)
    (void)inside;
    return v_load_n(p, rest);
#else
    (void)rest;
    return (vec)((mask)v_load(p) & inside);
#endif
}

/* Rows of Q pixels of x, x_h apart, and of dy, whole vectors each. */
typedef struct {
    int64_t rows, Q, x_h, x_s, dy_k, sums_s;
} lanes;

/* sums[s*sums_s + k] += sum over rows, pixels of dy[k][p][q] x[p][q + s*x_s], lane by lane */
FN_INLINE void lanes_tile(const int outs, const int taps, const lanes *l, fn_t *sums, const fn_t *x, const fn_t *dy) {
    const int64_t Q = l->Q, x_h = l->x_h, x_s = l->x_s, dy_k = l->dy_k, sums_s = l->sums_s;
    const int rest = (int)(Q % FN_VL);
    mask inside = {0};
    for (int i = 0; i < rest; i++) inside[i] = -1;
    vec acc[OUTS][TAPS];
    UNROLL for (int k = 0; k < outs; k++)
        UNROLL for (int s = 0; s < taps; s++) acc[k][s] = v_load(sums + s * sums_s + k * FN_VL);
    for (int64_t p = 0; p < l->rows; p++, x += x_h)
        for (int64_t q = 0; q < Q; q += FN_VL, dy += FN_VL) {
            vec w[OUTS];
            UNROLL for (int k = 0; k < outs; k++) {
                w[k] = v_load(dy + k * dy_k);
                HOLD(w[k]);
            }
            const int whole = q + FN_VL <= Q;
            UNROLL for (int s = 0; s < taps; s++) {
                vec v;
                if (whole) v = v_load(x + q + s * x_s);
                else v = load_rest(x + q + s * x_s, rest, inside);
                HOLD(v);
                UNROLL for (int k = 0; k < outs; k++) acc[k][s] = v_fma(w[k], v, acc[k][s]);
            }
        }
    UNROLL for (int k = 0; k < outs; k++)
        UNROLL for (int s = 0; s < taps; s++) v_store(sums + s * sums_s + k * FN_VL, acc[k][s]);
}
#define LANES_ARGS const lanes *l, fn_t *sums, const fn_t *x, const fn_t *dy
#define LANES_TILE(k, s) static void lanes_##k##x##s(LANES_ARGS) { lanes_tile(k, s, l, sums, x, dy); }
typedef void (*lanes_fn)(LANES_ARGS);
LANES_TILE(1, 1) LANES_TILE(1, 2) LANES_TILE(1, 3) LANES_TILE(1, 4)
LANES_TILE(2, 1) LANES_TILE(2, 2) LANES_TILE(2, 3) LANES_TILE(2, 4)
#if FN_ROWS2 == 14
LANES_TILE(1, 5) LANES_TILE(2, 5)
#define LANES_3_4(k) LANES_TILE(k, 1) LANES_TILE(k, 2) LANES_TILE(k, 3) LANES_TILE(k, 4)
LANES_3_4(3) LANES_3_4(4) LANES_3_4(5) LANES_3_4(6)
LANES_TILE(3, 5) LANES_TILE(4, 5)
static const lanes_fn lanes_of[OUTS][TAPS] = {{lanes_1x1, lanes_1x2, lanes_1x3, lanes_1x4, lanes_1x5},
                                              {lanes_2x1, lanes_2x2, lanes_2x3, lanes_2x4, lanes_2x5},
                                              {lanes_3x1, lanes_3x2, lanes_3x3, lanes_3x4, lanes_3x5},
                                              {lanes_4x1, lanes_4x2, lanes_4x3, lanes_4x4, lanes_4x5},
                                              {lanes_5x1, lanes_5x2, lanes_5x3, lanes_5x4, 0},
                                              {lanes_6x1, lanes_6x2, lanes_6x3, lanes_6x4, 0}};
#else
static const lanes_fn lanes_of[OUTS][TAPS] = {{lanes_1x1, lanes_1x2, lanes_1x3, lanes_1x4},
                                              {lanes_2x1, lanes_2x2, lanes_2x3, lanes_2x4}};
#endif

/* x stands in planes with zeros at its sides, dy in rows of whole vectors with zeros at their ends. */
static void add_lanes(const fn_conv_args *a, const grad *d, int64_t g, int64_t n0, int64_t n1, int64_t p0, int64_t p1,
                      int first, fn_t *sums, fn_t *biases, fn_t *room) {
    const int64_t Q = a->Q, S = a->S, I = d->I, O = d->O, rows = p1 - p0, pitch = d->pitch, dy_k = rows * pitch;
    fn_t *const block = room, *const dy = block + d->x_room;
    int64_t h0, h1;
    rows_of(&d->h, p0, p1, &h0, &h1);
    const int64_t plane = (h1 - h0) * d->cols, outs = over(O, over(O, OUTS)), most_taps = taps_of[outs - 1];
    const int64_t taps = over(S, over(S, most_taps));
    lanes l = {.Q = Q, .x_h = a->stride_h * d->cols, .x_s = a->dil_w, .dy_k = dy_k, .sums_s = I * O * FN_VL};
    if (first) clear(sums, d->sums), clear(biases, d->biases);
    for (int64_t n = n0; n < n1; n++) {
        for (int64_t p = 0; p < rows; p++) {
            const fn_t *const from = (const fn_t *)a->dy + n * a->dy_n + (p0 + p) * a->dy_h + g * O * a->dy_c;
            if (a->dy_c == 1 && planes_whole(dy + p * pitch, dy_k, from, a->dy_w, Q, O)) continue;
            copy_planes(dy + p * pitch, dy_k, from, a->dy_w, a->dy_c, Q, O);
            for (int64_t k = 0; k < O; k++) clear(dy + k * dy_k + p * pitch + Q, pitch - Q);
        }
        for (int64_t k = 0; k < O && a->db; k++)
            sum_pixels(biases + k * FN_VL, dy + k * dy_k, dy_k / FN_VL, FN_VL, FN_VL);
        if (!a->dw) continue;
        copy_block_planes(block, plane, &d->v, d->cols, (const fn_t *)a->x + n * a->x_n + g * I * a->x_c, a->x_h,
                          a->x_w, a->x_c, a->H, h0, h1, I);
        for (int64_t r = 0; r < a->R; r++) {
            const int64_t at = r * a->dil_h - a->pad_h;      /* output row p meets input row p*stride + at */
            const int64_t from = most(p0, at < 0 ? over(-at, a->stride_h) : 0);
            const int64_t to = at >= a->H ? from : least(p1, (a->H - 1 - at) / a->stride_h + 1);
            l.rows = most(to - from, 0);
            for (int64_t i = 0; i < I && l.rows; i++) {
                const fn_t *const x = block + i * plane + (from * a->stride_h + at - h0) * d->cols;
                for (int64_t k = 0; k < O; k += outs) {
                    const int64_t kt = least(outs, O - k);
                    for (int64_t s = 0; s < S; s += taps)
                        lanes_of[kt - 1][least(taps, S - s) - 1](&l, sums + (((r * S + s) * I + i) * O + k) * FN_VL,
                                                                 x + s * a->dil_w, dy + k * dy_k + (from - p0) * pitch);
                }
            }
        }
    }
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* The sums of group g's panels [k0, k1), channels [i0, i1), to dw, and to db with channel 0. */
static void finish(const fn_conv_args *a, const grad *d, int64_t g, int64_t k0, int64_t k1, const fn_t *sums,
                   const fn_t *biases, int64_t part, int64_t i0, int64_t i1) {
    fn_t *const dw = a->dw, *const db = a->db;
    const int64_t I = d->I, O = d->O, taps = d->taps, lanes = d->form == LANES ? FN_VL : 1;
    if (d->form == TURNED) {
        for (int64_t r = 0; r < a->R && dw; r++)
            for (int64_t o = 0; o < O; o++)
                for (int64_t tap = r * a->S; tap < (r + 1) * a->S; tap++)
                    for (int64_t i = i0; i < i1; i += FN_VL) {
                        const fn_t *const s = sums + (r * O + o) * d->ldt + (tap - r * a->S) * I + i;
                        const int64_t n = least(FN_VL, i1 - i);
                        vec v = v_get(s, n);
                        for (int64_t k = 1; k < d->parts; k++) v += v_get(s + k * part, n);
                        for (int64_t l = 0; l < n; l++) dw[((g * O + o) * I + i + l) * taps + tap] = v[l];
                    }
    } else if (d->form == TILES) {
        for (int64_t k = k0; k < k1 && dw; k++)
            finish_panel(d, dw + (g * O + k * d->width) * I * taps, sums + (k - k0) * taps * d->sum_I * d->width,
                         part, least(d->width, O - k * d->width), i0, i1);
    } else {
        for (int64_t i = i0; i < i1 && dw; i++)
            for (int64_t tap = 0; tap < taps; tap++)
                for (int64_t o = 0; o < O; o++) {
                    const fn_t *const s = sums + ((tap * I + i) * O + o) * FN_VL;
                    vec v = v_zero();
                    for (int64_t k = 0; k < d->parts; k++) v += v_load(s + k * part);
                    dw[((g * O + o) * I + i) * taps + tap] = v_sum(v);
                }
    }
    if (i0 > 0 || !db) return;
    const int64_t first = d->form <= TURNED ? k0 * d->width : 0;
    for (int64_t o = first; o < (d->form <= TURNED ? least(O, k1 * d->width) : O); o++) {
        const fn_t *const s = biases + (o - first) * lanes;
        vec v = v_zero();
        fn_t sum = 0;
        for (int64_t k = 0; k < d->parts; k++) {
            if (d->form == LANES) v += v_load(s + k * part);
            else sum += s[k * part];
        }
        db[g * O + o] = d->form == LANES ? v_sum(v) : sum;
    }
}

FN_KERNEL(conv2d_bwd_w) {
    enum { CHUNK = 16 };
    const fn_conv_args *a = args;
    fn_conv_args spread;
#if FN_FIRST
    if (has_first_weights(a)) {
        FN_NAME(conv_first_bwd_w)(a, t);
        return;
    }
#endif
    if (a->tap) spread = FN_NAME(conv_spread)(a, t), a = &spread;
    const fn_conv_args one = folded(a);
    a = &one;
    const grad d = grad_of(a);
    const int64_t each = d.sums + d.biases, part = d.G * each, panel = a->dw ? d.taps * d.sum_I * d.width : 0;
    fn_t *const shared = a->work, *const room = shared + (d.own ? 0 : up(d.parts * part, 64)) + t.rank * d.room;
    fn_t *const mine = room + d.x_room + d.dy_room;
    int64_t splits = over(d.panels, d.at_once);
    if (t.size > 1) splits = most(splits, least(d.panels, over(2 * t.size, most(d.parts * d.G * d.chunks, 1))));
    while (t.size > 1 && splits < d.panels && d.panels % splits) splits++;       /* threads get equal shares */
    fn_deal deal = fn_dealt(d.parts * d.G * splits * d.chunks, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        const int64_t v = u / d.chunks, i = v / splits / d.G, g = v / splits % d.G, split = v % splits;
        const int64_t k0 = d.panels * split / splits, k1 = d.panels * (split + 1) / splits;
        const int64_t i0 = u % d.chunks * d.chunk, i1 = least(d.I, i0 + d.chunk);
        fn_t *const sums = d.own ? mine : shared + i * part + g * each + k0 * panel + i0 * d.width;
        fn_t *const biases = d.own ? mine + (d.form == TILES ? (k1 - k0) * panel : d.sums)
                                   : shared + i * part + g * each + d.sums + k0 * (d.form == TILES ? d.width : 0);
        const int64_t begin = d.units * i / d.parts, end = d.units * (i + 1) / d.parts;
        for (int64_t unit = begin; unit < end; unit++) {
            const int64_t n0 = unit / d.blocks * d.images, n1 = least(a->N, n0 + d.images), first = unit == begin;
            const int64_t p0 = unit % d.blocks * d.rows, p1 = least(a->P, p0 + d.rows);
            if (d.form <= TURNED) add_tiles(a, &d, g, n0, n1, p0, p1, k0, k1, i0, i1, first, sums, biases, room);
            else add_lanes(a, &d, g, n0, n1, p0, p1, first, sums, biases, room);
        }
        if (begin == end) {
            clear(sums, d.form == TILES ? (k1 - k0) * panel : d.sums);
            clear(biases, d.form == TILES ? (k1 - k0) * d.width : d.biases);
        }
        if (d.own) finish(a, &d, g, k0, k1, sums, biases, 0, i0, i1);
    }
    if (d.own) return;
    fn_barrier(t);
    const int64_t chunks = over(d.I, CHUNK);
    int64_t lo, hi;
    fn_share(d.G * d.panels * chunks, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        const int64_t g = u / chunks / d.panels, k = u / chunks % d.panels, i = u % chunks * CHUNK;
        const fn_t *const sums = shared + g * each + (d.form == TILES ? k * panel : 0);
        finish(a, &d, g, k, k + 1, sums, shared + g * each + d.sums + (d.form == TILES ? k * d.width : 0), part, i,
               least(d.I, i + CHUNK));
    }
}
