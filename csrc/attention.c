/* Scaled dot product attention over fn_attention_args. For each head, an index of the leading dimensions:
 *
 *   s = scale q k' + mask      p = exp(s - lse)     lse = log of the row sums of exp s     y = (p f) v
 *   dv = (p f)' dy             dp = f (dy v')       ds = scale p (dp - delta)              dq = ds k      dk = ds' q
 *
 * with f the dropout factor, 0 or 1 / (1 - drop), and delta = row sums of dy y, which are those of p dp. A row without a
 * key to attend to gives y = 0.
 *
 * Everything of a block of keys and queries is held transposed, queries along the lanes: s[j,i] is a product of k's rows as
 * they lie and of q turned once a block; maxima, sums and the rescaling of y' (Ev, queries) run down the lanes and cross
 * none; and k and v are never turned. Forward owns blocks of queries, blocks of keys pass by (Milakov and Gimelshein 2018;
 * Dao et al. 2022). Backward computes p anew: a task owns blocks of keys, whose dk and dv stay near while all queries pass.
 * Where heads are few, the blocks of keys are dealt out to parts, as many as the shape says, whose dq are added in order. */
#include "brgemm.h"
#include "philox.h"
#include "softmax.h"

enum { KEYS = 64, TASKS = 16 };              /* keys of a block; heads times parts, if the keys are enough */
#define LANES (4 * FN_VL)                    /* queries of a block */
#define STRIP (2 * FN_VL)                    /* of a piece of a block that the diagonal cuts */
#define DRAWS (LANES + PHILOX_WORDS)         /* room of a row of dropout flags */
#define PAGE 4096
#define SIZE (int64_t)sizeof(fn_t)
#define UNROLL _Pragma("GCC unroll 16")

typedef uint8_t bytes __attribute__((vector_size(FN_VBYTES / sizeof(fn_t))));
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t over(int64_t n, int64_t d) { return (n + d - 1) / d; }
static inline int64_t up(int64_t n, int64_t d) { return over(n, d) * d; }
static inline int64_t room(int64_t n) { return up(n, FN_ALIGN / SIZE); }     /* elements, to whole cache lines */
static int64_t heads(const fn_attention_args *a) {
    int64_t n = 1;
    for (int64_t d = 0; d < a->nb; d++) n *= a->n[d];
    return n;
}

/* c = a b, or c += a b: (m,k) with strides a_m and a_k, (k,n) rows of unit stride, n a multiple of FN_VL */
static void product(const int more, fn_t *c, int64_t ldc, const fn_t *a, int64_t a_m, int64_t a_k, const fn_t *b, int64_t ldb,
                    int64_t m, int64_t n, int64_t k) {
    const fn_brgemm p = {.c = c, .init = more ? c : NULL, .a = a, .b = b, .m = m, .n = n, .k = k, .count = 1, .ldc = ldc,
                         .ld_init = ldc, .a_m = a_m, .a_k = a_k, .b_k = ldb, .b_panel = STRIP, .nv = 2};
    FN_NAME(brgemm)(&p);
}

/* y[j,i] = scale x[i,j], with lanes i up to a whole vector (PAD), added to y (ADD), or to the last of them alone (EXACT) */
enum { PAD, ADD, EXACT };
FN_INLINE void turn_put(const int how, fn_t *y, vec v, int n) {
    if (how == ADD) v_store(y, v_load(y) + v);
    else if (how == PAD) v_store(y, v);
    else v_put(y, v, n);
}
FN_INLINE void turn(const int how, fn_t *y, int64_t ldy, const fn_t *x, int64_t ldx, int64_t rows, int64_t cols, fn_t scale) {
    const vec by = v_set1(scale);
    for (int64_t i = 0; i < rows; i += FN_VL, x += FN_VL * ldx, y += FN_VL) {
        const int n = (int)least(FN_VL, rows - i);
        int64_t j = 0;
        for (; j + FN_PIECE <= cols; j += FN_PIECE) {
            vec t[FN_PIECE];
            if (n == FN_VL) {
                UNROLL for (int q = 0; q < FN_PIECE; q++) t[q] = v_pieces(x + q * ldx + j, FN_PIECE * ldx);
            } else {
                fn_t z[FN_VL][FN_PIECE];
                for (int r = 0; r < FN_VL; r++) memcpy(z[r], x + least(r, n - 1) * ldx + j, sizeof z[r]);
                UNROLL for (int q = 0; q < FN_PIECE; q++) t[q] = v_pieces(z[q], FN_PIECE * FN_PIECE);
            }
            v_transpose_pieces(t);
            UNROLL for (int q = 0; q < FN_PIECE; q++) turn_put(how, y + (j + q) * ldy, t[q] * by, n);
        }
        for (; j < cols; j++) {
            fn_t z[FN_VL];
            for (int r = 0; r < FN_VL; r++) z[r] = x[least(r, n - 1) * ldx + j];
            turn_put(how, y + j * ldy, v_load(z) * by, n);
        }
    }
}

static void zero(fn_t *y, int64_t n) { memset(y, 0, (size_t)(n * SIZE)); }
/* Rows of `cols` numbers, with zeros up to a whole vector if padded */
static void copy_rows(const int padded, fn_t *y, int64_t ldy, const fn_t *x, int64_t ldx, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++, x += ldx, y += ldy)
        for (int64_t j = 0; j < cols; j += FN_VL) {
            const int n = (int)least(FN_VL, cols - j);
            if (padded) v_store(y + j, v_get(x + j, n));
            else v_put(y + j, v_get(x + j, n), n);
        }
}
/* Rows of x where every product finds them near: side by side, of whole vectors. `own`: room for a copy, if one is needed. */
static int are_near(int64_t ldx, int64_t cols) { return ldx == cols && cols % FN_VL == 0; }
static const fn_t *near_rows(const fn_t *x, int64_t *ldx, int64_t rows, int64_t cols, fn_t *own) {
    const int64_t ld = up(cols, FN_VL);
    if (are_near(*ldx, cols)) return x;
    copy_rows(1, own, ld, x, *ldx, rows, cols);
    *ldx = ld;
    return own;
}

/* ---- mask, diagonal, dropout: on s[j,i] of `keys` rows ---------------------------------------------------------------- */

/* One row or column of the mask: bools become 0 or -inf */
FN_INLINE void mask_line(fn_t *z, const fn_attention_args *a, int64_t at, const int64_t step, int64_t n) {
    const uint8_t *const may = (const uint8_t *)a->mask + at;
    const fn_t *const add = (const fn_t *)a->mask + at;
    if (a->mask_bool)
        for (int64_t j = 0; j < n; j++) z[j] = may[j * step] ? 0 : (fn_t)-INFINITY;
    else
        for (int64_t j = 0; j < n; j++) z[j] = add[j * step];
}
static void mask_row(fn_t *z, const fn_attention_args *a, int64_t at, int64_t n) {
    if (a->mask_s == 1) mask_line(z, a, at, 1, n);
    else mask_line(z, a, at, a->mask_s, n);
}
/* s[j,i] += mask[i0 + i, j0 + j], `at` where the head's mask begins */
static void add_mask(fn_t *s, const fn_attention_args *a, int64_t at, int64_t i0, int64_t lanes, int64_t j0, int64_t keys) {
    fn_t z[FN_VL * KEYS];
    at += i0 * a->mask_l + j0 * a->mask_s;
    if (a->mask_l == 0) {
        mask_row(z, a, at, keys);
        for (int64_t j = 0; j < keys; j++)
            for (int64_t c = 0; c < lanes; c += FN_VL) v_store(s + j * LANES + c, v_load(s + j * LANES + c) + v_set1(z[j]));
        return;
    }
    for (int64_t c = 0; c < lanes; c += FN_VL) {
        const int64_t rows = least(FN_VL, a->L - i0 - c);
        for (int64_t r = 0; r < rows; r++) mask_row(z + r * KEYS, a, at + (c + r) * a->mask_l, keys);
        turn(ADD, s + c, LANES, z, KEYS, rows, keys, 1);
    }
}

/* s = -inf for keys after the query; ahead: the first lane's query less the first row's key */
static void cut(fn_t *s, int64_t lanes, int64_t keys, int64_t ahead) {
    const vec never = v_set1((fn_t)-INFINITY);
    for (int64_t j = ahead < 0 ? 0 : ahead + 1; j < keys; j++)
        for (int64_t c = 0; c < lanes && c < j - ahead; c += FN_VL) {
            fn_t *const at = s + j * LANES + c;
            v_store(at, v_select(m_lanes() < m_set1((fn_i)(j - ahead - c)), never, v_load(at)));
        }
}

/* keep[j,i]: element ((head S + j) and L rounded up) + i of the draw decides on key j and query i */
static void draw(uint8_t *keep, const fn_attention_args *a, const uint64_t *rng, int64_t h, int64_t i0, int64_t lanes, int64_t j0,
                 int64_t keys) {
    for (int64_t j = 0; j < keys; j++) {
        const uint64_t at = (uint64_t)((h * a->S + j0 + j) * up(a->L, 64) + i0);
        for (int64_t c = 0; c < lanes; c += PHILOX_WORDS)
            philox_below(keep + j * DRAWS + c, 1 - a->drop, rng[0], rng[1], (at + (uint64_t)c) / 4);
    }
}
FN_INLINE vec factor(const uint8_t *keep, fn_t scale) {
    bytes b;
    memcpy(&b, keep, sizeof b);
    return (vec)(-__builtin_convertvector(b, mask) & (mask)v_set1(scale));
}

/* ---- forward ---------------------------------------------------------------------------------------------------------- */

/* Rows of k or v as the forward product broadcasts them: copied where they crowd one set of the nearest cache */
FN_INLINE const fn_t *rows_at(const fn_t *x, int64_t *ldx, int64_t rows, int64_t cols, fn_t *own) {
    if (*ldx * SIZE % PAGE) return x;
    copy_rows(1, own, up(cols, FN_VL), x, *ldx, rows, cols);
    *ldx = up(cols, FN_VL);
    return own;
}

/* Down one vector of queries: s becomes exp(s - m), m and l grow by this block; gives what older sums are to be multiplied by. */
FN_INLINE vec soften(fn_t *s, int64_t keys, fn_t *m, fn_t *l) {
    const vec before = v_load(m), never = v_set1((fn_t)-INFINITY);
    vec a = before, b = before, p = v_zero(), q = v_zero();
    int64_t j = 0;
    for (; j + 2 <= keys; j += 2) a = v_max(v_load(s + j * LANES), a), b = v_max(v_load(s + (j + 1) * LANES), b);
    if (j < keys) a = v_max(v_load(s + j * LANES), a);
    a = v_max(a, b);
    const vec most = v_select(a == never, v_zero(), a), old = v_exp_neg(before - most);
    for (j = 0; j + 2 <= keys; j += 2) {
        const vec e = v_exp_neg(v_load(s + j * LANES) - most), f = v_exp_neg(v_load(s + (j + 1) * LANES) - most);
        v_store(s + j * LANES, e), v_store(s + (j + 1) * LANES, f);
        p += e, q += f;
    }
    if (j < keys) {
        const vec e = v_exp_neg(v_load(s + j * LANES) - most);
        v_store(s + j * LANES, e);
        p += e;
    }
    v_store(m, a), v_store(l, v_fma(v_load(l), old, p + q));
    return old;
}

typedef struct {                             /* scratch of a thread */
    fn_t *qt, *s, *o, *k, *v;                /* (E, LANES), (KEYS, LANES), (Ev, LANES), (KEYS, E), (KEYS, Ev) */
    uint8_t *keep;                           /* (KEYS, DRAWS) */
} fwd_room;
static int64_t fwd_rooms(const fn_attention_args *a, uintptr_t base, fwd_room *w) {
    const int64_t E = up(a->E, FN_VL), Ev = up(a->Ev, FN_VL), n[] = {E * LANES, KEYS * LANES, Ev * LANES, KEYS * E, KEYS * Ev};
    fn_t **const to[] = {&w->qt, &w->s, &w->o, &w->k, &w->v};
    int64_t bytes = 0;
    for (int i = 0; i < 5; i++) *to[i] = (fn_t *)(base + (uintptr_t)bytes), bytes += room(n[i]) * SIZE;
    w->keep = (uint8_t *)(base + (uintptr_t)bytes);
    return bytes + up(a->drop > 0 ? KEYS * DRAWS : 0, FN_ALIGN);
}
FN_WORK(attention_fwd) {
    fwd_room w;
    return threads * fwd_rooms(args, 0, &w);
}

static void forward_block(const fn_attention_args *a, const uint64_t *rng, int64_t h, int64_t i0, fwd_room w) {
    const int64_t L = a->L, S = a->S, E = a->E, Ev = a->Ev, rows = least(LANES, L - i0), lanes = up(rows, FN_VL);
    const fn_t *const q = (const fn_t *)a->q + fn_at(h, a->nb, a->n, a->q_b), *const k = (const fn_t *)a->k + fn_at(h, a->nb, a->n, a->k_b);
    const fn_t *const v = (const fn_t *)a->v + fn_at(h, a->nb, a->n, a->v_b);
    fn_t *const y = (fn_t *)a->y + fn_at(h, a->nb, a->n, a->y_b), *const lse = a->lse, m[LANES], l[LANES];
    const int64_t mask_at = a->mask ? fn_at(h, a->nb, a->n, a->mask_b) : 0, last = a->causal ? least(S, i0 + rows) : S;
    const fn_t more = (fn_t)(1 / (1 - a->drop));
    for (int64_t c = 0; c < lanes; c++) m[c] = (fn_t)-INFINITY, l[c] = 0;
    if (last == 0) zero(w.o, Ev * LANES);
    turn(PAD, w.qt, LANES, q + i0 * a->q_l, a->q_l, rows, E, (fn_t)a->scale);
    for (int64_t j0 = 0; j0 < last; j0 += KEYS) {
        const int64_t keys = least(KEYS, last - j0), strip = a->causal && i0 + STRIP < j0 + keys ? STRIP : LANES;
        int64_t k_s = a->k_s, v_s = a->v_s;
        const fn_t *const kj = rows_at(k + j0 * k_s, &k_s, keys, E, w.k), *const vj = rows_at(v + j0 * v_s, &v_s, keys, Ev, w.v);
        for (int64_t c = 0; c < lanes; c += strip) {
            const int64_t n = least(strip, lanes - c), seen = a->causal ? least(keys, i0 + c + n - j0) : keys;
            fn_t *const s = w.s + c, *const o = w.o + c;
            if (seen <= 0) continue;
            product(0, s, LANES, kj, k_s, 1, w.qt + c, LANES, seen, n, E);
            if (a->mask) add_mask(s, a, mask_at, i0 + c, n, j0, seen);
            if (a->causal) cut(s, n, seen, i0 + c - j0);
            if (a->drop > 0) draw(w.keep, a, rng, h, i0 + c, n, j0, seen);
            for (int64_t b = 0; b < n; b += FN_VL) {
                const vec old = soften(s + b, seen, m + c + b, l + c + b);
                for (int64_t e = 0; e < Ev && j0; e++) v_store(o + e * LANES + b, v_load(o + e * LANES + b) * old);
                for (int64_t j = 0; j < seen && a->drop > 0; j++)
                    v_store(s + j * LANES + b, v_load(s + j * LANES + b) * factor(w.keep + j * DRAWS + b, more));
            }
            product(j0 > 0, o, LANES, vj, 1, v_s, s, LANES, Ev, n, seen);
        }
    }
    for (int64_t c = 0; c < lanes; c += FN_VL) {
        const vec sum = v_load(l + c), most = v_load(m + c);
        const mask none = sum == v_zero();
        const vec each = v_select(none, v_zero(), v_set1(1) / sum);
        for (int64_t e = 0; e < Ev; e++) v_store(w.o + e * LANES + c, v_load(w.o + e * LANES + c) * each);
        if (lse) v_put(lse + h * L + i0 + c, v_select(none, v_zero(), most + v_log(sum)), (int)least(FN_VL, rows - c));
    }
    turn(EXACT, y + i0 * a->y_l, a->y_l, w.o, LANES, Ev, rows, 1);
}

FN_KERNEL(attention_fwd) {
    const fn_attention_args *a = args;
    const int64_t blocks = over(a->L, LANES);
    uint64_t rng[2] = {0, 0};
    fwd_room w;
    int64_t lo, hi;
    if (a->drop > 0) {
        rng[0] = a->rng[0], rng[1] = a->rng[1] + (uint64_t)a->offset;
        if (a->drawn && t.rank == 0) a->drawn[0] = rng[0], a->drawn[1] = rng[1];
    }
    fwd_rooms(a, (uintptr_t)a->work + (uintptr_t)(t.rank * fwd_rooms(a, 0, &w)), &w);
    fn_share(heads(a) * blocks, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {      /* under a diagonal, long and short blocks take turns */
        const int64_t i = u % blocks, b = !a->causal ? i : i % 2 ? blocks - 1 - i / 2 : i / 2;
        forward_block(a, rng, u / blocks, b * LANES, w);
    }
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

typedef struct {                             /* scratch of a thread; P: rounded up to whole vectors */
    fn_t *qt, *gt, *lse, *delta;             /* for each block of queries: scale q' (E, LANES), scale dy' (Ev, LANES), (LANES) each */
    fn_t *q, *g, *dq;                        /* (L, EP), (L, EvP), (L, EP): where q, dy and dq do not lie so */
    fn_t *s, *d;                             /* (KEYS, LANES) */
    fn_t *k, *v, *dk, *dv;                   /* (KEYS, EP), (KEYS, EvP) twice */
    uint8_t *keep;
} bwd_room;
static int64_t bwd_rooms(const fn_attention_args *a, uintptr_t base, bwd_room *w) {
    const int64_t L = up(a->L, LANES), E = up(a->E, FN_VL), Ev = up(a->Ev, FN_VL);
    const int64_t q = are_near(a->q_l, a->E) ? 0 : L * E, g = are_near(a->dy_l, a->Ev) ? 0 : L * Ev, dq = a->E == E ? 0 : L * E;
    const int64_t n[] = {L * E, L * Ev, L, L, q, g, dq, KEYS * LANES, KEYS * LANES, KEYS * E, KEYS * Ev, KEYS * E, KEYS * Ev};
    fn_t **const to[] = {&w->qt, &w->gt, &w->lse, &w->delta, &w->q, &w->g, &w->dq, &w->s, &w->d, &w->k, &w->v, &w->dk, &w->dv};
    int64_t bytes = 0;
    for (int i = 0; i < 13; i++) *to[i] = (fn_t *)(base + (uintptr_t)bytes), bytes += room(n[i]) * SIZE;
    w->keep = (uint8_t *)(base + (uintptr_t)bytes);
    return bytes + up(a->drop > 0 ? KEYS * DRAWS : 0, FN_ALIGN);
}

/* Parts of the keys, each of two blocks at least; and the bytes of their dq, (heads, parts, L, EP). */
static int64_t parts_of(const fn_attention_args *a) {
    const int64_t want = over(TASKS, heads(a) + (heads(a) == 0)), most = over(a->S, KEYS) / 2;
    return most < 1 || want < 2 ? 1 : least(want, most);
}
static int64_t parts_bytes(const fn_attention_args *a) {
    const int64_t parts = parts_of(a);
    return parts == 1 || !a->dq ? 0 : room(heads(a) * parts * a->L * up(a->E, FN_VL)) * SIZE;
}
FN_WORK(attention_bwd) {
    bwd_room w;
    return parts_bytes(args) + threads * bwd_rooms(args, 0, &w);
}

/* s and d, which hold the scores and scale dp of `rows` keys, become p f and ds. */
FN_INLINE void slopes(fn_t *s, fn_t *d, int64_t rows, fn_t *lse, fn_t *delta, const uint8_t *keep, fn_t more) {
    const vec top = v_load(lse), mean = v_load(delta);
    for (int64_t j = 0; j < rows; j++, s += LANES, d += LANES) {
        const vec p = v_exp_neg(v_load(s) - top), f = keep ? factor(keep + j * DRAWS, more) : v_set1(1);
        v_store(d, p * (keep ? v_fma(v_load(d), f, -mean) : v_load(d) - mean));
        v_store(s, keep ? p * f : p);
    }
}

/* What all blocks of keys read: q and dy turned, delta. */
static void prepare(const fn_attention_args *a, int64_t h, const fn_t *q, const fn_t *g, bwd_room w) {
    const int64_t L = a->L, E = a->E, Ev = a->Ev;
    const fn_t *const y = (const fn_t *)a->y + fn_at(h, a->nb, a->n, a->y_b), *const lse = (const fn_t *)a->lse + h * L;
    for (int64_t i0 = 0; i0 < L; i0 += LANES) {
        const int64_t rows = least(LANES, L - i0);
        turn(PAD, w.qt + i0 * E, LANES, q + i0 * a->q_l, a->q_l, rows, E, (fn_t)a->scale);
        turn(PAD, w.gt + i0 * Ev, LANES, g + i0 * a->dy_l, a->dy_l, rows, Ev, (fn_t)a->scale);
    }
    for (int64_t i = 0; i < up(L, LANES); i++) {
        vec sum = v_zero();
        for (int64_t e = 0; e < Ev && i < L; e += FN_VL) {
            const int n = (int)least(FN_VL, Ev - e);
            sum = v_fma(v_get(g + i * a->dy_l + e, n), v_get(y + i * a->y_l + e, n), sum);
        }
        w.delta[i] = (fn_t)a->scale * v_sum(sum), w.lse[i] = i < L ? lse[i] : 0;
    }
}

/* Blocks part, part + parts, ... of the keys of head h; dq (L, ld_dq) is made. */
static void backward_part(const fn_attention_args *a, int64_t h, int64_t part, int64_t parts, fn_t *dq, int64_t ld_dq, bwd_room w) {
    const int64_t L = a->L, S = a->S, E = a->E, Ev = a->Ev, EP = up(E, FN_VL), EvP = up(Ev, FN_VL);
    const fn_t *const q0 = (const fn_t *)a->q + fn_at(h, a->nb, a->n, a->q_b), *const g0 = (const fn_t *)a->dy + fn_at(h, a->nb, a->n, a->dy_b);
    const fn_t *const k = (const fn_t *)a->k + fn_at(h, a->nb, a->n, a->k_b), *const v = (const fn_t *)a->v + fn_at(h, a->nb, a->n, a->v_b);
    const int64_t mask_at = a->mask ? fn_at(h, a->nb, a->n, a->mask_b) : 0;
    const int scores = a->dq || a->dk;
    const fn_t more = (fn_t)(1 / (1 - a->drop));
    int64_t q_l = a->q_l, g_l = a->dy_l;
    prepare(a, h, q0, g0, w);
    const fn_t *const q = near_rows(q0, &q_l, L, E, w.q), *const g = near_rows(g0, &g_l, L, Ev, w.g);
    for (int64_t i = 0; i < L && dq; i++) zero(dq + i * ld_dq, EP);
    for (int64_t j0 = part * KEYS; j0 < S; j0 += parts * KEYS) {
        const int64_t keys = least(KEYS, S - j0);
        int64_t k_s = a->k_s, v_s = a->v_s;
        const fn_t *const kj = near_rows(k + j0 * k_s, &k_s, keys, E, w.k), *const vj = near_rows(v + j0 * v_s, &v_s, keys, Ev, w.v);
        zero(w.dk, KEYS * EP), zero(w.dv, KEYS * EvP);
        for (int64_t i0 = a->causal ? j0 / LANES * LANES : 0; i0 < L; i0 += LANES) {
            const int64_t rows = least(LANES, L - i0), lanes = up(rows, FN_VL), strip = a->causal && i0 + STRIP < j0 + keys ? STRIP : LANES;
            for (int64_t c = 0; c < lanes; c += strip) {
                const int64_t n = least(strip, lanes - c), i = i0 + c, some = least(n, rows - c), seen = a->causal ? least(keys, i + n - j0) : keys;
                fn_t *const s = w.s + c, *const d = w.d + c;
                if (seen <= 0) continue;
                product(0, s, LANES, kj, k_s, 1, w.qt + i0 * E + c, LANES, seen, n, E);
                if (scores) product(0, d, LANES, vj, v_s, 1, w.gt + i0 * Ev + c, LANES, seen, n, Ev);
                if (a->mask) add_mask(s, a, mask_at, i, n, j0, seen);
                if (a->causal) cut(s, n, seen, i - j0);
                if (a->drop > 0) draw(w.keep, a, a->drawn, h, i, n, j0, seen);
                for (int64_t b = 0; b < n; b += FN_VL) {
                    if (a->drop > 0) slopes(s + b, d + b, seen, w.lse + i + b, w.delta + i + b, w.keep + b, more);
                    else slopes(s + b, d + b, seen, w.lse + i + b, w.delta + i + b, NULL, 1);
                }
                if (a->dv) product(1, w.dv, EvP, s, LANES, 1, g + i * g_l, g_l, seen, EvP, some);
                if (a->dk) product(1, w.dk, EP, d, LANES, 1, q + i * q_l, q_l, seen, EP, some);
                if (dq) product(1, dq + i * ld_dq, ld_dq, d, 1, LANES, kj, k_s, some, EP, seen);
            }
        }
        if (a->dk) copy_rows(0, (fn_t *)a->dk + fn_at(h, a->nb, a->n, a->dk_b) + j0 * a->dk_s, a->dk_s, w.dk, EP, keys, E);
        if (a->dv) copy_rows(0, (fn_t *)a->dv + fn_at(h, a->nb, a->n, a->dv_b) + j0 * a->dv_s, a->dv_s, w.dv, EvP, keys, Ev);
    }
}

FN_KERNEL(attention_bwd) {
    const fn_attention_args *a = args;
    const int64_t parts = parts_of(a), L = a->L, EP = up(a->E, FN_VL), B = heads(a);
    fn_t *const sums = a->work;
    bwd_room w;
    int64_t lo, hi;
    bwd_rooms(a, (uintptr_t)a->work + (uintptr_t)(parts_bytes(a) + t.rank * bwd_rooms(a, 0, &w)), &w);
    fn_share(B * parts, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        fn_t *const dq = a->dq ? (fn_t *)a->dq + fn_at(u / parts, a->nb, a->n, a->dq_b) : NULL;
        if (!dq) backward_part(a, u / parts, u % parts, parts, NULL, EP, w);
        else if (parts > 1) backward_part(a, u / parts, u % parts, parts, sums + u * L * EP, EP, w);
        else if (a->E == EP) backward_part(a, u, 0, 1, dq, a->dq_l, w);
        else {
            backward_part(a, u, 0, 1, w.dq, EP, w);
            copy_rows(0, dq, a->dq_l, w.dq, EP, L, a->E);
        }
    }
    if (parts == 1 || !a->dq) return;
    fn_barrier(t);
    fn_share(B * L, 1, t, &lo, &hi);
    for (int64_t u = lo; u < hi; u++) {
        const fn_t *const from = sums + (u / L * parts * L + u % L) * EP;
        fn_t *const dq = (fn_t *)a->dq + fn_at(u / L, a->nb, a->n, a->dq_b) + u % L * a->dq_l;
        for (int64_t e = 0; e < a->E; e += FN_VL) {
            vec sum = v_load(from + e);
            for (int64_t p = 1; p < parts; p++) sum += v_load(from + p * L * EP + e);
            v_put(dq + e, sum, (int)least(FN_VL, a->E - e));
        }
    }
}
