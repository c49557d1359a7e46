/* A correlation of stride 1, dilated or not, or of stride 2 in phases, and the gradient of its weights, by Winograd's minimal filtering.
 *
 *   y[k]    = A' [ sum over c of (G w[k,c] G') * (B' d[c] B) ] A          d 6x6 of x, w 3x3, y 4x4:  F(4x4, 3x3)
 *   dw[k,c] = E' [ sum over tiles of (F dy[k] F') * (B' d[c] B) ] E       dy 4x4, dw 3x3:            F(3x3, 4x4)
 *
 * `*` is elementwise, so the sums are 36 matrix products (brgemm). Tiles are those of y, over the rim where P or Q is no multiple
 * of theirs. Filters of 2x2, 4x4, 5x5 and 5x3 taps differ in their transforms alone, and so do lines of 3 to 5, of six numbers and six
 * products: winograd_taps.c has them. With stride 2 the four phases of x's pixels are channels of their own, filtered by every other tap:
 * 10x5 filters by 5x3 taps, 8x8 and 7x7 by 4x4, 6x6 and 5x5 by 3x3, 4x4 by 2x2; and four phases of dx are four correlations. 3x3 filters
 * of stride 2, of whose phases some would have few taps, have all of them in one tile, of 81 products for 16 outputs. A first layer's
 * few channels are folded: all phases lie side by side in a vector, of stride 3 and 4 too. docs/convolution.md derives the matrices.
 * Source: A. Lavin and S. Gray, Fast algorithms for convolutional neural networks, 2016. The second formula is winograd_weight.c's. */
#include "winograd.h"

#define ROWS (FN_ROWS2 == 14 ? 14 : 12)      /* tiles that pass together through the products */
#define FEW 8                    /* fewer, where these waste more of a last block */
#define CHUNKS 32                /* of FN_VL channels: a stretch of the sum over channels */

/* Either U, of all filters, is kept, and passes over the tiles that a thread has transformed; or V, of a group of tiles,
 * lies in memory and passes over a panel of filters that a thread has transformed. Tiles of one group do not feed a team:
 * there each thread has panels of its own, and transforms all tiles. Neither a sum nor its order depends on any of this. */
typedef struct {
    int64_t kept, apart;                     /* apart: panels are the threads' own */
    int64_t rows;                            /* tiles of a block */
    int64_t place;               /* M lies in V's place: a vector of filters, whose tiles and sums one nearest cache holds */
    int64_t width;               /* output channels of a panel: FN_NR, or a vector if that is all */
    int64_t tiles, panels;       /* of all images; of output channels */
    int64_t groups, blocks;      /* groups of tiles; blocks of a group */
    int64_t deep, some;          /* input channels that U holds; tiles that M holds */
    int64_t v_plane, u_plane, m_plane;       /* elements from plane to plane */
} plan;

/* Of so many tiles, shared by so many: a block costs its rows and the weights that they meet. */
static int64_t rows_of_blocks(int64_t tiles, int64_t sharers) {
    const int64_t wide = over(over(tiles, ROWS), sharers) * (ROWS + 1), low = over(over(tiles, FEW), sharers) * (FEW + 1);
    return low < wide ? FEW : ROWS;
}
static plan plan_of(const filtering *g, int team) {
    plan p = {.width = least(g->O, FN_NR), .rows = ROWS, .tiles = tiles_of(g), .panels = over(g->O, FN_NR), .deep = g->I};
    const int64_t channel = planes_of(g) * SIZE, meets = weight_planes(g) * SIZE, u = p.panels * p.width * g->I * meets, v = p.tiles * g->I * channel;
    const int64_t held = most(ROWS, least(9 * ROWS, CACHE / (channel * (g->I + p.width)) / ROWS * ROWS));
    /* bytes moved: written once, read once for each group of tiles or panel */
    p.kept = p.width == FN_VL || u <= CACHE || u * (2 + over(p.tiles, held)) <= v * (2 + p.panels);
    if (!p.kept) p.deep = least(g->I, most(1, CACHE / (meets * p.width) / together(g)) * together(g));
    p.apart = team && p.kept && u <= CACHE && g->O > FN_VL && p.tiles <= 2 * ROWS;
    if (p.apart && p.panels == 1) p.width = FN_VL, p.panels = g->O / FN_VL;
    if (p.width == FN_VL) p.rows = rows_of_blocks(p.tiles, p.apart ? 1 : 1 + team);
    p.place = p.width == FN_VL && u <= CACHE && !p.apart;
    /* 81 planes of V and M leave U less of the cache */
    const int64_t most_tiles = !p.kept ? (p.deep < g->I ? 9 : 36) * ROWS : u > CACHE ? held : p.place ? p.rows : least(held, planes_of(g) > 36 ? ROWS : 2 * ROWS);
    p.groups = over(p.tiles, most_tiles);
    p.blocks = over(over(p.tiles, p.rows), p.groups);
    p.some = (p.kept || p.deep < g->I ? p.blocks : least(p.blocks, 8)) * p.rows;
    p.v_plane = p.blocks * p.rows * g->I + FN_VL;
    p.u_plane = (p.deep + 1) * p.width;
    p.m_plane = p.place ? p.v_plane : p.some * p.width + FN_VL;
    return p;
}

/* Of a group: all but the last end with a block. */
static int64_t first_tile(const plan *p, int64_t group) { return least(p->tiles, over(p->tiles, p->rows) * group / p->groups * p->rows); }

/* ---- forward, and backward to the input -------------------------------------------------------------------------- */

/* M[plane][t][FN_VL] = V U, all of it, for `count` tiles and at most a vector of filters: a call for each block and plane would cost as
 * much as its few sums. Of the last block, tiles that are none are computed too. M may be V where that is one block. */
FN_INLINE void narrow(const int rows, const filtering *g, const plan *p, fn_t *m, const fn_t *v, const fn_t *u, int64_t count, feed *f) {
    const int64_t I = summed(g), m_plane = p->m_plane, v_plane = p->v_plane, u_plane = p->u_plane;
    for (int64_t q = 0; q < planes_of(g); q++, m += m_plane, v += v_plane) {
        const fn_t *const u_q = u + weight_plane(g, q) * u_plane;
        fetch(f);
        for (int64_t b = 0; b < count; b += rows) {
            const fn_t *a = v + b * g->I, *u_i = u_q;
            vec acc[ROWS];
            UNROLL for (int r = 0; r < rows; r++) acc[r] = v_zero();
            for (int64_t i = 0; i < I; i += FN_VL, a += (rows - 1) * FN_VL)
                for (int64_t k = least(FN_VL, I - i); k; k--, a++, u_i += FN_VL) {
                    const vec s = v_load(u_i);
                    UNROLL for (int r = 0; r < rows; r++) acc[r] = v_fma(v_set1(a[r * FN_VL]), s, acc[r]);
                }
            UNROLL for (int r = 0; r < rows; r++) v_store(m + (b + r) * FN_VL, acc[r]);
        }
    }
}
static void multiply_narrow(const filtering *g, const plan *p, fn_t *m, const fn_t *v, const fn_t *u, int64_t count, feed *f) {
    if (p->rows == ROWS) narrow(ROWS, g, p, m, v, u, count, f);
    else narrow(FEW, g, p, m, v, u, count, f);
}

/* M[t][FN_NR] = V U, all of it, for as many tiles as the registers hold, of a block whose first of these is at `v`: as brgemm, whose call and
 * strides cost a tenth of it where channels are few. */
FN_INLINE void multiply_tile(fn_t *m, const fn_t *v, const fn_t *u, int64_t I) {
    vec acc[FN_ROWS2][2];
    UNROLL for (int r = 0; r < FN_ROWS2; r++) acc[r][0] = acc[r][1] = v_zero();
    for (int64_t i = 0; i < I; i += FN_VL, v += (ROWS - 1) * FN_VL)
        for (int64_t k = least(FN_VL, I - i); k; k--, v++, u += FN_NR) {
            const vec s[2] = {v_load(u), v_load(u + FN_VL)};
            UNROLL for (int l = 0; l < 2; l++) __builtin_prefetch(u + 8 * FN_NR + l * FN_VL);
            UNROLL for (int r = 0; r < FN_ROWS2; r++)
                UNROLL for (int l = 0; l < 2; l++) acc[r][l] = v_fma(v_set1(v[r * FN_VL]), s[l], acc[r][l]);
        }
    UNROLL for (int r = 0; r < FN_ROWS2; r++)
        UNROLL for (int l = 0; l < 2; l++) v_store(m + r * FN_NR + l * FN_VL, acc[r][l]);
}

/* M[plane][t][FN_NR] (+)= V U over input channels [i, i + deep) for `count` tiles and the panel that U is of. The sum over
 * channels is one chain, in whatever stretches it comes. */
static void multiply(const filtering *g, const plan *p, fn_t *m, const fn_t *v, const fn_t *u, int64_t panel, int64_t i,
                     int64_t deep, int64_t count, feed *f) {
    const int64_t I = g->I, n = least(FN_NR, g->O - panel * FN_NR), whole = deep == I && n == FN_NR;
    int64_t v_at[CHUNKS], u_at[CHUNKS];
    for (int64_t c = 0; c < CHUNKS; c++) v_at[c] = c * ROWS * FN_VL, u_at[c] = c * FN_VL * FN_NR;
    for (int64_t q = 0; q < planes_of(g); q++, m += p->m_plane, v += p->v_plane) {
        const fn_t *const u_q = u + weight_plane(g, q) * p->u_plane;
        fetch(f);
        for (int64_t b = 0; b < count; b += ROWS) {
            fn_t *const to = m + b * FN_NR;
            if (whole && count - b >= ROWS) {
                for (int64_t r = 0; r < ROWS; r += FN_ROWS2) multiply_tile(to + r * FN_NR, v + b * I + r * FN_VL, u_q, summed(g));
                continue;
            }
            for (int64_t j = 0; j < deep; j += CHUNKS * FN_VL) {
                const fn_brgemm c = {.c = to, .init = i + j ? to : 0, .a = v + b * I + (i + j) * ROWS, .b = u_q + j * FN_NR, .a_at = v_at, .b_at = u_at,
                                     .m = least(ROWS, count - b), .n = n, .k = FN_VL, .count = least(CHUNKS, (deep - j) / FN_VL), .ldc = FN_NR,
                                     .ld_init = FN_NR, .a_m = FN_VL, .a_k = 1, .b_k = FN_NR, .nv = 2};
                FN_NAME(brgemm)(&c);
            }
        }
    }
}

/* Scratch of all: a flag for each thread, U or V; of a thread: M, zeros, the other of U and V. */
static int64_t u_room(const filtering *g, const plan *p) { return up((p->kept ? p->panels : 1) * weight_planes(g) * p->u_plane, WHOLE); }
static int64_t v_room(const filtering *g, const plan *p) { return up(planes_of(g) * p->v_plane, WHOLE); }
static int64_t m_room(const filtering *g, const plan *p) { return p->place ? 0 : up(planes_of(g) * p->m_plane, WHOLE); }

static int64_t room_of(const filtering *g, int team, int threads) {
    const plan p = plan_of(g, team);
    const int64_t common = p.kept ? u_room(g, &p) : v_room(g, &p), own = p.kept ? v_room(g, &p) : u_room(g, &p);
    return SIZE * (FLAGS + common + threads * (m_room(g, &p) + rim_room(g) + own));
}
/* One thread may come alone where a team was asked for. */
static int64_t room(const filtering *g, int threads) {
    return threads > 1 ? most(room_of(g, 0, 1), room_of(g, 1, threads)) : room_of(g, 0, 1);
}

typedef struct {                 /* parts of the scratch */
    fn_t *u, *v, *m, *zeros;
} parts;

/* ---- statistics of y for the norm behind it: part by part, as soon as all of a part is written ---------------------- */

typedef struct { int64_t first, from, next, last; } share;   /* parts [first, last) are a thread's, of which [from, next) are done */

static void sum_parts(const filtering *g, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) FN_NAME(norm_stats)(g->sums, g->y, g->N * g->P * g->Q, g->O, i);
}
/* Pixels of y before all that tiles from this one on write. */
static int64_t pixels_before(const filtering *g, int64_t tile) {
    const spot s = spot_of(g, tile);
    return (s.n * g->P + s.row) * g->Q;
}
/* The first part that begins there or later. */
static int64_t part_from(const filtering *g, int64_t pixel) {
    const int64_t pixels = g->N * g->P * g->Q, parts = FN_NAME(norm_parts)(pixels, g->O);
    int64_t i = over(pixel * parts, pixels);
    while (FN_NAME(norm_row)(pixels, g->O, i) < pixel) i++;
    return i;
}
/* Of a thread that writes tiles [from, to): a part that it begins is its own, one that others write too waits for them. */
static share share_of(const filtering *g, int64_t from, int64_t to) {
    if (!g->sums) return (share){0};
    const int64_t whole = part_from(g, pixels_before(g, up(from, across_of(g))));
    return (share){part_from(g, pixels_before(g, from)), whole, whole, part_from(g, pixels_before(g, to))};
}
static void sum_written(const filtering *g, share *s, int64_t tiles) {
    const int64_t pixels = pixels_before(g, tiles), old = s->next;
    while (s->next < s->last && FN_NAME(norm_row)(g->N * g->P * g->Q, g->O, s->next + 1) <= pixels) s->next++;
    sum_parts(g, old, s->next);
}
/* Parts that a thread takes when all is written. */
static share all_parts(const filtering *g, fn_team t) {
    share s = {0};
    if (g->sums) fn_share(FN_NAME(norm_parts)(g->N * g->P * g->Q, g->O), 1, t, &s.first, &s.last);
    s.from = s.next = s.first;
    return s;
}
static void sum_rest(const filtering *g, const share *s) {
    sum_parts(g, s->first, least(s->from, s->last));
    sum_parts(g, s->next, s->last);
}

/* ---- the passes ------------------------------------------------------------------------------------------------------ */

/* What the group behind a group's tiles reads, and where it writes itself: a row of tiles further on, since a tile's last rows lie there.
 * Tiles of dilated filters do not follow one another in memory, those of a phase of y leave gaps. */
static feed feed_of(const filtering *g, const plan *p, int64_t from, int64_t count) {
    if (g->dil_h * g->dil_w > 1 || g->y_w > g->O) return (feed){.images = 0};
    const int64_t x = g->N * g->H * g->W * g->C / p->tiles, y = g->N * g->P * g->Q * g->O / p->tiles, row = across_of(g);
    const fn_t *const other = g->residual ? g->residual : g->y, *const gate = g->gate ? g->gate : g->y;
    return (feed){.at = {g->y + (from + row) * y, g->x + (from + count + row) * x, other + (from + row) * y, gate + (from + row) * y},
                  .images = g->fold ? 1 : g->gate ? 4 : g->residual ? 3 : 2, .lines = over(count * most(x, y) * SIZE, 64 * planes_of(g) * p->panels)};
}

/* Threads share groups of tiles, or panels. */
static share correlate_kept(const filtering *g, const plan *p, const parts *s, fn_team t, vec *odd) {
    int64_t lo, hi, k0 = 0, k1 = p->panels;
    fn_share(p->panels * g->I, p->apart ? g->I : together(g), t, &lo, &hi);
    for (int64_t j = lo, end; j < hi; j = end) {
        const int64_t k = j / g->I;
        end = least(hi, (k + 1) * g->I);
        g->by->w(g, s->u + k * weight_planes(g) * p->u_plane + j % g->I * p->width, p->width, p->u_plane, k, j % g->I, end - j);
    }
    if (p->apart) k0 = lo / g->I, k1 = hi / g->I;
    else fn_barrier(t);
    fn_deal deal = fn_dealt(p->groups, p->apart ? (fn_team){.size = 1} : t);
    share own = p->apart ? all_parts(g, t) : share_of(g, first_tile(p, deal.next), first_tile(p, deal.end));
    if (g->sums) deal.t.size = 1;            /* what is summed up lies in a thread's own groups, in order */
    for (int64_t j; (j = fn_take(&deal)) >= 0;) {
        const int64_t from = first_tile(p, j), count = first_tile(p, j + 1) - from;
        feed f = feed_of(g, p, from, count);
        g->by->x(g, s->v, p->v_plane, p->rows, 0, s->zeros, from, count, f.images > 0);
        for (int64_t k = k0; k < k1; k++) {
            const fn_t *const u = s->u + k * weight_planes(g) * p->u_plane;
            if (p->width == FN_VL) multiply_narrow(g, p, s->m, s->v, u, count, &f);
            else multiply(g, p, s->m, s->v, u, k, 0, g->I, count, &f);
            g->by->y(g, s->m, p->width, p->m_plane, from, count, k, odd);
        }
        if (g->sums && !p->apart) sum_written(g, &own, from + count);
    }
    return own;
}

/* Threads share the tiles of a group, then the panels. */
static share correlate_passing(const filtering *g, const plan *p, const parts *s, fn_team t, vec *odd) {
    feed none = {.images = 0};
    for (int64_t j = 0; j < p->groups; j++) {
        const int64_t from = first_tile(p, j), count = first_tile(p, j + 1) - from;
        int64_t lo, hi;
        if (j) fn_barrier(t);
        fn_share(count, 1, t, &lo, &hi);
        g->by->x(g, s->v, p->v_plane, ROWS, lo, s->zeros, from + lo, hi - lo, 0);
        fn_barrier(t);
        fn_share(p->panels, 1, t, &lo, &hi);
        for (int64_t k = lo; k < hi; k++)
            for (int64_t b = 0, some; b < count; b += some) {
                some = least(p->some, count - b);
                for (int64_t i = 0, deep; i < g->I; i += deep) {
                    deep = least(p->deep, g->I - i);
                    if (b == 0) g->by->w(g, s->u, p->width, p->u_plane, k, i, deep);         /* b stays 0 where U holds a part of I */
                    multiply(g, p, s->m, s->v + b * g->I, s->u, k, i, deep, some, &none);
                }
                g->by->y(g, s->m, p->width, p->m_plane, from + b, some, k, odd);
            }
    }
    return all_parts(g, t);
}

/* 0 if a result is not finite: an infinity spreads over its tile, so a direct form must redo them all. */
static int correlate(const filtering *g, void *work, fn_team t) {
    const plan p = plan_of(g, t.size > 1);
    const int64_t common = p.kept ? u_room(g, &p) : v_room(g, &p), other = p.kept ? v_room(g, &p) : u_room(g, &p);
    fn_t *const flags = work, *const shared = flags + FLAGS;
    fn_t *const m = shared + common + t.rank * (m_room(g, &p) + rim_room(g) + other), *const zeros = m + m_room(g, &p);
    fn_t *const own = zeros + rim_room(g);
    const parts s = {.u = p.kept ? shared : own, .v = p.kept ? own : shared, .m = p.place ? own : m, .zeros = zeros};
    vec odd = v_zero();
    memset(zeros, 0, rim_room(g) * SIZE);
    const share mine = (p.kept ? correlate_kept : correlate_passing)(g, &p, &s, t, &odd);
    if (!all_finite(flags, v_sum(odd), t)) return 0;
    if (g->sums) sum_rest(g, &mine);
    return 1;
}

/* ---- the passes of a convolution --------------------------------------------------------------------------------- */

/* Of dx, or of pixels of one phase of it: most filters of stride 2 give four correlations. */
static filtering backward_of(const fn_conv_args *a, const sizes *by, int64_t group, int64_t phase) {
    const int64_t C = a->K / a->G, O = a->C / a->G, whole = by->stride > 1, stride = whole ? 1 : a->stride_h, pixel = stride * a->C, odd = whole ? a->pad_h % 2 : 0;
    int64_t h = 0, w = 0;
    const axis down = whole ? (axis){.out = a->H, .first = (a->pad_h + odd) / 2 - 1, .w0 = 2} : backward_axis(a->H, a->P, a->R, stride, a->pad_h, a->dil_h, phase / stride, &h);
    const axis along = whole ? (axis){.out = a->W, .first = (a->pad_w + odd) / 2 - 1, .w0 = 2} : backward_axis(a->W, a->Q, a->S, stride, a->pad_w, a->dil_w, phase % stride, &w);
    const int64_t at = (h * a->W + w) * a->C + group * O;
    return (filtering){.by = by, .x = (const fn_t *)a->dy + group * C * a->dy_c, .y = (fn_t *)a->dx + at, .w = (fn_t *)a->w + group * C * O * a->R * a->S, .residual = a->residual ? (const fn_t *)a->residual + at : 0,
                       .gate = a->gate ? (const fn_t *)a->gate + at : 0, .x_n = a->dy_n, .x_h = a->dy_h, .x_w = a->dy_w,
                       .y_n = a->H * a->W * a->C, .y_h = a->W * pixel, .y_w = pixel, .w_o = a->R * a->S, .w_i = O * a->R * a->S,
                       .R = a->R, .S = a->S, .N = a->N, .H = a->P, .W = a->Q, .C = C, .I = C, .P = down.out, .Q = along.out, .O = O,
                       .top = -down.first, .left = -along.first, .dil_h = dil_of(a), .dil_w = a->dil_w, .stride = 1, .phases = 1, .odd = odd,
                       .tap_h = down.w0, .tap_w = along.w0, .tap = -stride};
}
static int64_t phases_of(const fn_conv_args *a, const sizes *by, int backward) { return backward && by->stride == 1 ? a->stride_h * a->stride_w : 1; }
static filtering filtering_of(const fn_conv_args *a, const sizes *by, int backward, int64_t group, int64_t phase) {
    return backward ? backward_of(a, by, group, phase) : forward_of(a, by, group);
}

/* The taps by which it is cheaper than the direct form, or null. */
static const sizes *chosen(const fn_conv_args *a, int backward) {
    static const sizes *const all[] = ALL_SIZES;
    const sizes *const *by = all;
    while (*by && !fits(a, *by, backward)) by++;
    if (!*by || (backward ? a->dy_c : fn_folds(a) ? a->x_w : a->x_c) != 1) return 0;
    const filtering first = filtering_of(a, *by, backward, 0, 0);
    int64_t tiles = 0;
    for (int64_t i = 0; i < phases_of(a, *by, backward); i++) {
        const filtering g = filtering_of(a, *by, backward, 0, i);
        if (g.P > 0 && g.Q > 0) tiles += tiles_of(&g);
    }
    return pays(&first, tiles, direct_products(a, backward)) ? *by : 0;
}
static int64_t pass_room(const fn_conv_args *a, const sizes *by, int backward, int threads) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < phases_of(a, by, backward); i++) {
        const filtering g = filtering_of(a, by, backward, 0, i);
        if (g.P > 0 && g.Q > 0) bytes = most(bytes, room(&g, threads));
    }
    return bytes;
}
static int64_t pass_work(const fn_conv_args *a, int backward, int threads) {
    const sizes *const by = chosen(a, backward);
    if (!by) return 0;
    const int64_t apart = a->G > 1 ? FLAGS * SIZE + threads * pass_room(a, by, backward, 1) : 0;
    return most(apart, pass_room(a, by, backward, threads));
}
/* Is it done? If not, the direct form is cheaper or must redo it. */
static int pass(const fn_conv_args *a, int backward, fn_team t) {
    const sizes *const by = chosen(a, backward);
    if (!by) return 0;
    const int64_t phases = phases_of(a, by, backward);
    const group_share s = groups_of(a, pass_room(a, by, backward, 1), t);
    int done = 1;
    for (int64_t i = s.lo * phases; done && i < s.hi * phases; i++) {
        const filtering g = filtering_of(a, by, backward, i / phases, i % phases);
        if (i > s.lo * phases) fn_barrier(s.team);           /* its scratch is the last one's */
        if (g.P > 0 && g.Q > 0) done = correlate(&g, s.work, s.team);
    }
    done = all_done(a, &s, done, t);
    if (!done) fn_barrier(t);
    return done;
}

FN_WORK(winograd_fwd) { return most(FN_NAME(conv2d_fwd_work)(args, threads), pass_work(args, 0, threads)); }
FN_KERNEL(winograd_fwd) {
    const fn_conv_args *a = args;
    if (pass(a, 0, t)) return;
    FN_NAME(conv2d_fwd)(a, t);
    if (!a->sums) return;
    fn_barrier(t);
    const filtering g = forward_of(a, 0, 0);
    const share own = all_parts(&g, t);
    sum_rest(&g, &own);
}

FN_WORK(winograd_bwd_x) { return most(FN_NAME(conv2d_bwd_x_work)(args, threads), pass_work(args, 1, threads)); }
FN_KERNEL(winograd_bwd_x) {
    const fn_conv_args *a = args;
    if (pass(a, 1, t)) return;
    FN_NAME(conv2d_bwd_x)(a, t);
    if (!a->residual) return;
    fn_t *const dx = a->dx;
    const fn_t *const residual = a->residual, *const gate = a->gate;
    int64_t lo, hi;
    fn_barrier(t);
    fn_share(a->N * a->H * a->W * a->C, WHOLE, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i += FN_VL) {
        const int n = (int)least(hi - i, FN_VL);
        const vec sum = v_load_n(dx + i, n) + v_load_n(residual + i, n);
        v_store_n(dx + i, gate ? gated(sum, v_load_n(gate + i, n)) : sum, n);
    }
}
