/* How gemm.c goes about a product: its form, its blocks and their scratch, all by shape and strides alone. */
#ifndef FN_GEMM_PLAN_H
#define FN_GEMM_PLAN_H
#include "pack.h"
#include "split.h"

enum { ROWS, COLS, DOTS, SPLIT };
enum { AS_IT_LIES, BESIDE, TILES, LINES };   /* s: untouched; its rows of a tile side by side, the next tile's fetched; packed */
#define LANES (2048 / SIZE)      /* of a block of v */
#define SLIM_LANES (512 / SIZE)  /* of one that is packed, where registers hold wide tiles: deep and narrow, it is read long, and little of c is */
#define WIDE_LANES (4608 / SIZE) /* where s is packed by tiles, which is done again for each block of lanes */
#define BLOCK (FN_VL * 16384)    /* numbers in a block of v: 1 MB with vectors of 64 bytes, 512 KB with 32 */
#define SLIM_BLOCK (BLOCK / 8 * 5)            /* numbers in such a slim block */
#define DEPTH (16384 / SIZE)     /* of k, in one pass over a tile: long runs of s, that memory is read ahead along */
#define STRIP (5 * FN_ROWS2)     /* rows between visits to the epilogue */
#define HIGH_STRIP (PACK_TILES * FN_ROWS2)    /* where s is packed by tiles: the rows of memory it is read by */
#define FEW_WAYS 10              /* rows of a tile of s whose own lie a multiple of a page apart: a first-level cache has 12 ways */
#define NEAR_LANES (2 * FN_NR)   /* s is packed when so many lanes pass over it and its own order does not suit; */
#define BESIDE_LANES (4 * FN_NR) /* not if they are so few and its rows walk side by side; low tiles would meet lines a page apart too often */
/* v is packed when more rows than PACK_ROWS pass over it; half as many where its own lie a multiple of a page apart and
 * crowd few sets of a cache; if v has FAR bytes or more, six tiles of rows, or three where its own lie pages apart, two where
 * they are longer than LONG_LANES; or AHEAD_ROWS in a weight gradient, where fewer rows have the next block fetched ahead. */
#define PACK_ROWS (20 * FN_ROWS2)
#define AHEAD_ROWS (10 * FN_ROWS2)
#define AHEAD_BLOCK (BLOCK / 4)
#define LOW_ROWS (4 * FN_ROWS2)  /* over a v of half of FAR, of rows pages apart, that is not packed, up to so many take low blocks, */
#define FAR_ROWS (6 * FN_ROWS2)  /* and over one of more than FAR so many, of its rows as far as they are LONG_LANES, */
#define LONG_LANES (16384 / SIZE)
#define LOW 64                   /* whose rows memory is read ahead along; */
#define LONE_BYTES 65536         /* of a v that lies as it is, whose rows a single row of s takes one after the other, */
#define LONE_LANES (8192 / SIZE) /* so many lanes of each */
#define PAGE 4096
#define FAR 4194304
#define MEET_ROWS 64             /* of a, times b of so many */
#define MEET_NUMBERS 131072      /* numbers, and */
#define MEET_PART 64             /* rows of b in a part of k */
#define CROWD 3                  /* of the short one, a multiple of a page apart, that are copied before: a first-level cache may have 8 ways */
#define SMALL_BYTES 16384        /* scratch that the stack holds */
#define NEAR_NUMBERS 2048        /* of an operand beside another in the nearest cache */
#define SPLIT_DEPTH 1024         /* of k in one pass of SPLIT, a quarter where there are more than */
#define SPLIT_LONG 4096
#define SPLIT_BYTES 1572864      /* of lanes split at once, most of the second-level cache, */
#define SPLIT_STRIP 64           /* and of rows, which share it; */
#define SPLIT_FEW 128            /* where there are only so many rows, these and */
#define SPLIT_FEW_BYTES 393216   /* of lanes, which are written, read a few times and done with */

typedef struct {
    int form, act, beta, pack, ahead, far_s, fetch_c, lone, paired, near;      /* near: how s is read */
    int turned;                              /* s is b, v is a */
    fn_t *c;                                 /* element (r,l) of matrix i: c + i*c_batch + r*c_r + l*c_l */
    const fn_t *s, *v, *packed, *bias;
    int64_t c_batch, c_r, c_l, s_batch, s_r, s_k, v_batch, v_k, v_l;
    int64_t batch, groups, R, L, K, parts, part_K;   /* matrix i of groups * parts is part i % parts of k of group i / parts */
    int64_t nv, lanes, depth, strip, height; /* of a panel (vectors), of a block of v, of k in one; of s; of a tile, 0: brgemm's */
    int64_t v_room, s_room, t_room, bytes;   /* scratch of a thread: elements, and all together */
    int64_t addends, part_bytes;             /* parts of each c if they are added up, else 1; their scratch, before the threads' */
} plan;

/* The products of a strided walk over one number are those of a walk of unit stride: g itself, or *x. */
static const fn_gemm_args *plain(const fn_gemm_args *g, fn_gemm_args *x) {
    if (g->M != 1 && g->N != 1 && g->K != 1) return g;
    *x = *g;
    if (g->M == 1) x->a_m = 1;
    if (g->N == 1) x->b_n = 1;
    if (g->K == 1) x->a_k = x->b_k = 1;
    return x;
}
static int summed(const fn_gemm_args *g) { return g->batch > 1 && g->c_batch == 0; }
/* Groups of matrices, each with one c: all their own, or of a sum as many as feed a team. */
static int64_t groups_of(const fn_gemm_args *g) {
    if (!summed(g)) return g->batch;
    return over(g->M, 16) * over(g->N, 32) >= 4 * FN_GEMM_PARTS ? 1 : least(g->batch, FN_GEMM_PARTS);
}
/* Is a product worth splitting its operands? Against what tile registers save, M N K / 50 cycles, stand 3/4 for each number of a
 * and b and 1/5 for one of c. Of rows that walk side by side, as in dense_step, some are asked about for all. */
static int splits(const fn_gemm_args *g) {
    const double M = (double)(g->a_m == 1 ? least(g->M, FN_STEP_ROWS) : g->M);
    return FN_SPLIT && g->K >= 32 && 38 / M + 38 / (double)g->N + 10 / (double)g->K < 1;
}
/* Which operand of SPLIT has its lanes turned to be rows: that of the fewer numbers to turn. */
static int split_turned(const fn_gemm_args *g) {
    const int64_t a = g->M * g->K, b = g->N * g->K;
    return !g->packed && (g->a_m == 1 ? 0 : a) + (g->b_k == 1 ? 0 : b) + g->M * g->N < (g->a_k == 1 ? 0 : a) + (g->b_n == 1 ? 0 : b);
}
/* Costs in vector multiply-adds: a half to transpose an element, a seventh to pack it in a tile, a tenth if memory is read ahead
 * for that, six to end a dot, whose operands mostly come from the second-level cache. */
static int form_of(const fn_gemm_args *g) {
    if (splits(g)) return SPLIT;
    const double M = (double)g->M, N = (double)g->N, K = (double)g->K;
    const double m_vecs = (double)over(g->M, FN_VL), n_vecs = (double)over(g->N, FN_VL);
    const double k_vecs = (double)over(g->K, FN_VL);
    const int far_a = M * K * (double)(g->a_batch ? g->batch : 1) * SIZE >= FN_FAR;
    const double a_tiles = g->a_k == 1 ? 0 : (far_a ? 0.1 : 0.15) * M * K, b_tiles = g->b_k == 1 ? 0 : 0.15 * N * K;
    const double rows = M * n_vecs * K + (g->b_n == 1 ? 0 : 0.5 * N * K) + a_tiles;
    const double cols = N * m_vecs * K + (g->a_m == 1 ? 0 : 0.5 * M * K) + b_tiles + (g->beta ? 1.0 : 0.5) * M * N;
    const int64_t long_k = N < M ? g->a_k : g->b_k, short_k = N < M ? g->b_k : g->a_k, short_r = N < M ? g->b_n : g->a_m;
    const double turn = short_k == 1 ? 0 : short_r == 1 ? 0.5 * K * (N < M ? N : M) : INFINITY;
    const double dots = long_k == 1 && !summed(g) ? M * N * (1.1 * k_vecs + 6) + turn : INFINITY;
    return dots < rows && dots < cols ? DOTS : cols < rows && !g->packed ? COLS : ROWS;
}
#if FN_SPLIT
/* Where gemm_pack's lanes begin, behind its panels. */
static uint16_t *split_packed(fn_t *packed, int64_t N, int64_t K) { return (uint16_t *)(packed + up(N, FN_NR) * up(K, SPLIT_K)); }
#endif
/* A packed tile of s and what its last store writes beyond; tiles begin in different sets of a cache. */
static int64_t tile_room(int64_t K) { return up(FN_ROWS2 * K, FN_VL) + 2 * FN_VL; }
/* Written where it is kept: reading wide what was just written narrow, to return it, waits for the cache. */
static void plan_of(plan *p, const fn_gemm_args *g, int form, int64_t parts) {
    *p = (plan){.form = form, .act = (int)g->act, .beta = (int)g->beta, .c = g->c, .bias = g->bias,
                .c_batch = g->c_batch, .batch = g->batch, .groups = groups_of(g), .K = g->K, .parts = parts,
                .part_K = most(parts == 1 ? g->K : over(g->K, parts), 1)};
    p->turned = form == COLS || (form == DOTS && g->N < g->M) || (form == SPLIT && split_turned(g));
    if (p->turned) {
        p->R = g->N, p->L = g->M, p->c_r = 1, p->c_l = g->ldc;
        p->s = g->b, p->s_batch = g->b_batch, p->s_r = g->b_n, p->s_k = g->b_k;
        p->v = g->a, p->v_batch = g->a_batch, p->v_l = g->a_m, p->v_k = g->a_k;
    } else {
        p->R = g->M, p->L = g->N, p->c_r = g->ldc, p->c_l = 1;
        p->s = g->a, p->s_batch = g->a_batch, p->s_r = g->a_m, p->s_k = g->a_k;
        p->v = g->b, p->v_batch = g->b_batch, p->v_l = g->b_n, p->v_k = g->b_k;
    }
    p->addends = summed(g) ? p->groups * parts : parts;
    if (p->addends > 1) p->part_bytes = up(p->groups * parts * g->M * g->N * SIZE, FN_ALIGN);
    if (p->form == DOTS) {
        p->lanes = dots_rows(p->R);
        p->ahead = p->L * p->K * (p->v_batch ? p->batch : 1) * SIZE > FAR;
        if (p->s_k == 1 && (p->s_r * SIZE % PAGE || p->R < CROWD || p->L < NEAR_LANES)) return;
        p->near = LINES, p->s_room = p->R * (up(p->part_K, FN_VL) + FN_VL), p->bytes = up(p->s_room * SIZE, FN_ALIGN);
        return;
    }
#if FN_SPLIT
    if (p->form == SPLIT) {
        p->packed = parts == 1 ? g->packed : 0;
        const int64_t few = p->R <= SPLIT_FEW, bytes = few ? SPLIT_FEW_BYTES : SPLIT_BYTES;
        p->depth = least(up(p->part_K, SPLIT_K), p->part_K > SPLIT_LONG ? SPLIT_DEPTH / 4 : SPLIT_DEPTH);
        p->strip = least(up(p->R, SPLIT_SIDE), few ? SPLIT_FEW : SPLIT_STRIP);
        p->lanes = least(up(p->L, FN_NR), bytes / (6 * p->depth) / FN_NR * FN_NR);
        p->v_room = p->packed ? 0 : over(p->lanes, SPLIT_SIDE) * split_room(p->depth) / 2;
        p->s_room = over(p->strip, SPLIT_SIDE) * split_room(p->depth) / 2, p->t_room = FN_NR * p->depth;
        p->bytes = (p->v_room + p->s_room + p->t_room) * SIZE;
        return;
    }
#endif
    p->packed = g->packed;
    const int walks = p->L >= NEAR_LANES && p->s_r == 1 && p->s_k != 1;
    const int crowded = p->s_k == 1 && p->s_r * SIZE % PAGE == 0;
    const int64_t row = p->v_k * SIZE, v_bytes = row * p->K * (p->v_batch ? p->batch : 1);
    const int broad = p->L > WIDE_LANES && p->R <= AHEAD_ROWS && p->part_K * LANES <= BLOCK / 2;
    const int64_t tiles = row < 2 * PAGE ? 6 : walks || row <= LONG_LANES * SIZE ? 3 : 2;
    const int64_t few = v_bytes < FAR ? INT64_MAX : walks ? AHEAD_ROWS : tiles * FN_ROWS2;
    const int64_t fit = walks && p->form == ROWS ? BLOCK / p->part_K / (4 * FN_VL) * (4 * FN_VL) : 0;
    p->pack = !p->packed && (p->v_l != 1 || p->R > least(few, row % PAGE ? PACK_ROWS : PACK_ROWS / 2));
    const int slim = FN_ROWS4 >= 6 && p->pack && !walks;
    const int64_t wide = walks && !broad ? most(WIDE_LANES, fit) : slim ? SLIM_LANES : LANES;
    p->ahead = walks && !p->packed && !p->pack && p->R <= AHEAD_ROWS;
    p->nv = !p->packed && (p->R <= FN_ROWS4 || (FN_ROWS4 >= 6 && crowded && (p->pack || p->R > PACK_ROWS / 2))) ? 4 : 2;
    const int thin = FN_ROWS4 >= 6 && crowded && !p->packed && p->L < 4 * FN_VL;
    if (thin) p->nv = 2;
    const int beside = walks && p->R > FN_ROWS4 && p->L <= BESIDE_LANES && (!p->ahead || v_bytes < FAR) && (FN_ROWS4 >= 6 || p->s_k * SIZE % PAGE);
    if (beside) p->ahead = 0;
    p->near = beside ? BESIDE : walks ? p->R > FN_ROWS4 ? TILES : AS_IT_LIES : p->nv == 2 && crowded && p->L >= NEAR_LANES ? LINES : AS_IT_LIES;
    const int64_t s_bytes = p->R * p->K * (p->s_batch ? p->batch : 1) * SIZE;
    p->far_s = p->near == TILES ? s_bytes >= FAR : p->s_k == 1 && !p->near && !p->ahead && fn_far_a(p->R, p->part_K);
    p->paired = p->form == ROWS && (p->pack || p->packed) && fn_far_a(p->R, p->part_K);
    p->fetch_c = p->form == ROWS ? fn_fetch_c(p->R * (p->c_batch ? p->batch : 1), p->L) : FN_FETCH_NONE;
    p->height = p->near == TILES || beside ? FN_ROWS2 : thin ? FEW_WAYS : 0;
    p->strip = least(walks && p->form == ROWS ? HIGH_STRIP : STRIP, p->R);
    p->lanes = least(wide, p->nv == 4 ? up(p->L, 4 * FN_VL) : up(p->L, 2 * FN_VL)), p->depth = p->part_K;
    const int lies = p->form == ROWS && !walks && !p->packed && !p->pack, far = v_bytes > FAR;
    p->lone = lies && p->R == 1 && p->L >= FN_VL && v_bytes >= LONE_BYTES;
    if (p->lone) return;                     /* neither blocks nor scratch */
    if (lies && p->R <= (far ? FAR_ROWS : LOW_ROWS) && (far || (row % PAGE == 0 && v_bytes >= FAR / 2))) {
        const int whole_rows = far || p->R <= FN_ROWS2;
        p->ahead = 1, p->depth = least(p->depth, whole_rows ? LOW : 2 * LOW), p->lanes = least(up(p->L, 2 * FN_VL), whole_rows ? LONG_LANES : LANES);
    }
    const int64_t blocks = over(p->depth * p->lanes, p->ahead && !broad ? AHEAD_BLOCK : slim ? SLIM_BLOCK : BLOCK);
    if (blocks > 1) p->depth = over(p->depth, blocks);
    const int64_t deep = least(p->depth, DEPTH);
    p->v_room = p->depth * (p->pack ? p->lanes : p->packed || p->L % FN_VL == 0 ? 0 : FN_VL);
    if (p->near == TILES) p->s_room = over(p->strip, FN_ROWS2) * tile_room(deep);
    if (p->near == LINES) p->s_room = p->strip * (deep + 2 * FN_VL);
    p->t_room = p->strip * (p->form == COLS ? p->lanes : FN_NR) + FN_NR;
    p->bytes = up((p->v_room + p->s_room + p->t_room) * SIZE, FN_ALIGN);
}

/* Parts of k: few tiles and a long k; or few rows times the rows of a large weight, where a thread meets those that it stepped
 * itself: another's cost as much as memory's. */
static int64_t parts_of(const fn_gemm_args *g) {
    const int met = g->weight && g->M <= MEET_ROWS && g->N * g->K >= MEET_NUMBERS;
    const int64_t few = gemm_parts(g->batch, g->M, g->N, g->K), parts = least(g->M == 1 ? FN_GEMM_PARTS : 2, g->K / MEET_PART);
    return met && parts > few ? over(g->K, over(g->K, parts)) : few;
}
static void plan_whole(plan *p, const fn_gemm_args *g) {
    fn_gemm_args own;
    const fn_gemm_args *const x = plain(g, &own);
    plan_of(p, x, form_of(x), parts_of(x));
}
static int64_t room(const plan *p, int threads) {
    return p->part_bytes + (p->bytes > SMALL_BYTES ? p->bytes * threads : 0);
}
#endif
