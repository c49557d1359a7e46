/* The gradient of a 3x3 filter's weights by minimal filtering, F(3x3, 4x4), and of the phases of filters of stride 2, if they have 2x2
 * taps F(2x2, 4x4), winograd2_weight.c; winograd.c has the formula.
 *
 *   dU[plane] = sum over tiles of V[plane] Z[plane]',   dw = E' dU E,   V = B' d B,   Z = F dy F' */
#include "winograd.h"

#define LARGE_BYTES 41943040     /* of transformed tiles that lie in memory at a time, where no cache holds dU */
#define LEAST_TILES 8            /* of fewer the direct form's sums are more than four times as accurate */
#define AHEAD 32                 /* tiles of V that are fetched ahead */
#define PART_BYTES 8             /* of V and Z for each of dU that a part is worth, or half as many of each of two */
#define MAX_PARTS 16             /* enough to feed a team */
#define NEAR 128                 /* tiles whose Z stays in the nearest cache while rows of V pass */
#if defined(__AVX512F__)         /* input channels of a tile of dU that is 2 vectors wide, of one that is 1, of a block that meets as few tiles */
#define ROWS2 (FN_VL < 8 ? FN_VL : 8)
#define ROWS1 FN_VL
#define SHALLOW 32
#else
#define ROWS2 (FN_VL < 4 ? FN_VL : 4)
#define ROWS1 (FN_VL < 8 ? FN_VL : 8)
#define SHALLOW 0
#endif

/* Tiles come in chunks. If there is one, threads share blocks of dU and turn each to dw at once; else all of dU is kept.
 * Where a cache holds dU, chunks fall into parts, as many as the shape says: a thread makes the V, Z and dU of a part by
 * itself, so that none of them crosses from core to core, and the parts are added in order. */
typedef struct {
    int64_t width, tiles, panels, chunks, chunk, parts;      /* width: lanes of a panel, FN_NR, or a vector if that is all */
    int64_t few;                                 /* tiles of a sum in registers */
    int64_t wide, deep, across, blocks;          /* panels and input channels of a block of dU; blocks of a row of them */
    int64_t v_plane, z_plane, u_plane;           /* elements from plane to plane */
} plan;

static plan plan_of(const filtering *g) {
    plan p = {.width = least(g->O, FN_NR), .tiles = tiles_of(g), .panels = over(g->O, FN_NR)};
    const int64_t O = p.panels * p.width, tile = PLANES * SIZE * (g->I + O), u = PLANES * SIZE * g->I * O;
    p.wide = u > CACHE ? least(p.panels, 2) : 1;
    p.deep = least(g->I, most(1, CACHE / (PLANES * SIZE * FN_NR * 2) / together(g)) * together(g));
    p.few = u > CACHE ? 64 : 32;
    /* bytes moved: all of dU to and fro for each small chunk, or V and Z for each row or column of blocks */
    const int64_t small = most(p.few, u > CACHE ? 0 : CACHE / 4 / tile);
    const int64_t by_small = u > CACHE ? 2 * u * over(p.tiles, small) : 0;
    const int64_t by_all = p.tiles * tile * (2 + (over(p.panels, p.wide) + over(g->I, p.deep)) / 2);
    p.chunk = by_small < by_all ? small : most(p.few, LARGE_BYTES / tile);
    if (u <= CACHE && p.tiles * tile >= PART_BYTES * u) p.parts = least(most(p.tiles * tile / (PART_BYTES * u), 2), MAX_PARTS);
    p.chunks = most(over(p.tiles, p.chunk), p.parts);
    p.chunk = over(p.tiles, p.chunks);
    if (u > CACHE && p.chunks == 1 && p.tiles <= SHALLOW) p.deep = least(p.deep, up(SHALLOW, together(g)));      /* no more of dU than of the Z it meets */
    p.across = over(g->I, p.deep);
    p.blocks = over(p.panels, p.wide) * p.across;
    p.v_plane = p.chunk * g->I + FN_VL;
    p.z_plane = O * p.chunk + FN_VL;
    p.u_plane = (p.deep + 1) * FN_NR;
    return p;
}

/* Z = F dy F' of a vector of channels of a tile, of whose rows and columns so many lie in y. A call, as spread_whole. */
FN_INLINE void spread_dy(fn_t *z, int64_t plane, const fn_t *y, int64_t y_h, int64_t y_w, int64_t rows, int64_t columns) {
    vec half[D][OUT];
    UNROLL for (int b = 0; b < OUT; b++, y += y_w) {
        vec d[OUT], s[D];
        UNROLL for (int a = 0; a < OUT; a++) d[a] = a < rows && b < columns ? v_load(y + a * y_h) : v_zero();
        spread_taps(s, d, OUT);
        UNROLL for (int a = 0; a < D; a++) half[a][b] = s[a];
    }
    UNROLL for (int a = 0; a < D; a++, z += D * plane) {
        vec s[D];
        spread_taps(s, half[a], OUT);
        UNROLL for (int b = 0; b < D; b++) v_store(z + b * plane, s[b]);
    }
}
FN_APART void spread_dy_whole(fn_t *z, int64_t plane, const fn_t *y, int64_t y_h, int64_t y_w) { spread_dy(z, plane, y, y_h, y_w, OUT, OUT); }
FN_APART void spread_dy_rim(fn_t *z, int64_t plane, const fn_t *y, int64_t y_h, int64_t y_w, int64_t rows, int64_t columns) {
    spread_dy(z, plane, y, y_h, y_w, rows, columns);
}

/* Z[plane][panel][t][FN_NR] = F dy F' for tiles [from, from + count), at place `at` of their chunk */
static void transform_dy(const filtering *g, const plan *p, fn_t *z, int64_t at, int64_t from, int64_t count) {
    const int64_t y_h = g->dil * g->y_h, y_w = g->dil * g->y_w, plane = p->z_plane;
    spot s = spot_of(g, from);
    for (int64_t t = 0; t < count; t++, advance(g, &s)) {
        const fn_t *const y = g->y + s.n * g->y_n + s.row * g->y_h + s.column * g->y_w;
        const int64_t rows = rows_at(g, &s), columns = columns_at(g, &s);
        fn_t *to = z + (at + t) * p->width;
        for (int64_t k = 0; k < g->O; k += p->width, to += p->chunk * p->width)
            for (int64_t l = 0; l < p->width && k + l < g->O; l += FN_VL) {
                const fn_t *const y_l = y + k + l;
                UNROLL for (int a = 0; a < OUT; a++)
                    UNROLL for (int b = 0; b < OUT; b++) __builtin_prefetch(y_l + a * y_h + (b + OUT) * y_w);
                if (rows == OUT && columns == OUT) spread_dy_whole(to + l, plane, y_l, y_h, y_w);
                else spread_dy_rim(to + l, plane, y_l, y_h, y_w, rows, columns);
            }
    }
}

/* dU[rows][nv FN_VL] (+)= V' Z over `count` tiles, `few` at a time, so that the roundings of long sums stay small. f: fetched from
 * before each few, or null. */
FN_INLINE void add_tiles(const int rows, const int nv, fn_t *du, const fn_t *v, const fn_t *z, int64_t width, int64_t count, int64_t few,
                         int first, feed *f) {
    for (int64_t at = 0, end; at < count; at = end, first = 0) {
        vec acc[16][2];
        if (f) fetch(f);
        end = least(count, at + few);
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int l = 0; l < nv; l++) acc[r][l] = v_zero();
        for (int64_t t = at; t < end; t++) {
            vec zs[2];
            UNROLL for (int l = 0; l < nv; l++) zs[l] = v_load(z + t * width + l * FN_VL);
            __builtin_prefetch(v + (t + AHEAD) * FN_VL);
            UNROLL for (int r = 0; r < rows; r++) {
                const vec s = v_set1(v[t * FN_VL + r]);
                UNROLL for (int l = 0; l < nv; l++) acc[r][l] = v_fma(s, zs[l], acc[r][l]);
            }
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int l = 0; l < nv; l++) {
                fn_t *const to = du + r * FN_NR + l * FN_VL;
                v_store(to, first ? acc[r][l] : v_load(to) + acc[r][l]);
            }
    }
}

/* Plane q of block j of dU, the block at `du`, from a chunk of `count` tiles */
static void multiply(const filtering *g, const plan *p, fn_t *du, const fn_t *v, const fn_t *z, int64_t j, int64_t q,
                     int64_t count, int first, feed *f) {
    const int64_t i0 = j % p->across * p->deep, i1 = least(summed(g), i0 + p->deep);
    const int64_t k0 = j / p->across * p->wide, k1 = least(p->panels, k0 + p->wide);
    for (int64_t k = k0; k < k1; k++) {
        const fn_t *const z_k = z + q * p->z_plane + k * p->chunk * p->width;
        fn_t *const to = du + ((k - k0) * PLANES + q) * p->u_plane;
        const int narrow = g->O - k * p->width <= FN_VL;
        for (int64_t at = 0; at < count; at += NEAR)
            for (int64_t i = i0; i < i1; i += narrow ? ROWS1 : ROWS2) {
                fn_t *const du_i = to + (i - i0) * FN_NR;
                const fn_t *const v_i = v + q * p->v_plane + (i / FN_VL * p->chunk + at) * FN_VL + i % FN_VL, *const z_t = z_k + at * p->width;
                if (narrow) add_tiles(ROWS1, 1, du_i, v_i, z_t, p->width, least(NEAR, count - at), p->few, first && !at, f);
                else if (i1 - i <= ROWS2 / 2) add_tiles(ROWS2 / 2, 2, du_i, v_i, z_t, p->width, least(NEAR, count - at), p->few, first && !at, f);
                else add_tiles(ROWS2, 2, du_i, v_i, z_t, p->width, least(NEAR, count - at), p->few, first && !at, f);
            }
    }
}

/* FN_VL filters' weights at one input channel, FN_PIECE taps */
FN_INLINE void store_piece(fn_t *to, int64_t w_o, const vec *w) {
    vec turned[FN_PIECE];
    UNROLL for (int q = 0; q < FN_PIECE; q++) turned[q] = w[q];
    v_transpose_pieces(turned);
    v_store_pieces(to, w_o, turned, FN_VL);
}
FN_INLINE void store_taps(fn_t *to, int64_t w_o, const vec *w) {
    UNROLL for (int t = 0; t < FILTER; t += FN_PIECE) {              /* the last taps overlap */
        const int first = t + FN_PIECE > FILTER ? FILTER - FN_PIECE : t;
        store_piece(to + first, w_o, w + first);
    }
}
/* All of larger filters. */
static void store_all(fn_t *to, int64_t w_o, const vec *w, int64_t taps) {
    for (int64_t t = 0; t < taps; t += FN_PIECE) {
        const int64_t first = least(t, taps - FN_PIECE);
        store_piece(to + first, w_o, w + first);
    }
}

/* dw = E' dU E of input channels [from, end) of block j, all phases of some of x's; dU[panel][plane][i][FN_NR], parts
 * of it `apart` elements apart */
static void transform_dw(const filtering *g, const plan *p, const fn_t *du, int64_t apart, int64_t j, int64_t from, int64_t end, vec *odd) {
    const int64_t i0 = j % p->across * p->deep;
    const int64_t o0 = j / p->across * p->wide * FN_NR, o1 = least(g->O, o0 + p->wide * FN_NR);
    for (int64_t o = o0; o < o1; o += FN_VL)
        for (int64_t c = channels_before(g, from); c < channels_before(g, end); c++) {
            fn_t *const to = g->w + o * g->w_o + c * g->w_i;
            vec all[MOST_TAPS];
            for (int64_t phase = 0; phase < g->phases; phase++) {
                const fn_t *const at = du + (o - o0) / FN_NR * PLANES * p->u_plane + (place_of(g, c, phase) - i0) * FN_NR + o % FN_NR;
                vec half[TAPS][D], w[FILTER];
                UNROLL for (int b = 0; b < D; b++) {
                    vec d[D], s[TAPS];
                    UNROLL for (int a = 0; a < D; a++) d[a] = v_load(at + (a * D + b) * p->u_plane);
                    for (int64_t k = 1; k < p->parts; k++)
                        UNROLL for (int a = 0; a < D; a++) d[a] += v_load(at + k * apart + (a * D + b) * p->u_plane);
                    gather(s, d, TAPS);
                    UNROLL for (int a = 0; a < TAPS; a++) half[a][b] = s[a];
                }
                UNROLL for (int a = 0; a < TAPS; a++) {
                    gather(w + a * TAPS, half[a], TAPS);
                    UNROLL for (int b = 0; b < TAPS; b++) odd[b] += w[a * TAPS + b] * v_zero();
                }
                if (g->phases == 1) store_taps(to, g->w_o, w);
                for (int64_t t = 0; t < FILTER && g->phases > 1; t++) {
                    const int64_t place = tap_at(g, phase, t / TAPS, t % TAPS);
                    if (place >= 0) all[place] = w[t];
                }
            }
            if (g->phases > 1) store_all(to, g->w_o, all, g->size * g->size);
        }
}

/* Scratch of all: a flag for each thread, what it transforms tiles from, dU of all blocks (of each part) or of one for each thread, V and Z
 * of a chunk (for each thread, if there are parts). */
static int64_t v_room(const plan *p) { return up(PLANES * p->v_plane, WHOLE); }
static int64_t z_room(const plan *p) { return up(PLANES * p->z_plane, WHOLE); }
static int64_t u_room(const plan *p) { return up(p->wide * PLANES * p->u_plane, WHOLE); }

static int64_t room(const filtering *g, int threads) {
    const plan p = plan_of(g);
    const int64_t blocks = p.parts ? p.parts * p.blocks : p.chunks > 1 ? p.blocks : threads;
    return SIZE * (FLAGS + threads * rim_room(g) + (p.parts ? threads : 1) * (v_room(&p) + z_room(&p)) + blocks * u_room(&p));
}

/* What the tiles behind a chunk's read: of x and dy, a row of tiles further on. Those of dilated filters do not follow one another. */
static feed feed_of(const filtering *g, const plan *p, int64_t from, int64_t count) {
    if (g->dil > 1) return (feed){.images = 0};
    const int64_t x = g->N * g->H * g->W * g->C / p->tiles, y = g->N * g->P * g->Q * g->O / p->tiles, next = from + count + across_of(g);
    const int64_t rows = g->O > FN_VL ? ROWS2 : ROWS1, sums = p->panels * over(g->I, rows) * over(count, p->few);
    return (feed){.at = {g->y + next * y, g->x + next * x}, .images = g->fold ? 1 : 2, .lines = over(count * most(x, y) * SIZE, 64 * PLANES * sums)};
}

/* dU of part i, by one thread */
static void add_part(const filtering *g, const plan *p, fn_t *du, fn_t *v, fn_t *z, fn_t *zeros, int64_t i) {
    const int64_t begin = p->chunks * i / p->parts, end = p->chunks * (i + 1) / p->parts;
    for (int64_t c = begin; c < end; c++) {
        const int64_t from = p->tiles * c / p->chunks, count = p->tiles * (c + 1) / p->chunks - from;
        feed f = feed_of(g, p, from, count);
        transform_x(g, v, p->v_plane, p->chunk, 0, zeros, from, count, f.images > 0);
        transform_dy(g, p, z, 0, from, count);
        for (int64_t j = 0; j < p->blocks * PLANES; j++)
            multiply(g, p, du + j / PLANES * u_room(p), v, z, j / PLANES, j % PLANES, count, c == begin, &f);
    }
}

static int correlate(const filtering *g, void *work, fn_team t) {
    const plan p = plan_of(g);
    const int64_t apart = p.blocks * u_room(&p), own_room = v_room(&p) + z_room(&p);
    fn_t *const flags = work, *const zeros = flags + FLAGS + t.rank * rim_room(g), *const shared = flags + FLAGS + t.size * rim_room(g);
    fn_t *const v = shared + (p.parts ? t.rank * own_room : 0), *const z = v + v_room(&p);
    fn_t *const du = shared + (p.parts ? t.size : 1) * own_room, *const own = du + t.rank * u_room(&p);
    vec odd[TAPS];
    UNROLL for (int b = 0; b < TAPS; b++) odd[b] = v_zero();
    int64_t lo, hi;
    memset(zeros, 0, rim_room(g) * SIZE);
    if (p.parts) {
        fn_deal deal = fn_dealt(p.parts, t);
        for (int64_t i; (i = fn_take(&deal)) >= 0;) add_part(g, &p, du + i * apart, v, z, zeros, i);
        fn_barrier(t);
    }
    for (int64_t c = 0; c < p.chunks && !p.parts; c++) {
        const int64_t from = p.tiles * c / p.chunks, count = p.tiles * (c + 1) / p.chunks - from;
        fn_share(count, 1, t, &lo, &hi);
        transform_x(g, v, p.v_plane, p.chunk, lo, zeros, from + lo, hi - lo, 0);
        transform_dy(g, &p, z, lo, from + lo, hi - lo);
        fn_barrier(t);
        if (p.chunks == 1) break;
        fn_share(p.blocks * PLANES, 1, t, &lo, &hi);
        for (int64_t j = lo; j < hi; j++)
            multiply(g, &p, du + j / PLANES * u_room(&p), v, z, j / PLANES, j % PLANES, count, c == 0, 0);
        fn_barrier(t);
    }
    fn_share(p.blocks * p.deep, p.chunks == 1 ? p.deep : g->phases == 1 ? 1 : together(g), t, &lo, &hi);
    for (int64_t k = lo, end; k < hi; k = end) {
        const int64_t j = k / p.deep, i0 = j % p.across * p.deep;
        fn_t *const block = p.chunks == 1 ? own : du + j * u_room(&p);
        end = least(hi, (j + 1) * p.deep);
        for (int64_t q = 0; q < PLANES && p.chunks == 1; q++) multiply(g, &p, own, v, z, j, q, p.tiles, 1, 0);
        transform_dw(g, &p, block, apart, j, i0 + k % p.deep, least(g->I, i0 + end - j * p.deep), odd);
    }
    UNROLL for (int b = 1; b < TAPS; b++) odd[0] += odd[b];
    return all_finite(flags, v_sum(odd[0]), t);
}

static filtering weights_of(const fn_conv_args *a) {
    filtering g = forward_of(a);
    g.y = (fn_t *)a->dy, g.y_n = a->dy_n, g.y_h = a->dy_h, g.y_w = a->dy_w, g.w = a->dw;
    return g;
}

static int chosen(const fn_conv_args *a, const filtering *g) {
    return a->dw && fits(a, 0) && (fn_folds(a) ? a->x_w : a->x_c) == 1 && a->dy_c == 1 && pays(g, tiles_of(g), direct_products(a, 0)) && tiles_of(g) >= LEAST_TILES;
}
static int64_t pass_work(const fn_conv_args *a, int threads) {
    const filtering g = weights_of(a);
    return chosen(a, &g) ? room(&g, threads) : 0;
}
/* Is it done? If not, the direct form is cheaper or must redo it. */
static int pass(const fn_conv_args *a, fn_team t) {
    const filtering g = weights_of(a);
    if (!chosen(a, &g)) return 0;
    const int done = correlate(&g, a->work, t);
    fn_barrier(t);
    return done;
}

#if TAPS == 2
int64_t FN_NAME(winograd2_weight_work)(const fn_conv_args *a, int threads) { return pass_work(a, threads); }
int FN_NAME(winograd2_weight)(const fn_conv_args *a, fn_team t) { return pass(a, t); }
#elif TAPS == 4
int64_t FN_NAME(winograd4_weight_work)(const fn_conv_args *a, int threads) { return pass_work(a, threads); }
int FN_NAME(winograd4_weight)(const fn_conv_args *a, fn_team t) { return pass(a, t); }
#else
FN_WORK(winograd_bwd_w) {
    const int64_t two = FN_NAME(winograd2_weight_work)(args, threads), four = FN_NAME(winograd4_weight_work)(args, threads);
    return most(most(two, four), most(FN_NAME(conv2d_bwd_w_work)(args, threads), pass_work(args, threads)));
}
FN_KERNEL(winograd_bwd_w) {
    fn_conv_args a = *(const fn_conv_args *)args;
    if (FN_NAME(winograd2_weight)(&a, t) || FN_NAME(winograd4_weight)(&a, t) || pass(&a, t)) a.dw = 0;
    if (a.dw || a.db) FN_NAME(conv2d_bwd_w)(&a, t);
}
#endif
