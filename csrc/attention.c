/* Scaled dot product attention over fn_attention_args. For each head, an index of the leading dimensions:
 *
 *   s = scale q k' + mask      p = 2^(s - lse)      lse = log2 of the row sums of 2^s      y = (p f) v
 *   dv = (p f)' dy             dp = f (dy v')       ds = scale p (dp - delta)              dq = ds k      dk = ds' q
 *
 * with log2 e in scale and mask where p is made, f the dropout factor, 0 or 1 / (1 - drop), and delta = row sums of dy y, which
 * are those of p dp. A row without a key to attend to gives y = 0.
 *
 * Everything of a block of keys and queries is held transposed, queries along the lanes: s[j,i] is a product of k's rows as
 * they lie and of q turned once a block; maxima, sums and the rescaling of y' (Ev, queries) run down the lanes and cross
 * none; and k and v are never turned. Forward owns blocks of queries, blocks of keys pass by (Milakov and Gimelshein 2018;
 * Dao et al. 2022). Few queries would leave most lanes idle: forward then has the keys along the lanes, and all scores at once.
 * Backward computes p anew: a task owns blocks of keys, whose dk and dv stay near while all queries pass.
 * Where heads are few, the blocks of keys are dealt out to parts, as many as the shape says, whose dq are added in order. */
#include "attention.h"
#include "philox.h"
#include "softmax.h"

enum { KEYS = 64, TASKS = 16 };              /* keys of a block; heads times parts, if the keys are enough */
#define DRAWS (LANES + PHILOX_WORDS)         /* room of a row of dropout flags */
#define PAGE 4096
#define LOG2E 1.4426950408889634
#define FAR 8                                /* p stays below 2^FAR */
static inline int64_t room(int64_t n) { return up(n, FN_ALIGN / SIZE); }     /* elements, to whole cache lines */
static int64_t heads(const fn_attention_args *a) {
    int64_t n = 1;
    for (int64_t d = 0; d < a->nb; d++) n *= a->n[d];
    return n;
}

/* y[j,i] = scale x[i,j], with lanes i up to a whole vector (PAD), added to y (ADD), or to the last of them alone (EXACT) */
enum { PAD, ADD, EXACT };
FN_INLINE void turn_put(const int how, fn_t *y, vec v, vec by, int n) {
    if (how == ADD) v_store(y, v_fma(v, by, v_load(y)));
    else if (how == PAD) v_store(y, v * by);
    else v_put(y, v * by, n);
}
FN_INLINE void turn(const int how, fn_t *y, int64_t ldy, const fn_t *x, int64_t ldx, int64_t rows, int64_t cols, fn_t scale) {
    const vec by = v_set1(scale);
    for (int64_t i = 0; i < rows; i += FN_VL, x += FN_VL * ldx, y += FN_VL) {
        const int n = (int)least(FN_VL, rows - i);
        int64_t j = 0;
        for (; j + FN_PIECE <= cols; j += FN_PIECE) {
            vec t[FN_PIECE];
            v_load_turned(t, x + j, ldx, n);
            UNROLL for (int q = 0; q < FN_PIECE; q++) turn_put(how, y + (j + q) * ldy, t[q], by, n);
        }
        for (; j < cols; j++) {
            fn_t z[FN_VL];
            for (int r = 0; r < FN_VL; r++) z[r] = x[least(r, n - 1) * ldx + j];
            turn_put(how, y + j * ldy, v_load(z), by, n);
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
            for (int64_t c = 0; c < lanes; c += FN_VL)
                v_store(s + j * LANES + c, v_load(s + j * LANES + c) + v_set1(z[j] * (fn_t)LOG2E));
        return;
    }
    for (int64_t c = 0; c < lanes; c += FN_VL) {
        const int64_t rows = least(FN_VL, a->L - i0 - c);
        for (int64_t r = 0; r < rows; r++) mask_row(z + r * KEYS, a, at + (c + r) * a->mask_l, keys);
        turn(ADD, s + c, LANES, z, KEYS, rows, keys, (fn_t)LOG2E);
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
    return (vec)(-m_bytes(keep, FN_VL) & (mask)v_set1(scale));
}

/* ---- forward ---------------------------------------------------------------------------------------------------------- */

/* Rows of k or v as the forward product broadcasts them: copied where they crowd one set of the nearest cache */
FN_INLINE const fn_t *rows_at(const fn_t *x, int64_t *ldx, int64_t rows, int64_t cols, fn_t *own) {
    if (*ldx * SIZE % PAGE) return x;
    copy_rows(1, own, up(cols, FN_VL), x, *ldx, rows, cols);
    *ldx = up(cols, FN_VL);
    return own;
}

static int m_any(mask m) {
    int64_t any[FN_VBYTES / 8], all = 0;
    memcpy(any, &m, sizeof any);
    for (int i = 0; i < FN_VBYTES / 8; i++) all |= any[i];
    return all != 0;
}
/* Down nv vectors of queries: s becomes 2^(s - m), l grows by its sums. m, near the largest score so far, stays until one lies
 * FAR above it; then l and the Ev rows of o, which hold older sums if `more`, are multiplied by 2^(old m - new m). */
FN_INLINE void soften(const int nv, int more, fn_t *s, int64_t keys, fn_t *m, fn_t *l, fn_t *o, int64_t Ev) {
    vec most[4], sum[4], at[4];
    mask grew = {0};
    UNROLL for (int v = 0; v < nv; v++) most[v] = at[v] = v_load(m + v * FN_VL), sum[v] = v_load(l + v * FN_VL);
    for (int64_t j = 0; j < keys; j += 2)
        UNROLL for (int v = 0; v < nv; v++) {
            const fn_t *const p = s + j * LANES + v * FN_VL, *const q = j + 1 < keys ? p + LANES : p;
            most[v] = v_max(v_max(v_load(p), v_load(q)), most[v]);
        }
    UNROLL for (int v = 0; v < nv; v++) grew |= most[v] > at[v] + v_set1(FAR);
    if (m_any(grew)) {
        UNROLL for (int v = 0; v < nv; v++) {
            const vec new = v_select(most[v] > at[v] + v_set1(FAR), most[v], at[v]);
            const vec old = v_select(new == at[v], v_set1(1), v_exp2_neg(at[v] - new));
            v_store(m + v * FN_VL, new);
            sum[v] *= old, at[v] = new;
            for (int64_t e = 0; e < Ev && more; e++) v_store(o + e * LANES + v * FN_VL, v_load(o + e * LANES + v * FN_VL) * old);
        }
    }
    UNROLL for (int v = 0; v < nv; v++) at[v] = v_select(at[v] == v_set1((fn_t)-INFINITY), v_zero(), at[v]);
    for (int64_t j = 0; j < keys; j++)
        UNROLL for (int v = 0; v < nv; v++) {
            fn_t *const p = s + j * LANES + v * FN_VL;
            const vec e = v_exp2_neg(v_load(p) - at[v]);
            v_store(p, e);
            sum[v] += e;
        }
    UNROLL for (int v = 0; v < nv; v++) v_store(l + v * FN_VL, sum[v]);
}

/* Where `count` arrays of n elements lie, from base on; gives their bytes. */
static int64_t rooms(uintptr_t base, int count, const int64_t *n, fn_t **const *to) {
    int64_t bytes = 0;
    for (int i = 0; i < count; i++) *to[i] = (fn_t *)(base + (uintptr_t)bytes), bytes += room(n[i]) * SIZE;
    return bytes;
}
typedef struct {                             /* scratch of a thread */
    fn_t *qt, *s, *o, *k, *v;                /* (E, LANES), (KEYS, LANES), (Ev, LANES), (KEYS, E), (KEYS, Ev) */
    uint8_t *keep;                           /* (KEYS, DRAWS) */
} fwd_room;
static int64_t fwd_rooms(const fn_attention_args *a, uintptr_t base, fwd_room *w) {
    const int64_t E = up(a->E, FN_VL), Ev = up(a->Ev, FN_VL), n[] = {E * LANES, KEYS * LANES, Ev * LANES, KEYS * E, KEYS * Ev};
    fn_t **const to[] = {&w->qt, &w->s, &w->o, &w->k, &w->v};
    const int64_t bytes = rooms(base, 5, n, to);
    w->keep = (uint8_t *)(base + (uintptr_t)bytes);
    return bytes + up(a->drop > 0 ? KEYS * DRAWS : 0, FN_ALIGN);
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
    turn(PAD, w.qt, LANES, q + i0 * a->q_l, a->q_l, rows, E, (fn_t)(a->scale * LOG2E));
    for (int64_t j0 = 0; j0 < last; j0 += KEYS) {
        const int64_t keys = least(KEYS, last - j0), strip = a->causal && i0 + STRIP < j0 + keys ? STRIP : LANES;
        int64_t k_s = a->k_s, v_s = a->v_s;
        const fn_t *const kj = rows_at(k + j0 * k_s, &k_s, keys, E, w.k), *const vj = rows_at(v + j0 * v_s, &v_s, keys, Ev, w.v);
        for (int64_t c = 0; c < lanes; c += strip) {
            const int64_t n = least(strip, lanes - c), seen = a->causal ? least(keys, i0 + c + n - j0) : keys;
            fn_t *const s = w.s + c, *const o = w.o + c;
            if (seen <= 0) continue;
            product(ROWS, s, LANES, NULL, 0, kj, k_s, w.qt + c, LANES, E, seen, n);
            if (a->mask) add_mask(s, a, mask_at, i0 + c, n, j0, seen);
            if (a->causal) cut(s, n, seen, i0 + c - j0);
            if (a->drop > 0) draw(w.keep, a, rng, h, i0 + c, n, j0, seen);
            int64_t b = 0;
            for (; b + LANES <= n; b += LANES) soften(4, j0 > 0, s + b, seen, m + c + b, l + c + b, o + b, Ev);
            for (; b + STRIP <= n; b += STRIP) soften(2, j0 > 0, s + b, seen, m + c + b, l + c + b, o + b, Ev);
            for (; b < n; b += FN_VL) soften(1, j0 > 0, s + b, seen, m + c + b, l + c + b, o + b, Ev);
            for (int64_t j = 0; j < seen && a->drop > 0; j++)
                for (b = 0; b < n; b += FN_VL)
                    v_store(s + j * LANES + b, v_load(s + j * LANES + b) * factor(w.keep + j * DRAWS + b, more));
            product(COLUMNS, o, LANES, j0 ? o : NULL, LANES, vj, v_s, s, LANES, seen, Ev, n);
        }
    }
    for (int64_t c = 0; c < lanes; c += FN_VL) {
        const vec sum = v_load(l + c), most = v_load(m + c);
        const mask none = sum == v_zero();
        const vec each = v_select(none, v_zero(), v_set1(1) / sum);
        for (int64_t e = 0; e < Ev; e++) v_store(w.o + e * LANES + c, v_load(w.o + e * LANES + c) * each);
        if (lse) v_put(lse + h * L + i0 + c, v_select(none, v_zero(), v_fma(v_log(sum), v_set1((fn_t)LOG2E), most)), (int)least(FN_VL, rows - c));
    }
    turn(EXACT, y + i0 * a->y_l, a->y_l, w.o, LANES, Ev, rows, 1);
}

/* ---- forward of few queries --------------------------------------------------------------------------------------------- */

enum { FEW = FN_VL / 2 };

/* Rows that are worth products of their own. */
static int are_few(const fn_attention_args *a) {
    return a->L <= FEW && a->S >= FN_VL && a->S * (a->E + a->Ev) >= 512 * a->L && a->E > 0 && a->E <= FN_WHOLE_K
           && !a->causal && a->drop == 0;
}

/* s = q k' of head h, and y += p v over keys from j0 on */
static fn_gemm_args scores_of(const fn_attention_args *a, int64_t h, fn_t *s, void *work) {
    return (fn_gemm_args){.work = work, .batch = 1, .M = a->L, .N = a->S, .K = a->E, .c = s, .ldc = a->S,
                          .a = (const fn_t *)a->q + fn_at(h, a->nb, a->n, a->q_b), .a_m = a->q_l, .a_k = 1,
                          .b = (const fn_t *)a->k + fn_at(h, a->nb, a->n, a->k_b), .b_n = a->k_s, .b_k = 1};
}
static fn_gemm_args values_of(const fn_attention_args *a, int64_t h, int64_t j0, const fn_t *p, void *work) {
    return (fn_gemm_args){.work = work, .batch = 1, .M = a->L, .N = a->Ev, .K = least(FN_WHOLE_K, a->S - j0), .beta = j0 > 0,
                          .c = (fn_t *)a->y + fn_at(h, a->nb, a->n, a->y_b), .ldc = a->y_l, .a = p + j0, .a_m = a->S, .a_k = 1,
                          .b = (const fn_t *)a->v + fn_at(h, a->nb, a->n, a->v_b) + j0 * a->v_s, .b_k = a->v_s, .b_n = 1};
}
/* Bytes of a thread: of its scores, and with what the products take. */
static int64_t scores_bytes(const fn_attention_args *a) { return room(a->L * a->S) * SIZE; }
static int64_t few_bytes(const fn_attention_args *a) {
    const fn_gemm_args s = scores_of(a, 0, NULL, NULL);
    int64_t bytes = FN_NAME(gemm_rows_work)(&s);
    for (int64_t j0 = 0; j0 < a->S; j0 += FN_WHOLE_K) {
        const fn_gemm_args y = values_of(a, 0, j0, NULL, NULL);
        bytes = most(bytes, FN_NAME(gemm_rows_work)(&y));
    }
    return scores_bytes(a) + up(bytes, FN_ALIGN);
}

static void forward_few(const fn_attention_args *a, int64_t h, char *work) {
    const int64_t L = a->L, S = a->S, mask_at = a->mask ? fn_at(h, a->nb, a->n, a->mask_b) : 0;
    const vec scale = v_set1((fn_t)(a->scale * LOG2E)), log2e = v_set1((fn_t)LOG2E);
    fn_t *const s = (fn_t *)work, *const lse = a->lse;
    void *const rest = work + scores_bytes(a);
    const fn_gemm_args scores = scores_of(a, h, s, rest);
    FN_NAME(gemm_rows)(&scores, L);
    for (int64_t l = 0; l < L; l++) {
        fn_t *const p = s + l * S, z[FN_VL] = {0};
        FN_VECTORS(S, {
            if (a->mask) mask_row(z, a, mask_at + l * a->mask_l + i * a->mask_s, m);
            v_put(p + i, v_fma(v_load(z), log2e, v_get(p + i, m) * scale), m);
        });
        const fn_t most = row_max(p, S), at = most == (fn_t)-INFINITY ? 0 : most, sum = row_exp(p, p, S, at, v_exp2_neg);
        if (lse) lse[h * L + l] = sum == 0 ? 0 : (fn_t)((double)at + log2((double)sum));
        row_scale(p, S, sum == 0 ? 0 : 1 / sum);
    }
    for (int64_t j0 = 0; j0 < S; j0 += FN_WHOLE_K) {
        const fn_gemm_args values = values_of(a, h, j0, s, rest);
        FN_NAME(gemm_rows)(&values, L);
    }
}

FN_WORK(attention_fwd) {
    fwd_room w;
    return threads * (are_few(args) ? few_bytes(args) : fwd_rooms(args, 0, &w));
}
FN_KERNEL(attention_fwd) {
    const fn_attention_args *a = args;
    const int64_t blocks = over(a->L, LANES);
    uint64_t rng[2] = {0, 0};
    fwd_room w;
    if (are_few(a)) {
        char *const work = (char *)a->work + t.rank * few_bytes(a);
        fn_deal deal = fn_dealt(heads(a), t);
        for (int64_t h; (h = fn_take(&deal)) >= 0;) forward_few(a, h, work);
        return;
    }
    if (a->drop > 0) {
        rng[0] = a->rng[0], rng[1] = a->rng[1] + (uint64_t)a->offset;
        if (a->drawn && t.rank == 0) a->drawn[0] = rng[0], a->drawn[1] = rng[1];
    }
    fwd_rooms(a, (uintptr_t)a->work + (uintptr_t)(t.rank * fwd_rooms(a, 0, &w)), &w);
    fn_deal deal = fn_dealt(heads(a) * blocks, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {      /* under a diagonal, long and short blocks take turns */
        const int64_t i = u % blocks, b = !a->causal ? i : i % 2 ? blocks - 1 - i / 2 : i / 2;
        forward_block(a, rng, u / blocks, b * LANES, w);
    }
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

/* P: rounded up to whole vectors. */
typedef struct {                             /* of a head, for each block of queries */
    fn_t *qt, *gt, *lse, *delta;             /* scale q' (E, LANES), scale dy' (Ev, LANES), -lse and -scale delta (LANES) */
    fn_t *q, *g;                             /* (L, EP), (L, EvP): where q and dy do not lie so */
} head_room;
typedef struct {                             /* of a thread */
    fn_t *s, *d;                             /* (KEYS, LANES) */
    fn_t *k, *v, *dk, *dv;                   /* (KEYS, EP), (KEYS, EvP) twice */
    fn_t *dq;                                /* (L, EP), where dq does not lie so */
    uint8_t *keep;
} bwd_room;
static int64_t head_rooms(const fn_attention_args *a, uintptr_t base, head_room *w) {
    const int64_t L = up(a->L, LANES), E = up(a->E, FN_VL), Ev = up(a->Ev, FN_VL);
    const int64_t n[] = {L * E, L * Ev, L, L, are_near(a->q_l, a->E) ? 0 : L * E, are_near(a->dy_l, a->Ev) ? 0 : L * Ev};
    fn_t **const to[] = {&w->qt, &w->gt, &w->lse, &w->delta, &w->q, &w->g};
    return rooms(base, 6, n, to);
}
static int64_t bwd_rooms(const fn_attention_args *a, uintptr_t base, bwd_room *w) {
    const int64_t E = up(a->E, FN_VL), Ev = up(a->Ev, FN_VL);
    const int64_t n[] = {KEYS * LANES, KEYS * LANES, KEYS * E, KEYS * Ev, KEYS * E, KEYS * Ev, a->E == E ? 0 : a->L * E};
    fn_t **const to[] = {&w->s, &w->d, &w->k, &w->v, &w->dk, &w->dv, &w->dq};
    const int64_t bytes = rooms(base, 7, n, to);
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
    head_room head;
    bwd_room w;
    const int64_t rooms = parts_of(args) > 1 ? heads(args) : threads;
    return parts_bytes(args) + rooms * head_rooms(args, 0, &head) + threads * bwd_rooms(args, 0, &w);
}

/* s and d of `rows` keys become p f and ds. They hold the score - lse, and scale (dp - delta), or with dropout scale dp. */
FN_INLINE void slopes(fn_t *s, fn_t *d, int64_t rows, const fn_t *delta, const uint8_t *keep, fn_t more) {
    const vec mean = v_load(delta);
    for (int64_t j = 0; j < rows; j++, s += LANES, d += LANES) {
        const vec p = v_exp2_neg(v_load(s)), f = keep ? factor(keep + j * DRAWS, more) : v_set1(1);
        v_store(d, p * (keep ? v_fma(v_load(d), f, mean) : v_load(d)));
        v_store(s, keep ? p * f : p);
    }
}

/* What all blocks of keys read of queries i0 ... of head h. */
static void prepare(const fn_attention_args *a, int64_t h, int64_t i0, head_room w) {
    const int64_t L = a->L, E = a->E, Ev = a->Ev, rows = least(LANES, L - i0), q_l = a->q_l, g_l = a->dy_l;
    const fn_t *const q = (const fn_t *)a->q + fn_at(h, a->nb, a->n, a->q_b) + i0 * q_l;
    const fn_t *const g = (const fn_t *)a->dy + fn_at(h, a->nb, a->n, a->dy_b) + i0 * g_l;
    const fn_t *const y = (const fn_t *)a->y + fn_at(h, a->nb, a->n, a->y_b) + i0 * a->y_l;
    const fn_t *const lse = (const fn_t *)a->lse + h * L + i0;
    turn(PAD, w.qt + i0 * E, LANES, q, q_l, rows, E, (fn_t)(a->scale * LOG2E));
    turn(PAD, w.gt + i0 * Ev, LANES, g, g_l, rows, Ev, (fn_t)a->scale);
    if (!are_near(q_l, E)) copy_rows(1, w.q + i0 * up(E, FN_VL), up(E, FN_VL), q, q_l, rows, E);
    if (!are_near(g_l, Ev)) copy_rows(1, w.g + i0 * up(Ev, FN_VL), up(Ev, FN_VL), g, g_l, rows, Ev);
    for (int64_t i = 0; i < LANES; i += FN_VL) {
        const int64_t n = least(FN_VL, rows - i);
        fn_t z[FN_VL * FN_VL], zt[FN_VL * FN_VL];
        vec sum = v_zero();
        for (int64_t r = 0; r < n; r++) {
            vec part = v_zero();
            for (int64_t e = 0; e < Ev; e += FN_VL) {
                const int m = (int)least(FN_VL, Ev - e);
                part = v_fma(v_get(g + (i + r) * g_l + e, m), v_get(y + (i + r) * a->y_l + e, m), part);
            }
            v_store(z + r * FN_VL, part);
        }
        if (n > 0) {
            turn(PAD, zt, FN_VL, z, FN_VL, n, FN_VL, -(fn_t)a->scale);
            for (int e = 0; e < FN_VL; e++) sum += v_load(zt + e * FN_VL);
        }
        v_store(w.delta + i0 + i, sum);
        v_store(w.lse + i0 + i, n > 0 ? -v_get(lse + i, (int)n) : v_zero());
    }
}

/* c += a' b for `rows` rows of c, of which only the first `made` hold something: c is dk or dv, a d or s, b rows of q or dy. */
static void grow(fn_t *c, int64_t ldc, int64_t made, const fn_t *a, const fn_t *b, int64_t ldb, int64_t k, int64_t rows) {
    const int64_t old = least(made, rows);
    if (old) product(SCORES, c, ldc, c, ldc, a, 0, b, ldb, k, old, ldc);
    if (old < rows) product(SCORES, c + old * ldc, ldc, NULL, 0, a + old * LANES, 0, b, ldb, k, rows - old, ldc);
}

/* Blocks part, part + parts, ... of the keys of head h; dq (L, ld_dq) is made. */
static void backward_part(const fn_attention_args *a, int64_t h, int64_t part, int64_t parts, fn_t *dq, int64_t ld_dq,
                          head_room head, bwd_room w) {
    const int64_t L = a->L, S = a->S, E = a->E, Ev = a->Ev, EP = up(E, FN_VL), EvP = up(Ev, FN_VL);
    const int64_t q_l = are_near(a->q_l, E) ? E : EP, g_l = are_near(a->dy_l, Ev) ? Ev : EvP;
    const fn_t *const q = are_near(a->q_l, E) ? (const fn_t *)a->q + fn_at(h, a->nb, a->n, a->q_b) : head.q;
    const fn_t *const g = are_near(a->dy_l, Ev) ? (const fn_t *)a->dy + fn_at(h, a->nb, a->n, a->dy_b) : head.g;
    const fn_t *const k = (const fn_t *)a->k + fn_at(h, a->nb, a->n, a->k_b), *const v = (const fn_t *)a->v + fn_at(h, a->nb, a->n, a->v_b);
    const int64_t mask_at = a->mask ? fn_at(h, a->nb, a->n, a->mask_b) : 0;
    const int scores = a->dq || a->dk, near_k = are_near(a->dk_s, E), near_v = are_near(a->dv_s, Ev);
    const fn_t more = (fn_t)(1 / (1 - a->drop));
    for (int64_t i = 0; dq && a->causal && i < least(L, part * KEYS); i++) zero(dq + i * ld_dq, EP);
    for (int64_t j0 = part * KEYS; j0 < S; j0 += parts * KEYS) {
        const int64_t keys = least(KEYS, S - j0);
        int64_t k_s = a->k_s, v_s = a->v_s;
        const fn_t *const kj = near_rows(k + j0 * k_s, &k_s, keys, E, w.k), *const vj = near_rows(v + j0 * v_s, &v_s, keys, Ev, w.v);
        fn_t *const dk0 = a->dk ? (fn_t *)a->dk + fn_at(h, a->nb, a->n, a->dk_b) + j0 * a->dk_s : NULL, *const dk = near_k ? dk0 : w.dk;
        fn_t *const dv0 = a->dv ? (fn_t *)a->dv + fn_at(h, a->nb, a->n, a->dv_b) + j0 * a->dv_s : NULL, *const dv = near_v ? dv0 : w.dv;
        int64_t made = 0;                    /* rows of dk and dv that hold something */
        for (int64_t i0 = a->causal ? j0 / LANES * LANES : 0; i0 < L; i0 += LANES) {
            const int64_t rows = least(LANES, L - i0), lanes = up(rows, FN_VL), strip = a->causal && i0 + STRIP < j0 + keys ? STRIP : LANES;
            for (int64_t c = 0; c < lanes; c += strip) {
                const int64_t n = least(strip, lanes - c), i = i0 + c, some = least(n, rows - c), seen = a->causal ? least(keys, i + n - j0) : keys;
                fn_t *const s = w.s + c, *const d = w.d + c;
                if (seen <= 0) continue;
                product(ROWS, s, LANES, head.lse + i, 0, kj, k_s, head.qt + i0 * E + c, LANES, E, seen, n);
                const fn_t *const less = a->drop > 0 ? NULL : head.delta + i;
                if (scores) product(ROWS, d, LANES, less, 0, vj, v_s, head.gt + i0 * Ev + c, LANES, Ev, seen, n);
                if (a->mask) add_mask(s, a, mask_at, i, n, j0, seen);
                if (a->causal) cut(s, n, seen, i - j0);
                if (a->drop > 0) draw(w.keep, a, a->drawn, h, i, n, j0, seen);
                for (int64_t b = 0; b < n; b += FN_VL) {
                    if (a->drop > 0) slopes(s + b, d + b, seen, head.delta + i + b, w.keep + b, more);
                    else slopes(s + b, d + b, seen, head.delta + i + b, NULL, 1);
                }
                if (dv0) grow(dv, EvP, made, s, g + i * g_l, g_l, some, seen);
                if (dk0) grow(dk, EP, made, d, q + i * q_l, q_l, some, seen);
                made = made > seen ? made : seen;
                const fn_t *const so_far = j0 > part * KEYS ? dq + i * ld_dq : NULL;
                if (dq) product(COLUMNS, dq + i * ld_dq, ld_dq, so_far, ld_dq, d, LANES, kj, k_s, seen, some, EP);
            }
        }
        if (dk0) zero(dk + made * EP, (keys - made) * EP);
        if (dv0) zero(dv + made * EvP, (keys - made) * EvP);
        if (dk0 && !near_k) copy_rows(0, dk0, a->dk_s, dk, EP, keys, E);
        if (dv0 && !near_v) copy_rows(0, dv0, a->dv_s, dv, EvP, keys, Ev);
    }
}

FN_KERNEL(attention_bwd) {
    const fn_attention_args *a = args;
    const int64_t parts = parts_of(a), L = a->L, EP = up(a->E, FN_VL), B = heads(a), blocks = over(L, LANES);
    fn_t *const sums = a->work;
    head_room head;
    bwd_room w;
    int64_t lo, hi;
    /* What is prepared serves all parts of a head; where there is one, each thread prepares it for itself. */
    const int64_t head_bytes = head_rooms(a, 0, &head), heads_bytes = (parts > 1 ? B : t.size) * head_bytes;
    const uintptr_t head_at = (uintptr_t)a->work + (uintptr_t)parts_bytes(a);
    bwd_rooms(a, head_at + (uintptr_t)(heads_bytes + t.rank * bwd_rooms(a, 0, &w)), &w);
    if (parts > 1) {
        fn_share(B * blocks, 1, t, &lo, &hi);
        for (int64_t u = lo; u < hi; u++) {
            head_rooms(a, head_at + (uintptr_t)(u / blocks * head_bytes), &head);
            prepare(a, u / blocks, u % blocks * LANES, head);
        }
        fn_barrier(t);
    }
    fn_deal deal = fn_dealt(B * parts, t);
    for (int64_t u; (u = fn_take(&deal)) >= 0;) {
        fn_t *const dq = a->dq ? (fn_t *)a->dq + fn_at(u / parts, a->nb, a->n, a->dq_b) : NULL;
        head_rooms(a, head_at + (uintptr_t)((parts > 1 ? u / parts : t.rank) * head_bytes), &head);
        for (int64_t i = 0; i < L && parts == 1; i += LANES) prepare(a, u, i, head);
        if (!dq) backward_part(a, u / parts, u % parts, parts, NULL, EP, head, w);
        else if (parts > 1) backward_part(a, u / parts, u % parts, parts, sums + u * L * EP, EP, head, w);
        else if (a->E == EP) backward_part(a, u, 0, 1, dq, a->dq_l, head, w);
        else {
            backward_part(a, u, 0, 1, w.dq, EP, head, w);
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
