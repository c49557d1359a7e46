/* c = act(beta c + a b + bias) for each matrix of a batch, or c of the sum over a batch; any strides.
 *
 * Forms, chosen by shape and strides alone (gemm_plan.h):
 *   ROWS  vectors run along n, numbers of a are broadcast; tiles of c are stored as they are
 *   COLS  vectors run along m, numbers of b are broadcast; tiles are stored transposed: few m, b of unit stride along k
 *         (y = x w' for a small batch)
 *   DOTS  vectors run along k: few m or n; the long operand, of unit stride along k, is read once as it lies, the short one may be turned
 *   SPLIT tile registers multiply numbers split in three (split.h), where the processor has them: float32, all but small products
 * ROWS and COLS give the same bits: T[r,l] = init + sum over k of s[r,k] v[k,l], k ascending, one chain an element.
 * Where k is not cut, their bits do not depend on m, n, nor on which block of rows or columns is asked for.
 * The lanes operand v is read where it lies if its lanes are neighbours and few rows pass over it, else from panels of
 * FN_NR lanes. A weight gradient walks across the rows of both operands: s is packed by tiles, and from memory while the
 * products before fetch it; under a few panels it is read where it lies, and each tile fetches the next one's. Where it has
 * few rows, and the packing of v would be noticed, v is taken in small blocks, and during each the next one is fetched,
 * evenly: of k, or where blocks are pieces of long rows (1x1 convolutions of large images) of lanes.
 * Where c is too small to feed a team and k is long, k is cut in parts (gemm_parts) that are added up; so is a batch that
 * is summed. Within a part its products follow one another as further numbers of k. */
#include "dots.h"
#include "gemm_plan.h"
#include "vmath.h"

FN_WORK(gemm) {
    plan p;
    plan_whole(&p, args);
    return room(&p, threads);
}

/* ---- b ahead of its products --------------------------------------------------------------------------------------- */

/* c = b in panels for ROWS, and behind them, if the instruction set at hand has SPLIT, in lanes split in three. If M (and a_m) is
 * told, the one of the two that such a product reads. */
FN_KERNEL(gemm_pack) {
    const fn_gemm_args *g = args;
    const int64_t K = g->K;
    int64_t lo, hi;
    fn_share(g->N, FN_NR, t, &lo, &hi);
    if (g->M == 0 || !splits(g))
        pack_lanes((fn_t *)g->c + lo * K, FN_NR, FN_NR * K, (const fn_t *)g->b + lo * g->b_n, g->b_k, g->b_n, K, hi - lo);
#if FN_SPLIT
    if (g->M && !splits(g)) return;
    split_lanes(split_packed(g->c, g->N, K) + lo / SPLIT_SIDE * split_room(K), split_room(K), (const fn_t *)g->b + lo * g->b_n,
                g->b_n, g->b_k, hi - lo, K);
#endif
}

/* ---- epilogues ----------------------------------------------------------------------------------------------------- */

FN_INLINE vec activate(vec y, int act) {
    return act == FN_ACT_RELU ? v_relu(y)
           : act == FN_ACT_SIGMOID ? v_sigmoid(y)
           : act == FN_ACT_TANH ? v_tanh(y) : y;
}
static void activate_rows(fn_t *y, int64_t ldy, int64_t rows, int64_t lanes, int act) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < lanes; j += FN_VL) v_store(y + i * ldy + j, activate(v_load(y + i * ldy + j), act));
}
/* y[i,j] += x[i*x_r + j*x_l] */
static void add(fn_t *y, int64_t ldy, int64_t rows, int64_t lanes, const fn_t *x, int64_t x_r, int64_t x_l) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < lanes; j++) y[i * ldy + j] += x[i * x_r + j * x_l];
}

/* ---- ROWS and COLS ----------------------------------------------------------------------------------------------- */

/* Rows [r0, r1) and lanes [l0, l1) of one c, of `count` matrices. Whole vectors of ROWS go to c; the last, partial one, with the
 * one before if those are to be a pair, which reads s once, and all of COLS, go through a strip T of rows. b[0] are the whole
 * vectors, b[1] the rest. A later block of k, or matrix, continues from what c holds. */
static void block(const plan *p, fn_t *c, const fn_t *s_first, const fn_t *v_first, const fn_t *packed, int64_t count,
                  int64_t K, int64_t l0, int64_t l1, int64_t r0, int64_t r1, fn_t *work) {
    const int64_t c_r = p->c_r, c_l = p->c_l, s_r = p->s_r, s_k = p->s_k, v_k = p->v_k, v_l = p->v_l;
    const int64_t width = p->nv * FN_VL;
    const int cols = p->form == COLS, soft = p->act == FN_ACT_SIGMOID || p->act == FN_ACT_TANH;
    fn_t *const v_work = work, *const s_work = v_work + p->v_room, *const T = s_work + p->s_room;
    fn_t *const bias_rest = T + p->t_room - FN_NR;
    for (int64_t l = l0; l < l1; l += p->lanes) {
        const int64_t n = least(p->lanes, l1 - l), part = cols && p->pack ? 0 : n % FN_VL;
        const int64_t rest = part && p->paired ? n % FN_NR : part, whole = up(n - rest, FN_VL), tail = up(rest, FN_VL), ldt = cols ? up(n, FN_VL) : tail;
        const fn_t *const bias = p->bias && !cols ? p->bias + l : 0;
        if (bias && rest) copy_rows(bias_rest, tail, bias + whole, tail, 1, rest, 1);
        const fn_t *s = s_first, *v = v_first;
        for (int64_t term = 0, k = 0, ks; term < count;) {
            ks = least(p->depth, K - k);
            const int first = term + k == 0, whole_k = k + ks == K, last = whole_k && term == count - 1;
            fn_brgemm b[2];
            b[0] = (fn_brgemm){.n = whole, .nv = p->nv, .count = 1, .far_a = p->far_s && !p->near, .fetch_c = p->fetch_c};
            b[1] = (fn_brgemm){.n = tail, .nv = tail / FN_VL, .count = 1, .far_a = !whole && b[0].far_a};
            if (p->packed || p->pack) {
                if (p->pack) pack_lanes(v_work, width, width * ks, v + k * v_k + l * v_l, v_k, v_l, ks, n);
                b[0].b = p->pack ? v_work : packed + l * p->K + k * width;
                b[0].b_k = b[1].b_k = width, b[0].b_panel = width * (p->pack ? ks : p->K);
                if (rest) b[1].b = b[0].b + whole / width * b[0].b_panel + whole % width;
            } else {
                b[0].b = v + k * v_k + l, b[0].b_k = v_k, b[0].b_panel = width;
                b[1].b = v_work, b[1].b_k = tail;
                if (rest) pack_lanes(v_work, tail, 0, b[0].b + whole, v_k, 1, ks, rest);
            }
            const fn_t *const from[2] = {b[0].b, b[1].b};
            const int64_t passes = most(over(ks, DEPTH), 1), strips = r1 - r0 <= p->strip ? 1 : over(r1 - r0, p->strip);
            const fn_t *const next = !p->ahead ? 0 : !last ? v + l + (whole_k ? p->v_batch : (k + ks) * v_k)
                                     : l + n < l1 ? v_first + l + n : 0;
            const int64_t tall = p->height || !next ? p->height : p->nv == 4 ? FN_ROWS4 : FN_ROWS2;
            const int64_t panels = next ? over(n, width) : 0, step = next ? over(n, panels * over(r1 - r0, tall)) : 0;
            for (int64_t i = 0; i < strips; i++) {
                const int64_t r = r0 + cut(r1 - r0, i, strips), rn = r0 + cut(r1 - r0, i + 1, strips) - r;
                fn_t *const c_i = c + r * c_r + l * c_l;
                b[0].c = cols ? T : c_i, b[0].ldc = cols ? ldt : c_r;
                b[1].c = cols ? T + whole : T, b[1].ldc = ldt;
                for (int w = 0; w < 2; w++) b[w].init = b[w].c, b[w].ld_init = b[w].ldc;
                if (!first || p->beta) {
                    if (cols) transpose(T, ldt, c_i, c_l, n, rn, 1);
                    else if (rest) copy_rows(T, ldt, c_i + whole, c_r, rn, rest, 1);
                    if (first && cols && p->bias) add(T, ldt, rn, ldt, p->bias + r, 1, 0);
                    else if (first && bias) {
                        add(c_i, c_r, rn, whole, bias, 0, 1);
                        if (rest) add(T, ldt, rn, tail, bias_rest, 0, 1);
                    }
                } else if (cols && p->bias) {
                    for (int64_t q = 0; q < rn; q++)
                        for (int64_t j = 0; j < ldt; j += FN_VL) v_store(T + q * ldt + j, v_set1(p->bias[r + q]));
                } else {
                    b[0].init = bias, b[1].init = bias ? bias_rest : 0, b[0].ld_init = b[1].ld_init = 0;
                }
                for (int64_t pass = 0; pass < passes; pass++) {
                    const int64_t k0 = cut(ks, pass, passes), kn = cut(ks, pass + 1, passes) - k0;
                    const int64_t lds = up(kn, FN_VL) + FN_VL;
                    const fn_t *const s_i = s + r * s_r + (k + k0) * s_k;
                    const int64_t tiles = tall ? over(rn, tall) : 1, room = tile_room(kn);
                    if (p->near == TILES) pack_tiles(s_work, room, s_i, s_k, kn, rn, p->R - r);
                    if (p->near == LINES) copy_rows(s_work, lds, s_i, s_r, rn, kn, 1);
                    for (int w = 0; w < 2; w++) {
                        fn_brgemm *const x = b + w;
                        if (!x->n) continue;
                        x->a = p->near >= TILES ? s_work : s_i, x->a_m = p->near == LINES ? lds : s_r, x->a_k = s_k;
                        x->b = from[w] + k0 * x->b_k, x->m = rn, x->k = kn;
                        if (pass) x->init = x->c, x->ld_init = x->ldc;
                        x->relu = last && pass == passes - 1 && p->act == FN_ACT_RELU;
                        if (!tall) {
                            FN_BELOW(brgemm)(x);
                            continue;
                        }
                        for (int64_t q = 0; q < tiles; q++) {
                            fn_brgemm y = *x;
                            if (tiles > 1 || p->near == TILES) {
                                const int64_t i0 = cut(rn, q, tiles);
                                y.m = cut(rn, q + 1, tiles) - i0;
                                if (p->near == TILES) y.a_k = y.m, y.a += q * room;
                                else y.a += i0 * y.a_m;
                                y.c += i0 * x->ldc, y.init += y.init ? i0 * x->ld_init : 0;
                            }
                            if (p->near == TILES && p->far_s && r + rn < r1) y.ahead = s_i + rn + cut(rn, q, tiles), y.ahead_k = s_k;
                            if (p->near == BESIDE && r + cut(rn, q + 1, tiles) < r1) y.ahead = s_i + cut(rn, q + 1, tiles), y.ahead_k = s_k;
                            if (next && w == !whole) {
                                const int64_t at = (over(r - r0, tall) + q) * panels * step * ks + k0 * step;
                                y.ahead = next + at / n * v_k + at % n, y.ahead_k = step, y.ahead_panel = step * ks;
                            }
                            FN_BELOW(brgemm)(&y);
                        }
                    }
                }
                if (last && soft) {
                    if (!cols) activate_rows(c_i, c_r, rn, whole, p->act);
                    if (cols || rest) activate_rows(T, ldt, rn, ldt, p->act);
                }
                if (cols) transpose(c_i, c_l, T, ldt, rn, n, 0);
                else if (rest) copy_rows(c_i + whole, c_r, T, ldt, rn, rest, 0);
            }
            if (whole_k) k = 0, term++, s += p->s_batch, v += p->v_batch;
            else k += ks;
        }
    }
}

/* Lanes [l0, l1) of a single row of c, by rows of v one after the other: a core reads its caches fastest in one stream. */
static void lone_row(const plan *p, fn_t *c, const fn_t *s, const fn_t *v, int64_t count, int64_t K, int64_t l0, int64_t l1) {
    enum { WIDE = 8 };
    for (int64_t l = l0, n; l < l1; l += n) {
        n = least(LONE_LANES, l1 - l);
        fn_t *const y = c + l;
        FN_VECTORS(n, {
            const vec before = p->beta ? v_get(y + i, m) : v_zero();
            v_put(y + i, p->bias ? before + v_get(p->bias + l + i, m) : before, m);
        });
        for (int64_t term = 0; term < count; term++)
            for (int64_t k = 0; k < K; k++) {
                const fn_t *const x = v + term * p->v_batch + k * p->v_k + l;
                const vec s_k = v_set1(s[term * p->s_batch + k * p->s_k]);
                int64_t i = 0;
                for (; i + WIDE * FN_VL <= n; i += WIDE * FN_VL) {
                    vec z[WIDE];
                    UNROLL for (int j = 0; j < WIDE; j++) z[j] = v_fma(s_k, v_load(x + i + j * FN_VL), v_load(y + i + j * FN_VL));
                    UNROLL for (int j = 0; j < WIDE; j++) v_store(y + i + j * FN_VL, z[j]);
                }
                for (; i < n; i += FN_VL) v_put(y + i, v_fma(s_k, v_get(x + i, n - i), v_get(y + i, n - i)), n - i);
            }
        if (p->act != FN_ACT_NONE) FN_VECTORS(n, v_put(y + i, activate(v_get(y + i, m), p->act), m););
    }
}

/* ---- SPLIT ------------------------------------------------------------------------------------------------------- */

#if FN_SPLIT
enum { SQUARE = 2 * SPLIT_SIDE };            /* rows and lanes of a product at once */

/* x (rows, lanes), lines of SQUARE, is added to y; the first of the products gives it beta and the bias, the last the act. */
static void split_add(const plan *p, fn_t *y, int64_t ldy, const fn_t *x, int64_t rows, int64_t lanes, const fn_t *bias, int first,
                      int last) {
    for (int64_t j = 0; j < lanes; j += FN_VL) {
        const int64_t n = lanes - j;
        const vec b = bias && first ? v_get(bias + j, n) : v_zero();
        const int read = !first || p->beta, act = last ? p->act : FN_ACT_NONE;
        for (int64_t i = 0; i < rows; i++) {
            const vec before = read ? v_get(y + i * ldy + j, n) + b : b;
            v_put(y + i * ldy + j, activate(before + v_load(x + i * SQUARE + j), act), n);
        }
    }
}

/* Is each of x (rows, lanes) finite? If not, those that are not are made anew by multiply-adds, of s and v over K. */
static void split_mend(const plan *p, fn_t *x, int64_t ldx, const fn_t *s, const fn_t *v, int64_t K, int64_t rows, int64_t lanes,
                       fn_t *panel) {
    vec bad = v_zero();
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < lanes; j += FN_VL) bad += v_get(x + i * ldx + j, lanes - j) * v_zero();
    if (v_sum(bad) == 0) return;
    _Alignas(FN_ALIGN) fn_t y[SQUARE * SQUARE];
    pack_lanes(panel, FN_NR, 0, v, p->v_k, p->v_l, K, lanes);
    const fn_brgemm b = {.c = y, .ldc = SQUARE, .a = s, .a_m = p->s_r, .a_k = p->s_k, .b = panel, .b_k = FN_NR, .m = rows,
                         .n = up(lanes, FN_VL), .k = K, .count = 1, .nv = 2};
    FN_BELOW(brgemm)(&b);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < lanes; j += FN_VL) {
            const vec old = v_get(x + i * ldx + j, lanes - j);
            v_put(x + i * ldx + j, v_select(old * v_zero() == v_zero(), old, v_load(y + i * SQUARE + j)), lanes - j);
        }
}

/* block() for SPLIT. */
static void split_block(const plan *p, fn_t *c, const fn_t *s_first, const fn_t *v_first, const uint16_t *packed, int64_t count,
                        int64_t K, int64_t l0, int64_t l1, int64_t r0, int64_t r1, fn_t *work) {
    uint16_t *const v_work = (uint16_t *)work, *const s_work = (uint16_t *)(work + p->v_room);
    fn_t *const panel = work + p->v_room + p->s_room;
    _Alignas(FN_ALIGN) fn_t x[SQUARE * SQUARE], turned[SQUARE * SQUARE];
    const int64_t ldc = p->turned ? p->c_l : p->c_r, steps = over(K, p->depth);
    const int plain = !p->turned && !p->bias && !p->beta && p->act == FN_ACT_NONE && count * steps == 1;
    for (int64_t pass = 0; pass < count * steps; pass++)
        for (int64_t l = l0; l < l1; l += p->lanes) {
            const int64_t term = pass / steps, k = pass % steps * p->depth, ks = least(p->depth, K - k), n = least(p->lanes, l1 - l);
            const fn_t *const s = s_first + term * p->s_batch + k * p->s_k, *const v = v_first + term * p->v_batch + k * p->v_k + l * p->v_l;
            const int64_t s_room = split_room(ks), v_room = packed ? split_room(p->K) : s_room;
            const uint16_t *const lanes = packed ? packed + l / SPLIT_SIDE * v_room + k / SPLIT_K * SPLIT_STEP : v_work;
            if (!packed) split_lanes(v_work, v_room, v, p->v_l, p->v_k, n, ks);
            for (int64_t r = r0; r < r1; r += p->strip) {
                const int64_t m = least(p->strip, r1 - r);
                if (l == l0 || r1 - r0 > p->strip) split_rows(s_work, s_room, s + r * p->s_r, p->s_r, p->s_k, m, ks);
                for (int64_t j = 0; j < n; j += SQUARE)
                    for (int64_t i = 0; i < m; i += SQUARE) {
                        const int64_t high = least(SQUARE, m - i), wide = least(SQUARE, n - j);
                        const int direct = plain && high == SQUARE && wide == SQUARE;
                        fn_t *const c_i = c + (r + i) * p->c_r + (l + j) * p->c_l, *const to = direct ? c_i : x;
                        const int64_t ld = direct ? ldc : SQUARE;
                        split_product(to, ld, s_work + i / SPLIT_SIDE * s_room, s_room, high, lanes + j / SPLIT_SIDE * v_room, v_room,
                                      wide, ks, p->turned);
                        split_mend(p, to, ld, s + (r + i) * p->s_r, v + j * p->v_l, ks, high, wide, panel);
                        if (direct) continue;
                        if (p->turned) transpose(turned, SQUARE, x, SQUARE, high, up(wide, FN_PIECE), 1);
                        split_add(p, c_i, ldc, p->turned ? turned : x, p->turned ? wide : high, p->turned ? high : wide,
                                  p->bias ? p->bias + (p->turned ? r + i : l + j) : 0, pass == 0, pass == count * steps - 1);
                    }
            }
        }
}
#endif

/* ---- DOTS -------------------------------------------------------------------------------------------------------- */

/* Rows [0, n) of the long operand v, n <= p->lanes, with all rows of the short one, in pieces of nearly equal size; if v lies in memory,
 * where the first piece finds it, that one is as large as can be. The bias runs along one of them. */
static void dots_group(const plan *p, fn_t *c, const fn_t *s, int64_t s_r, const fn_t *v, const fn_t *bias_r, const fn_t *bias_l,
                       int64_t K, int64_t n) {
    const int64_t pieces = over(p->R, SHORT);
    for (int64_t i = 0, r = 0, end; i < pieces; i++, r = end) {
        end = p->ahead ? least(r + SHORT, p->R) : cut(p->R, i + 1, pieces);
        const int64_t m = end - r;
        fn_t out[SHORT * DOTS_OUT];
        for (int64_t j = 0, size; j < n; j += dots_width[m - 1][size]) {
            size = dots_size(m, n - j);
            dots_of[m - 1][size](out + j, s + r * s_r, s_r, v + j * p->v_l, p->v_l, K, p->ahead && r == 0);
        }
        for (int64_t q = 0; q < m; q++)
            for (int64_t j = 0; j < n; j += FN_VL) {
                fn_t *const c_i = c + (r + q) * p->c_r + j * p->c_l, *const y = out + q * DOTS_OUT + j;
                const int64_t lanes = least(FN_VL, n - j);
                vec before = bias_r ? v_set1(bias_r[r + q]) : bias_l ? v_get(bias_l + j, lanes) : v_zero();
                for (int64_t l = 0; l < lanes && p->beta; l++) before[l] += c_i[l * p->c_l];
                const vec z = activate(before + v_load(y), p->act);
                if (p->c_l == 1) {
                    v_put(c_i, z, lanes);
                    continue;
                }
                v_store(y, z);
                for (int64_t l = 0; l < lanes; l++) c_i[l * p->c_l] = y[l];
            }
    }
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* Threads in `columns` shares of the panels times size / columns shares of R: the cheapest for the busiest thread, in
 * vector multiply-adds for a step of k. A number of v costs one to read and one to pack, a number of s is half hidden,
 * and a row of c that two threads share costs them some 250 at the seam. SPLIT multiplies five times as fast, and splits a
 * number in a half. */
static int64_t columns_of(const plan *p, int64_t panels, int size) {
    int64_t best = 1;
    double least_cost = INFINITY;
    for (int64_t columns = 1; columns <= size; columns++) {
        const int64_t rows = size / columns;
        const double l = (double)(over(panels, columns) * FN_NR), r = (double)over(p->R, rows);
        if (p->form == SPLIT) {
            const double cost = l / FN_VL * r / 5 + 0.5 * l + 0.5 * r * (double)over((int64_t)l, p->lanes);
            if (cost < least_cost) least_cost = cost, best = columns;
            continue;
        }
        const double seams = (p->form == COLS ? rows > 1 ? l : 0 : columns > 1 ? r : 0) / (double)most(p->part_K, 1);
        const double cost = l / FN_VL * r + (p->pack ? 2 : 1) * l + 0.5 * r + 250 * seams;
        if (cost < least_cost) least_cost = cost, best = columns;
    }
    return best;
}

/* c = act(beta c + bias + part 0 + part 1 + ...) */
static void add_parts(const fn_gemm_args *g, const fn_t *sums, int64_t parts, fn_team t) {
    const int64_t M = g->M, N = g->N;
    int64_t lo, hi;
    fn_share((summed(g) ? 1 : g->batch) * M, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        fn_t *const c = (fn_t *)g->c + i / M * g->c_batch + i % M * g->ldc;
        const fn_t *const x = sums + (i / M * parts * M + i % M) * N, *const bias = g->bias;
        for (int64_t j = 0; j < N; j += FN_VL) {
            const int n = (int)least(FN_VL, N - j);
            vec y = g->beta ? v_get(c + j, n) : v_zero();
            if (bias) y += v_get(bias + j, n);
            for (int64_t q = 0; q < parts; q++) y += v_get(x + q * M * N + j, n);
            y = activate(y, (int)g->act);
            v_put(c + j, y, n);
        }
    }
}

/* The share of t; work is for the whole team. */
static void multiply(const plan *p, void *work_of_team, fn_team t) {
    _Alignas(FN_ALIGN) char small[SMALL_BYTES];
    char *const big = (char *)work_of_team + p->part_bytes + t.rank * p->bytes;
    fn_t *const work = (fn_t *)(p->bytes <= SMALL_BYTES ? small : big);
    const int64_t unit = p->form == DOTS ? p->lanes : FN_NR, units = over(p->L, unit);
    const int64_t all = p->groups * p->parts * units;
    const int64_t columns = t.size == 1 || p->form == DOTS ? t.size : columns_of(p, all, t.size);
    const int64_t rows = columns == t.size ? 1 : t.size / columns, row = columns == t.size ? 0 : t.rank / columns;
    const int64_t column = t.rank - row * columns, hi = cut(all, column + 1, columns);
    const int64_t high = p->form == SPLIT ? FN_NR : 1;
    const int64_t r0 = least(p->R, high * cut(over(p->R, high), row, rows)), r1 = least(p->R, high * cut(over(p->R, high), row + 1, rows));
#if FN_SPLIT
    if (p->form == SPLIT) split_begin();
#endif
    for (int64_t u = cut(all, column, columns), end; u < hi && row < rows && r0 < r1; u = end) {
        const int64_t i = all == units ? 0 : u / units, group = p->parts == 1 ? i : i / p->parts;
        const int64_t k = (i - group * p->parts) * p->part_K, K = least(p->part_K, p->K - k);
        const int64_t matrix = p->groups == p->batch ? group : cut(p->batch, group, p->groups);
        const int64_t count = p->groups == p->batch ? 1 : cut(p->batch, group + 1, p->groups) - matrix;
        end = least(hi, (i + 1) * units);
        const int64_t l0 = (u - i * units) * unit, l1 = least(p->L, (end - i * units) * unit);
        fn_t *const c = p->c + i * p->c_batch;
        const fn_t *const s = p->s + matrix * p->s_batch + k * p->s_k, *const v = p->v + matrix * p->v_batch + k * p->v_k;
#if FN_SPLIT
        if (p->form == SPLIT) {
            split_block(p, c, s, v, p->packed ? split_packed((fn_t *)p->packed, p->L, p->K) : 0, count, K, l0, l1, r0, r1, work);
            continue;
        }
#endif
        if (p->lone) {
            lone_row(p, c, s, v, count, K, l0, l1);
            continue;
        }
        if (p->form != DOTS) {
            block(p, c, s, v, p->packed ? p->packed + k * FN_NR : 0, count, K, l0, l1, r0, r1, work);
            continue;
        }
        const fn_t *const bias_r = p->c_r == 1 ? p->bias : 0, *const bias_l = p->c_r == 1 ? 0 : p->bias;
        const int64_t s_r = p->near ? up(K, FN_VL) + FN_VL : p->s_r;
        if (p->near && p->s_k == 1) copy_rows(work, s_r, s, p->s_r, p->R, K, 1);
        else if (p->near) transpose(work, s_r, s, p->s_k, K, p->R, 0);
        for (int64_t l = l0; l < l1; l += p->lanes)
            dots_group(p, c + l * p->c_l, p->near ? work : s, s_r, v + l * p->v_l, bias_r, bias_l ? bias_l + l : 0, K, least(p->lanes, l1 - l));
    }
#if FN_SPLIT
    if (p->form == SPLIT) split_end();
#endif
}

/* The first m rows of a product that the nearest cache holds, without a plan, which would take as long: ROWS of whole vectors, COLS. */
static void near_rows(const fn_gemm_args *g, int64_t m) {
    const int64_t N = g->N, K = g->K;
    _Alignas(FN_ALIGN) fn_t panels[2 * NEAR_NUMBERS];
    fn_brgemm b = {.c = g->c, .ldc = g->ldc, .init = g->bias, .a = g->a, .a_m = g->a_m, .a_k = g->a_k, .b = g->b, .b_k = g->b_k,
                   .b_panel = FN_NR, .m = m, .n = N, .k = K, .count = 1, .nv = 2, .relu = g->act == FN_ACT_RELU};
    if (g->b_n != 1) {
        pack_lanes(panels, FN_NR, FN_NR * K, g->b, 1, g->b_n, K, N);
        b.b = panels, b.b_k = FN_NR, b.b_panel = FN_NR * K;
    }
    FN_BELOW(brgemm)(&b);
}
static void near_cols(const fn_gemm_args *g, int64_t m) {
    const int64_t N = g->N, K = g->K, lanes = up(m, FN_VL);
    const fn_t *const bias = g->bias;
    _Alignas(FN_ALIGN) fn_t panels[2 * NEAR_NUMBERS], T[NEAR_NUMBERS];
    pack_lanes(panels, FN_NR, FN_NR * K, g->a, g->a_k, g->a_m, K, m);
    for (int64_t n = 0; bias && n < N; n++)
        for (int64_t i = 0; i < lanes; i += FN_VL) v_store(T + n * lanes + i, v_set1(bias[n]));
    const fn_brgemm b = {.c = T, .ldc = lanes, .init = bias ? T : 0, .ld_init = lanes, .a = g->b, .a_m = g->b_n, .a_k = g->b_k,
                         .b = panels, .b_k = FN_NR, .b_panel = FN_NR * K, .m = N, .n = lanes, .k = K, .count = 1, .nv = 2,
                         .relu = g->act == FN_ACT_RELU};
    FN_BELOW(brgemm)(&b);
    transpose(g->c, g->ldc, T, lanes, N, m, 0);
}
static int near_product(const fn_gemm_args *given, int64_t m) {
    fn_gemm_args own;
    const fn_gemm_args *const g = plain(given, &own);
    const int64_t N = g->N, K = g->K;
    if (g->M * K > NEAR_NUMBERS || N * K > NEAR_NUMBERS || g->batch != 1 || g->beta || g->packed || g->act > FN_ACT_RELU || splits(g))
        return 0;
    const int whole = N % FN_VL == 0 && (g->b_k == 1 || g->b_n == 1);
    const int form = whole && g->b_k != 1 ? ROWS : form_of(g);
    if (form == ROWS && whole) near_rows(g, m);
    else if (form == COLS && up(m, FN_NR) * K <= 2 * NEAR_NUMBERS && up(m, FN_VL) * N <= NEAR_NUMBERS) near_cols(g, m);
    else return 0;
    return 1;
}

/* Parts that are added up go to work. */
static void plan_terms(plan *p, const fn_gemm_args *g) {
    plan_whole(p, g);
    if (p->addends == 1) return;
    p->c = g->work, p->c_batch = g->M * g->N, p->bias = 0, p->beta = 0, p->act = FN_ACT_NONE;
    if (p->c_r == 1) p->c_l = g->N;
    else p->c_r = g->N;
}
FN_KERNEL(gemm) {
    const fn_gemm_args *g = args;
    if (g->batch == 0 || g->M == 0 || g->N == 0 || (t.size == 1 && near_product(g, g->M))) return;
    plan p;
    plan_terms(&p, g);
    multiply(&p, g->work, t);
    if (p.addends > 1) {
        fn_barrier(t);
        add_parts(g, g->work, p.addends, t);
    }
}

/* ---- parts of k of a single row ------------------------------------------------------------------------------------ */

int64_t FN_NAME(gemm_k_parts)(const fn_gemm_args *g) { return parts_of(g); }
void FN_NAME(gemm_k_part)(const fn_gemm_args *g, int64_t i) {
    plan p;
    plan_terms(&p, g);
    multiply(&p, g->work, (fn_team){.rank = (int)i, .size = (int)p.parts});
}
void FN_NAME(gemm_k_sum)(const fn_gemm_args *g, fn_team t) { add_parts(g, g->work, parts_of(g), t); }

/* ---- rows of one product ----------------------------------------------------------------------------------------- */

static void plan_rows(plan *p, const fn_gemm_args *g) {
    fn_gemm_args own;
    const fn_gemm_args *const x = plain(g, &own);
    plan_of(p, x, form_of(x), 1);
    if (p->form == COLS && p->L % FN_VL == 0 && !p->pack) {      /* fewer may end within a vector */
        p->v_room += p->depth * FN_VL;
        p->bytes += up(p->depth * FN_VL * SIZE, FN_ALIGN);
    }
}
int64_t FN_NAME(gemm_rows_work)(const fn_gemm_args *g) {
    plan p;
    plan_rows(&p, g);
    return room(&p, 1);
}
void FN_NAME(gemm_rows)(const fn_gemm_args *g, int64_t m) {
    if (m == 0 || g->N == 0 || near_product(g, m)) return;
    plan p;
    plan_rows(&p, g);
    if (p.turned) p.L = m;
    else p.R = m;
    multiply(&p, g->work, (fn_team){.rank = 0, .size = 1});
}
