/* Copy with conversion, fill, arange.  y[i] = (type of y) x[i] over any strides. */
#include "elem.h"
#if FN_REAL
#include "simd.h"
#endif

/* ---- conversion: reals to integers round to zero, and give the least integer where they do not fit (u8: 0) ------ */

#define FITS_I64(x) ((x) >= -0x1p63f && (x) < 0x1p63f)
#define FITS_I32(x) ((x) >= -0x1p31f && (x) < 0x1p31f)
#if FN_BOOLEAN
#define OF_REAL(x) ((x) != 0)
#define OF_INT(x) ((x) != 0)
#elif FN_REAL
#define OF_REAL(x) ((fn_t)(x))
#define OF_INT(x) ((fn_t)(x))
#elif FN_DT == 2
#define OF_REAL(x) (FITS_I64(x) ? (int64_t)(x) : INT64_MIN)
#define OF_INT(x) ((fn_t)(x))
#elif FN_DT == 3
#define OF_REAL(x) (FITS_I32(x) ? (int32_t)(x) : INT32_MIN)
#define OF_INT(x) ((fn_t)(x))
#else
#define OF_REAL(x) ((uint8_t)(FITS_I32(x) ? (int32_t)(x) : 0))
#define OF_INT(x) ((fn_t)(x))
#endif

#define CONVERT(type, x_t, f) \
    static void from_##type(const void *args, int64_t n, void *const *at) { \
        fn_t *const y = at[0]; \
        const x_t *const x = at[1]; \
        (void)args; \
        ELEM_APART for (int64_t i = 0; i < n; i++) y[i] = f(x[i]); \
    }
CONVERT(f32, float, OF_REAL)
CONVERT(f64, double, OF_REAL)
CONVERT(i64, int64_t, OF_INT)
CONVERT(i32, int32_t, OF_INT)
CONVERT(u8, uint8_t, OF_INT)

/* ---- transposition: x is dense along dimension d, y along the last one ------------------------------------------ */

enum { TILE = 1024 };            /* elements; x and y of one tile stay in the first-level cache */

/* y[i*ys + j] = x[i + j*xs], i < h, j < w */
FN_INLINE void transpose_plain(fn_t *y, int64_t ys, const fn_t *x, int64_t xs, int64_t h, int64_t w) {
    for (int64_t i = 0; i < h; i++)
        for (int64_t j = 0; j < w; j++) y[i * ys + j] = x[i + j * xs];
}

#if FN_DT == 0 || FN_DT == 3
typedef fn_t quad __attribute__((vector_size(16)));
typedef fn_t quad_u __attribute__((vector_size(16), aligned(sizeof(fn_t)), may_alias));

/* 4 x 4 in registers */
FN_INLINE void transpose_quad(fn_t *y, int64_t ys, const fn_t *x, int64_t xs) {
    const quad a = *(const quad_u *)x, b = *(const quad_u *)(x + xs);
    const quad c = *(const quad_u *)(x + 2 * xs), d = *(const quad_u *)(x + 3 * xs);
    const quad ab = {a[0], b[0], a[1], b[1]}, AB = {a[2], b[2], a[3], b[3]};
    const quad cd = {c[0], d[0], c[1], d[1]}, CD = {c[2], d[2], c[3], d[3]};
    *(quad_u *)y = (quad){ab[0], ab[1], cd[0], cd[1]};
    *(quad_u *)(y + ys) = (quad){ab[2], ab[3], cd[2], cd[3]};
    *(quad_u *)(y + 2 * ys) = (quad){AB[0], AB[1], CD[0], CD[1]};
    *(quad_u *)(y + 3 * ys) = (quad){AB[2], AB[3], CD[2], CD[3]};
}

static void transpose_small(fn_t *y, int64_t ys, const fn_t *x, int64_t xs, int64_t h, int64_t w) {
    const int64_t h4 = h & ~3, w4 = w & ~3;
    for (int64_t i = 0; i < h4; i += 4)
        for (int64_t j = 0; j < w4; j += 4) transpose_quad(y + i * ys + j, ys, x + i + j * xs, xs);
    transpose_plain(y + w4, ys, x + w4 * xs, xs, h4, w - w4);
    transpose_plain(y + h4 * ys, ys, x + h4, xs, h - h4, w);
}
#else
#define transpose_small transpose_plain
#endif

/* Squares of a vector's lanes; the last ones in a row or column begin early. Rows of x may meet in few sets of a cache: what one line of
 * each holds is read before the next. */
static void transpose_tile(fn_t *y, int64_t ys, const fn_t *x, int64_t xs, int64_t h, int64_t w) {
#if FN_REAL
    enum { LINE = 64 / SIZE };
    if (h >= FN_VL && w >= FN_VL) {
        for (int64_t line = 0; line < h; line += LINE)
            for (int64_t j = 0; j < w; j += FN_VL)
                for (int64_t i = line; i < least(line + LINE, h); i += FN_VL) {
                    const int64_t from = least(i, h - FN_VL), to = least(j, w - FN_VL);
                    vec v[FN_VL];
                    UNROLL for (int k = 0; k < FN_VL; k++) v[k] = v_load(x + from + (to + k) * xs);
                    v_transpose(v);
                    UNROLL for (int k = 0; k < FN_VL; k++) v_store(y + (from + k) * ys + to, v[k]);
                }
        return;
    }
#endif
    transpose_small(y, ys, x, xs, h, w);
}

static void transpose(const fn_copy_args *p, int64_t d, fn_team t) {
    const int64_t ndim = p->ndim, last = ndim - 1, ys = p->y_s[d], xs = p->x_s[last], H = p->n[d], W = p->n[last];
    int64_t th = 32, tw = 32, tiles[FN_DIMS], at[FN_DIMS], lo, hi;
    if (H < th) th = H, tw = TILE / H;
    else if (W < tw) tw = W, th = TILE / W;
    for (int64_t k = 0; k < ndim; k++) tiles[k] = k == d ? (H + th - 1) / th : k == last ? (W + tw - 1) / tw : p->n[k];
    const int far = elem_count(ndim, p->n) * SIZE >= FN_FAR;
    fn_share(elem_count(ndim, tiles), 1, t, &lo, &hi);
    fn_t *next_y = 0;
    const fn_t *next_x = 0;
    int64_t next_h = 0, next_w = 0;
    for (int64_t i = lo; i <= hi; i++) {
        fn_t *const y = next_y;
        const fn_t *const x = next_x;
        const int64_t h = next_h, w = next_w;
        if (i < hi) {
            elem_at(i, ndim, tiles, at);
            at[d] *= th, at[last] *= tw;
            next_h = H - at[d] < th ? H - at[d] : th, next_w = W - at[last] < tw ? W - at[last] : tw;
            next_y = (fn_t *)p->y + elem_offset(ndim, at, p->y_s), next_x = (const fn_t *)p->x + elem_offset(ndim, at, p->x_s);
            for (int64_t j = 0; j < next_w && far; j++) fetch_lines(next_x + j * xs, next_h * SIZE, 0);
            for (int64_t j = 0; j < next_h && far; j++) fetch_lines(next_y + j * ys, next_w * SIZE, 1);
        }
        if (i == lo) continue;
        if (w == 3 && ys == 3) transpose_plain(y, 3, x, xs, h, 3);           /* planes to pixels */
        else if (h == 3 && xs == 3) transpose_plain(y, ys, x, 3, 3, w);      /* and back */
        else transpose_tile(y, ys, x, xs, h, w);
    }
}

/* The dimension along which x is dense where y is not, or -1. */
static int64_t transposed(const fn_copy_args *p) {
    const int64_t last = p->ndim - 1;
    if (p->y_s[last] == 1 && p->x_s[last] > 1 && p->n[last] > 1)
        for (int64_t d = 0; d < last; d++)
            if (p->x_s[d] == 1 && p->n[d] > 1) return d;
    return -1;
}

/* ---- copy ------------------------------------------------------------------------------------------------------- */

FN_KERNEL(copy) {
    static const elem_body from[] = {from_f32, from_f64, from_i64, from_i32, from_u8, from_u8};
    static const int sizes[] = {4, 8, 8, 4, 1, 1};
    const fn_copy_args *p = args;
    const elem_side e[] = {{p->y, p->y_s, sizeof(fn_t)}, {(char *)p->x, p->x_s, sizes[p->x_dtype]}};
    int64_t lo, hi, at[FN_DIMS], d;
    if (p->x_dtype != FN_DT && !(FN_DT == FN_U8 && p->x_dtype == FN_BOOL)) {
        elem_walk(&(elem_space){p->ndim, p->n, e, 2, from[p->x_dtype], p}, t);
        return;
    }
    if (p->y == p->x) return;
    if ((d = transposed(p)) >= 0) {
        transpose(p, d, t);
        return;
    }
    fn_share(elem_count(p->ndim, p->n), FN_ALIGN, t, &lo, &hi);
    if (lo == hi) return;
    if (elem_dense(p->ndim, p->n, p->y_s) && elem_dense(p->ndim, p->n, p->x_s)) {
        memcpy((fn_t *)p->y + lo, (const fn_t *)p->x + lo, (size_t)(hi - lo) * sizeof(fn_t));
    } else {
        elem_at(lo, p->ndim, p->n, at);
        elem_copy(e[0], e[1], p->ndim, p->n, at, hi - lo);
    }
}

/* ---- fill, arange ----------------------------------------------------------------------------------------------- */

FN_KERNEL(fill) {
    static const int64_t zero[FN_DIMS];
    const fn_copy_args *p = args;
    fn_t value = FN_REAL ? (fn_t)p->s : (fn_t)p->k;
    const elem_side y = {p->y, p->y_s, sizeof value}, x = {(char *)&value, zero, sizeof value};
    int64_t lo, hi, at[FN_DIMS];
    fn_share(elem_count(p->ndim, p->n), FN_ALIGN, t, &lo, &hi);
    if (lo == hi) return;
    elem_at(lo, p->ndim, p->n, at);
    elem_copy(y, x, p->ndim, p->n, at, hi - lo);
}

#if !FN_BOOLEAN
/* Reals step in double, as wide as int64 goes exactly; integers wrap. */
FN_KERNEL(arange) {
    const fn_copy_args *p = args;
    fn_t *const y = p->y;
    int64_t lo, hi;
    fn_share(p->n[0], FN_ALIGN, t, &lo, &hi);
#if FN_REAL
    const double start = p->s, step = p->s2;
    for (int64_t i = lo; i < hi; i++) y[i * p->y_s[0]] = (fn_t)(start + (double)i * step);
#else
    const uint64_t start = (uint64_t)p->k, step = (uint64_t)p->k2;
    for (int64_t i = lo; i < hi; i++) y[i * p->y_s[0]] = (fn_t)(start + (uint64_t)i * step);
#endif
}
#endif
