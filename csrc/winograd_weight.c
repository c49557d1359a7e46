/* The gradient of a convolution's weights by minimal filtering; winograd.c has the formula, winograd_taps.c the transforms.
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

static weight_plan plan_of(const filtering *g) {
    weight_plan p = {.width = least(g->O, FN_NR), .tiles = tiles_of(g), .panels = over(g->O, FN_NR)};
    const int64_t O = p.panels * p.width, tile = planes_of(g) * SIZE * (g->I + O), u = weight_planes(g) * SIZE * g->I * O;
    p.wide = u > CACHE ? least(p.panels, 2) : 1;
    p.deep = least(g->I, most(1, CACHE / (weight_planes(g) * SIZE * FN_NR * 2) / together(g)) * together(g));
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

/* Plane u of block j of dU, the block at `du`, from a chunk of `count` tiles: the product of a plane of V and Z, or the sum of several. */
static void multiply(const filtering *g, const weight_plan *p, fn_t *du, const fn_t *v, const fn_t *z, int64_t j, int64_t u,
                     int64_t count, int first, feed *f) {
    const sizes *const by = g->by;
    const int64_t i0 = j % p->across * p->deep, i1 = least(summed(g), i0 + p->deep), h0 = u / by->u_w, w0 = u % by->u_w;
    const int64_t k0 = j / p->across * p->wide, k1 = least(p->panels, k0 + p->wide), h1 = h0 + 1 < by->u_h ? h0 + 1 : by->d_h, w1 = w0 + 1 < by->u_w ? w0 + 1 : by->d_w;
    for (int64_t k = k0; k < k1; k++) {
        fn_t *const to = du + ((k - k0) * weight_planes(g) + u) * p->u_plane;
        const int narrow = g->O - k * p->width <= FN_VL;
        int fresh = first;
        for (int64_t h = h0; h < h1; h++)
            for (int64_t w = w0; w < w1; w++) {
                const fn_t *const v_q = v + (h * by->d_w + w) * p->v_plane, *const z_k = z + (h * by->d_w + w) * p->z_plane + k * p->chunk * p->width;
                for (int64_t at = 0; at < count; at += NEAR, fresh = 0)
                    for (int64_t i = i0; i < i1; i += narrow ? ROWS1 : ROWS2) {
                        fn_t *const du_i = to + (i - i0) * FN_NR;
                        const fn_t *const v_i = v_q + (i / FN_VL * p->chunk + at) * FN_VL + i % FN_VL, *const z_t = z_k + at * p->width;
                        if (narrow) add_tiles(ROWS1, 1, du_i, v_i, z_t, p->width, least(NEAR, count - at), p->few, fresh, f);
                        else if (i1 - i <= ROWS2 / 2) add_tiles(ROWS2 / 2, 2, du_i, v_i, z_t, p->width, least(NEAR, count - at), p->few, fresh, f);
                        else add_tiles(ROWS2, 2, du_i, v_i, z_t, p->width, least(NEAR, count - at), p->few, fresh, f);
                    }
            }
    }
}

/* Scratch of all: a flag for each thread, what it transforms tiles from, dU of all blocks (of each part) or of one for each thread, V and Z
 * of a chunk (for each thread, if there are parts). */
static int64_t v_room(const filtering *g, const weight_plan *p) { return up(planes_of(g) * p->v_plane, WHOLE); }
static int64_t z_room(const filtering *g, const weight_plan *p) { return up(planes_of(g) * p->z_plane, WHOLE); }
static int64_t u_room(const filtering *g, const weight_plan *p) { return up(p->wide * weight_planes(g) * p->u_plane, WHOLE); }

static int64_t room(const filtering *g, int threads) {
    const weight_plan p = plan_of(g);
    const int64_t blocks = p.parts ? p.parts * p.blocks : p.chunks > 1 ? p.blocks : threads;
    return SIZE * (FLAGS + threads * rim_room(g) + (p.parts ? threads : 1) * (v_room(g, &p) + z_room(g, &p)) + blocks * u_room(g, &p));
}

/* What the tiles behind a chunk's read: of x and dy, a row of tiles further on. Those of dilated filters do not follow one another, a group's
 * channels leave gaps. */
static feed feed_of(const filtering *g, const weight_plan *p, int64_t from, int64_t count) {
    if (g->dil_h * g->dil_w > 1 || g->y_w > g->O) return (feed){.images = 0};
    const int64_t x = g->N * g->H * g->W * g->C / p->tiles, y = g->N * g->P * g->Q * g->O / p->tiles, next = from + count + across_of(g);
    const int64_t rows = g->O > FN_VL ? ROWS2 : ROWS1, sums = p->panels * over(g->I, rows) * over(count, p->few);
    return (feed){.at = {g->y + next * y, g->x + next * x}, .images = g->fold ? 1 : 2, .lines = over(count * most(x, y) * SIZE, 64 * planes_of(g) * sums)};
}

/* dU of part i, by one thread */
static void add_part(const filtering *g, const weight_plan *p, fn_t *du, fn_t *v, fn_t *z, fn_t *zeros, int64_t i) {
    const int64_t begin = p->chunks * i / p->parts, end = p->chunks * (i + 1) / p->parts;
    for (int64_t c = begin; c < end; c++) {
        const int64_t from = p->tiles * c / p->chunks, count = p->tiles * (c + 1) / p->chunks - from;
        feed f = feed_of(g, p, from, count);
        g->by->x(g, v, p->v_plane, p->chunk, 0, zeros, from, count, f.images > 0);
        g->by->dy(g, p, z, 0, from, count);
        for (int64_t j = 0; j < p->blocks; j++)
            for (int64_t u = 0; u < weight_planes(g); u++) multiply(g, p, du + j * u_room(g, p), v, z, j, u, count, c == begin, &f);
    }
}

static int correlate(const filtering *g, void *work, fn_team t) {
    const weight_plan p = plan_of(g);
    const int64_t apart = p.blocks * u_room(g, &p), own_room = v_room(g, &p) + z_room(g, &p);
    fn_t *const flags = work, *const zeros = flags + FLAGS + t.rank * rim_room(g), *const shared = flags + FLAGS + t.size * rim_room(g);
    fn_t *const v = shared + (p.parts ? t.rank * own_room : 0), *const z = v + v_room(g, &p);
    fn_t *const du = shared + (p.parts ? t.size : 1) * own_room, *const own = du + t.rank * u_room(g, &p);
    vec odd = v_zero();
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
        g->by->x(g, v, p.v_plane, p.chunk, lo, zeros, from + lo, hi - lo, 0);
        g->by->dy(g, &p, z, lo, from + lo, hi - lo);
        fn_barrier(t);
        if (p.chunks == 1) break;
        fn_share(p.blocks * weight_planes(g), 1, t, &lo, &hi);
        for (int64_t k = lo; k < hi; k++) {
            const int64_t j = k / weight_planes(g);
            multiply(g, &p, du + j * u_room(g, &p), v, z, j, k % weight_planes(g), count, c == 0, 0);
        }
        fn_barrier(t);
    }
    fn_share(p.blocks * p.deep, p.chunks == 1 ? p.deep : g->phases == 1 ? 1 : together(g), t, &lo, &hi);
    for (int64_t k = lo, end; k < hi; k = end) {
        const int64_t j = k / p.deep, i0 = j % p.across * p.deep;
        fn_t *const block = p.chunks == 1 ? own : du + j * u_room(g, &p);
        end = least(hi, (j + 1) * p.deep);
        for (int64_t u = 0; u < weight_planes(g) && p.chunks == 1; u++) multiply(g, &p, own, v, z, j, u, p.tiles, 1, 0);
        g->by->dw(g, &p, block, apart, j, i0 + k % p.deep, least(g->I, i0 + end - j * p.deep), &odd);
    }
    return all_finite(flags, v_sum(odd), t);
}

static filtering weights_of(const fn_conv_args *a, const sizes *by, int64_t group) {
    filtering g = forward_of(a, by, group);
    g.y = (fn_t *)a->dy + group * g.O * a->dy_c, g.w = (fn_t *)a->dw + group * g.O * g.w_o, g.y_n = a->dy_n, g.y_h = a->dy_h, g.y_w = a->dy_w;
    return g;
}

static const sizes *chosen(const fn_conv_args *a) {
    static const sizes *const all[] = ALL_SIZES;
    const sizes *const *by = all;
    while (*by && !fits(a, *by, 0)) by++;
    if (!*by || !(*by)->dw || !a->dw || (fn_folds(a) ? a->x_w : a->x_c) != 1 || a->dy_c != 1) return 0;
    const filtering g = weights_of(a, *by, 0);
    return tiles_of(&g) >= LEAST_TILES && pays(&g, tiles_of(&g), direct_products(a, 0)) ? *by : 0;
}

FN_WORK(winograd_bwd_w) {
    const fn_conv_args *a = args;
    const sizes *const by = chosen(a);
    const int64_t direct = FN_NAME(conv2d_bwd_w_work)(a, threads);
    if (!by) return direct;
    const filtering g = weights_of(a, by, 0);
    const int64_t apart = a->G > 1 ? FLAGS * SIZE + threads * room(&g, 1) : 0;
    return most(direct, most(apart, room(&g, threads)));
}
/* Is it done? If not, the direct form is cheaper or must redo it. */
static int pass(const fn_conv_args *a, fn_team t) {
    const sizes *const by = chosen(a);
    if (!by) return 0;
    const filtering first = weights_of(a, by, 0);
    const group_share s = groups_of(a, room(&first, 1), t);
    int done = 1;
    for (int64_t group = s.lo; done && group < s.hi; group++) {
        const filtering g = weights_of(a, by, group);
        done = correlate(&g, s.work, s.team);
        fn_barrier(s.team);                                  /* its scratch is the next one's */
    }
    done = all_done(a, &s, done, t);
    fn_barrier(t);
    return done;
}
FN_KERNEL(winograd_bwd_w) {
    fn_conv_args a = *(const fn_conv_args *)args;
    if (pass(&a, t)) a.dw = 0;
    if (a.dw || a.db) FN_NAME(conv2d_bwd_w)(&a, t);
}
