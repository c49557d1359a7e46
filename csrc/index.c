/* Reading and writing by integer indices, and sorting; the formulas stand in args.h.
 *
 * Writers: each thread owns destinations and sees all sources in ascending order, so that of several values for one
 * place the last stays, and sums have one order, whatever the team. It owns columns of the rows where they are wide,
 * else the rows that begin in its range of the destination. */
#include "kernel.h"
#include <string.h>

#ifndef FN_INLINE
#define FN_INLINE static inline __attribute__((always_inline, unused))
#endif
#define BAD INT64_MIN            /* the place of an index out of range */

enum { READ, WRITE, ADD };
enum { PLACES = 256, LONG = 1024 };           /* worked out at a time; bytes of a row from which the next one is fetched meanwhile */

FN_INLINE int64_t product(int64_t nd, const int64_t *n) {
    int64_t all = 1;
    for (int64_t d = 0; d < nd; d++) all *= n[d];
    return all;
}

FN_INLINE fn_t plus(fn_t a, fn_t b) {
#if FN_REAL
    return a + b;
#else
    return (fn_t)((uint64_t)a + (uint64_t)b);
#endif
}

/* d[k] = or += s[k] */
FN_INLINE void move(const int op, fn_t *restrict d, int64_t ds, const fn_t *restrict s, int64_t ss, int64_t n) {
    if (op == ADD && ds == 1 && ss == 1)
        for (int64_t k = 0; k < n; k++) d[k] = plus(d[k], s[k]);
    else if (op == ADD)
        for (int64_t k = 0; k < n; k++) d[k * ds] = plus(d[k * ds], s[k * ss]);
    else if (ds == 1 && ss == 1 && n > 4) memcpy(d, s, (size_t)n * sizeof(fn_t));
    else if (ds == 1 && ss == 0) {
        const fn_t v = n ? *s : 0;
        for (int64_t k = 0; k < n; k++) d[k] = v;
    } else {
        for (int64_t k = 0; k < n; k++) d[k * ds] = s[k * ss];
    }
}

/* ---- take, put, put_add: rows ------------------------------------------------------------------------------------ */

/* at[k]: where row i + k begins in the indexed array. */
FN_APART void places(int64_t *at, const fn_index_args *a, int64_t i, int64_t count) {
    int64_t o[PLACES];
    for (int64_t k = 0; k < count; k++) at[k] = 0;
    for (int64_t d = 0; d < a->nidx; d++) {
        const int64_t *idx = a->idx[d], n = a->extent[d], step = a->step[d];
        fn_offsets(o, i, count, a->ni, a->i_n, a->i_idx[d]);
        for (int64_t k = 0; k < count; k++) {
            const int64_t j = idx[o[k]] + (idx[o[k]] < 0 ? n : 0);
            at[k] = at[k] != BAD && (uint64_t)j < (uint64_t)n ? at[k] + j * step : BAD;
        }
    }
}

/* Elements f0 to f1 of one row of J runs of L. READ: y is dense, x indexed; WRITE, ADD: the reverse. */
static void row(const int op, const fn_index_args *a, fn_t *y, const fn_t *x, int64_t J, int64_t L, int64_t f0,
                int64_t f1) {
    const int64_t last = a->nj - 1, *ys = op == READ ? a->j_dense : a->j_at, *xs = op == READ ? a->j_at : a->j_dense;
    const int64_t yl = a->nj ? ys[last] : 1, xl = a->nj ? xs[last] : 1;
    if (J == 1) {
        move(op, y + f0 * yl, yl, x + f0 * xl, xl, f1 - f0);
        return;
    }
    for (int64_t f = f0, n; f < f1; f += n) {
        const int64_t r = f / L, j = f % L;
        n = least(L - j, f1 - f);
        move(op, y + fn_at(r, last, a->j_n, ys) + j * yl, yl, x + fn_at(r, last, a->j_n, xs) + j * xl, xl, n);
    }
}

FN_KERNEL(take) {
    const fn_index_args *a = args;
    const fn_t *x = a->x;
    fn_t *y = a->y;
    const int64_t I = product(a->ni, a->i_n), R = product(a->nj, a->j_n);
    const int64_t L = a->nj ? a->j_n[a->nj - 1] : 1, J = L ? R / L : 0;
    const int64_t ahead = J == 1 && R * SIZE >= LONG && a->j_at[a->nj - 1] == 1 ? FN_BEYOND / SIZE : 0;
    static const fn_t zero = 0;
    int64_t from[PLACES], to[PLACES], lo, hi;
    fn_share(I * R, 16, t, &lo, &hi);
    if (lo >= hi) return;
    const int64_t end = (hi + R - 1) / R;
    for (int64_t i = lo / R, n; i < end; i += n) {
        n = least(PLACES, end - i);
        const int64_t more = ahead ? n - 1 : 0;
        places(from, a, i, n);
        fn_offsets(to, i, n, a->ni, a->i_n, a->i_dense);
        for (int64_t k = 0; k < n; k++) {
            const int64_t f0 = most(lo - (i + k) * R, 0), f1 = least(hi - (i + k) * R, R);
            if (k < more && from[k + 1] != BAD) fetch_lines(x + from[k + 1], least(ahead, R) * SIZE, 0);
            if (from[k] != BAD) row(READ, a, y + to[k], x + from[k], J, L, f0, f1);
            else
                for (int64_t f = f0; f < f1; f++) y[to[k] + fn_at(f, a->nj, a->j_n, a->j_dense)] = zero;
        }
    }
}

static __attribute__((noinline, noclone)) void put(const int op, const void *args, fn_team t) {
    const fn_index_args *a = args;
    const fn_t *x = a->x;
    fn_t *y = a->y;
    const int64_t I = product(a->ni, a->i_n), R = product(a->nj, a->j_n);
    const int64_t L = a->nj ? a->j_n[a->nj - 1] : 1, J = L ? R / L : 0;
    int64_t from[PLACES], to[PLACES], span = 1, f0 = 0, f1 = R, y0 = 0, y1;
    for (int64_t d = 0; d < a->nidx; d++) span += (a->extent[d] - 1) * a->step[d];
    y1 = span;
    if (R >= 16 * t.size) fn_share(R, 16, t, &f0, &f1);
    else fn_share(span, 1, t, &y0, &y1);
    if (f0 >= f1 || y0 >= y1) return;
    for (int64_t i = 0, n; i < I; i += n) {
        n = least(PLACES, I - i);
        places(to, a, i, n);
        fn_offsets(from, i, n, a->ni, a->i_n, a->i_dense);
        for (int64_t k = 0; k < n; k++) {
            if (to[k] < y0 || to[k] >= y1) continue;
            row(op, a, y + to[k], x + from[k], J, L, f0, f1);
        }
    }
}

FN_KERNEL(put) { put(WRITE, args, t); }
#if !FN_BOOLEAN
FN_KERNEL(put_add) { put(ADD, args, t); }
#endif

/* ---- gather, scatter, scatter_add: one coordinate replaced ------------------------------------------------------- */

/* READ: y[dense] = x[j step], or 0 if that is none; WRITE, ADD: the reverse, where j is from y0 to y1. */
FN_INLINE void along_one(const int op, fn_t *y, const fn_t *x, int64_t j, int64_t step, int64_t dense, int64_t extent, int64_t y0, int64_t y1) {
    if (op == READ) y[dense] = (uint64_t)j < (uint64_t)extent ? x[j * step] : 0;
    else if (j >= y0 && j < y1) y[j * step] = op == ADD ? plus(y[j * step], x[dense]) : x[dense];
}
/* P lines of K elements along `axis`. Lines never meet, so each is one thread's; if there are too few of them, the team
 * shares the places in a line that are written. */
static __attribute__((noinline, noclone)) void along(const int op, const void *args, fn_team t) {
    const fn_index_args *a = args;
    const fn_t *x = a->x;
    fn_t *y = a->y;
    const int64_t axis = a->axis, K = a->i_n[axis], *idx = a->idx[0], ks = a->i_idx[0][axis], kd = a->i_dense[axis];
    const int64_t extent = a->extent[0], step = a->step[0];
    int64_t nd = 0, n[FN_DIMS], s_idx[FN_DIMS], s_dense[FN_DIMS], s_at[FN_DIMS];
    for (int64_t d = 0; d < a->ni; d++) {
        if (d == axis) continue;
        n[nd] = a->i_n[d], s_idx[nd] = a->i_idx[0][d], s_dense[nd] = a->i_dense[d], s_at[nd] = a->j_at[d];
        nd++;
    }
    const int64_t P = product(nd, n), many = axis == a->ni - 1 && K >= 16 ? 1 : PLACES;
    int64_t p0 = 0, p1 = P, k0 = 0, k1 = K, y0 = 0, y1 = extent, i_p[PLACES], d_p[PLACES], at_p[PLACES];
    if (P >= t.size) fn_share(P, 1, t, &p0, &p1);
    else if (op == READ) fn_share(K, 16, t, &k0, &k1);
    else fn_share(extent, 1, t, &y0, &y1);
    for (int64_t p = p0, c; p < p1; p += c) {
        c = least(many, p1 - p);
        fn_offsets(i_p, p, c, nd, n, s_idx);
        fn_offsets(d_p, p, c, nd, n, s_dense);
        fn_offsets(at_p, p, c, nd, n, s_at);
        for (int64_t q = 0; q < c && op != READ; q++) {
            const int64_t dense = d_p[q];
            d_p[q] = at_p[q], at_p[q] = dense;           /* where y begins, and where x does */
        }
        if (many == 1 && op == READ && ks == 1 && kd == 1 && step == 1)
            for (int64_t k = k0; k < k1; k++) along_one(READ, y + *d_p, x + *at_p, idx[*i_p + k], 1, k, extent, y0, y1);
        else if (many == 1)
            for (int64_t k = k0; k < k1; k++) along_one(op, y + *d_p, x + *at_p, idx[*i_p + k * ks], step, k * kd, extent, y0, y1);
        else
            for (int64_t k = k0; k < k1; k++)
                for (int64_t q = 0; q < c; q++)
                    along_one(op, y + d_p[q], x + at_p[q], idx[i_p[q] + k * ks], step, k * kd, extent, y0, y1);
    }
}

FN_KERNEL(gather) { along(READ, args, t); }
FN_KERNEL(scatter) { along(WRITE, args, t); }
#if !FN_BOOLEAN
FN_KERNEL(scatter_add) { along(ADD, args, t); }

/* ---- sort, and the first of a row: stable, by radix, the byte of least weight first ------------------------------ */

#if FN_DT == 1 || FN_DT == 2
typedef uint64_t rank_t;         /* ascends as the values do; NaN is the greatest, and -0 equals 0 */
#define TOP ((rank_t)1 << 63)
#else
typedef uint32_t rank_t;
#define TOP ((rank_t)1 << 31)
#endif
enum { BYTES = FN_DT == 4 ? 1 : sizeof(rank_t), INSERT = 64, LOOK = 16 };

FN_INLINE rank_t rank_of(fn_t x) {
#if FN_REAL
    rank_t bits = 0;
    if (x != x) return ~bits;
    if (x != 0) memcpy(&bits, &x, sizeof bits);
    return bits & TOP ? ~bits : bits | TOP;
#elif FN_DT == 4
    return x;
#else
    return (rank_t)x ^ TOP;
#endif
}

/* The n ranks r ascending, and `order` with them; both have n elements of space behind them. Returns where the result stands: 0 or n. */
static int64_t sorted(rank_t *r, int64_t *order, int64_t n) {
    if (n <= INSERT) {
        for (int64_t i = 1; i < n; i++) {
            const rank_t v = r[i];
            const int64_t o = order[i];
            int64_t j = i;
            for (; j > 0 && r[j - 1] > v; j--) r[j] = r[j - 1], order[j] = order[j - 1];
            r[j] = v, order[j] = o;
        }
        return 0;
    }
    int64_t begin[BYTES][256] = {{0}};
    for (int64_t i = 0; i < n; i++)
        for (int b = 0; b < BYTES; b++) begin[b][r[i] >> 8 * b & 255]++;
    int64_t from = 0;
    for (int b = 0; b < BYTES; b++) {
        int64_t *at = begin[b], sum = 0;
        if (at[r[from] >> 8 * b & 255] == n) continue;
        for (int v = 0; v < 256; v++) sum += at[v], at[v] = sum - at[v];
        for (int64_t i = from; i < from + n; i++) {
            const int64_t k = at[r[i] >> 8 * b & 255]++ + n - from;
            r[k] = r[i], order[k] = order[i];
        }
        from = n - from;
    }
    return from;
}

/* Candidates for the first k of a row that there is room for. */
static int64_t room_of(const fn_index_args *a) { return least(a->i_n[1], a->i_n[2] + most(a->i_n[2], 2 * LOOK)); }

/* Where the first k of the n elements of x lie, ranks being xored with `flip`. Of the candidates that there is room for the first k stay, and
 * then only what comes before the last of them is one. */
static const int64_t *first_of(const fn_t *x, int64_t n, int64_t k, rank_t flip, rank_t *r, int64_t *order, int64_t room) {
    int64_t have = k < LOOK ? least(n, k + LOOK) : room, i = have;
    for (int64_t j = 0; j < have; j++) r[j] = rank_of(x[j]) ^ flip, order[j] = j;
    for (;;) {
        const int64_t at = sorted(r, order, have);
        if (i == n) return order + at;
        for (int64_t j = 0; at && j < k; j++) r[j] = r[at + j], order[j] = order[at + j];
        const rank_t last = r[k - 1];
        for (have = k; i < n && have + LOOK <= room; i += LOOK) {
            rank_t v[LOOK];
            const int64_t c = least(n - i, LOOK);
            int some = 0;
            if (c == LOOK) for (int j = 0; j < LOOK; j++) v[j] = rank_of(x[i + j]) ^ flip, some |= v[j] < last;
            else for (int64_t j = 0; j < c; j++) v[j] = rank_of(x[i + j]) ^ flip, some |= v[j] < last;
            for (int64_t j = 0; some && j < c; j++) r[have] = v[j], order[have] = i + j, have += v[j] < last;
        }
        i = least(i, n);
    }
}

FN_KERNEL(sort) {
    const fn_index_args *a = args;
    const int64_t n = a->i_n[1], k = a->i_n[2], room = room_of(a);
    const rank_t flip = a->flag ? ~(rank_t)0 : 0;
    int64_t *order = (int64_t *)a->work + 2 * room * t.rank, lo, hi;
    rank_t *r = (rank_t *)((int64_t *)a->work + 2 * room * t.size) + 2 * room * t.rank;
    fn_share(a->i_n[0], 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        const fn_t *x = (const fn_t *)a->x + i * n;
        fn_t *y = (fn_t *)a->y + i * k;
        const int64_t *got = first_of(x, n, k, flip, r, order, room);
        for (int64_t j = 0; j < k; j++) y[j] = x[got[j]];
        memcpy(a->order + i * k, got, (size_t)k * sizeof *got);
    }
}

FN_WORK(sort) { return 2 * room_of(args) * threads * (int64_t)(sizeof(int64_t) + sizeof(rank_t)); }
#endif

/* ---- nonzero ----------------------------------------------------------------------------------------------------- */

FN_KERNEL(nonzero) {
    const fn_index_args *a = args;
    const fn_t *x = a->x;
    const int64_t ni = a->ni, L = ni ? a->i_n[ni - 1] : 1, lines = ni ? product(ni - 1, a->i_n) : 1;
    int64_t *y = a->y, count = 0, c[FN_DIMS];
    if (t.rank) return;
    if (!y) {
        for (int64_t i = 0, end; i < lines * L; i = end) {
            uint8_t some = 0;                /* in bytes, which many lanes of a vector have room for */
            for (end = least(i + 128, lines * L); i < end; i++) some += x[i] != 0;
            count += some;
        }
        a->order[0] = count;
        return;
    }
    const int64_t *const end = y + a->order[0] * ni;
    for (int64_t p = 0; p < lines; p++, x += L) {
        int64_t rest = p;
        for (int64_t d = ni - 2; d >= 0; d--) c[d] = rest % a->i_n[d], rest /= a->i_n[d];
        for (int64_t k = 0; k < L && y < end; k++) {         /* written before it is known whether they stay: no branch to guess */
            for (int64_t d = 0; d < ni - 1; d++) y[d] = c[d];
            y[ni - 1] = k;
            y += ni & -(int64_t)(x[k] != 0);
        }
    }
}
