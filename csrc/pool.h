/* What pooling's kernels share. Over fn_pool2d_args output (p,q) has a window of R x S taps; tap (r,s) lies at h = p sh - ph + r dh,
 * w = q sw - pw + s dw. Taps outside the input are left out.
 *
 * A channels-last array is walked pixel by pixel, vectors over channels; a row-major one row by row, vectors over output columns, and
 * what lies at the border pixel by pixel as if it were an array of one channel. What is border depends on the sizes alone. Backward
 * each thread owns rows of dx and gathers from the windows that hold them. */
#ifndef FN_POOL_H
#define FN_POOL_H
#include "kernel.h"

enum { ANY, ONE, TWO };                      /* the column stride that an inner loop is made for */

/* ---- one dimension --------------------------------------------------------------------------------------- */

typedef struct { int64_t n, out, k, stride, pad, dil, adaptive, count_pad; } axis;
static axis rows_of(const fn_pool2d_args *a) { return (axis){a->H, a->P, a->R, a->sh, a->ph, a->dh, a->adaptive, a->count_pad}; }
static axis columns_of(const fn_pool2d_args *a) { return (axis){a->W, a->Q, a->S, a->sw, a->pw, a->dw, a->adaptive, a->count_pad}; }

/* The window of output p: tap 0 lies at lo, taps from..to lie inside; count is what an average divides by. */
typedef struct { int64_t lo, from, to, count; } window;
FN_INLINE window window_of(const axis *a, int64_t p) {
    if (a->adaptive) {
        const int64_t lo = p * a->n / a->out, n = ((p + 1) * a->n + a->out - 1) / a->out - lo;
        return (window){lo, 0, n, n};
    }
    const int64_t lo = p * a->stride - a->pad, room = a->n - lo;
    const int64_t from = lo >= 0 ? 0 : (-lo + a->dil - 1) / a->dil;
    int64_t to = (a->k - 1) * a->dil < room ? a->k : (room + a->dil - 1) / a->dil;
    if (to < from) to = from;
    return (window){lo, from, to, !a->count_pad ? to - from : room + a->pad < a->k ? room + a->pad : a->k};
}

/* The windows that hold an input coordinate: `at` and every hop-th after it, n of them, each `tap_hop` taps before the last.
 * count is theirs, 0 if they differ. */
typedef struct { int64_t at, n, tap, count; } holders;
typedef struct { const holders *of; int64_t hop, tap_hop; } held;
static held held_in(const axis *a, holders *of) {
    int64_t x = a->stride, y = a->dil;
    while (y) {
        const int64_t z = x % y;
        x = y, y = z;
    }
    memset(of, 0, (size_t)a->n * sizeof *of);
    for (int64_t p = 0; p < a->out; p++) {
        const window u = window_of(a, p);
        for (int64_t r = u.from; r < u.to; r++) {
            holders *const h = of + u.lo + r * a->dil;
            if (!h->n) *h = (holders){p, 0, r, u.count};
            if (h->count != u.count) h->count = 0;
            h->n++;
        }
    }
    return (held){of, a->dil / x, a->stride / x};
}
static int64_t held_bytes(const fn_pool2d_args *a, int threads) { return (a->H + a->W) * threads * (int64_t)sizeof(holders); }

/* Outputs first..end have whole windows, all of one count. */
typedef struct { int64_t first, end; } range;
static range whole_windows(const axis *a) {
    const int64_t room = a->n - 1 - (a->k - 1) * a->dil + a->pad, first = (a->pad + a->stride - 1) / a->stride;
    int64_t end = room < 0 ? 0 : room / a->stride + 1;
    if (end > a->out) end = a->out;
    return a->adaptive || first >= end ? (range){0, 0} : (range){first, end};
}
/* Inputs held by windows of r alone: a whole number of strides, from where a window begins. */
static range inputs_of(const axis *a, range r) {
    int64_t first = (a->k - 1) * a->dil - a->pad + (r.first - 1) * a->stride + 1, end = r.end * a->stride - a->pad;
    if (first < 0) first = 0;
    first = (first + a->pad + a->stride - 1) / a->stride * a->stride - a->pad;
    if (end > a->n) end -= (end - a->n + a->stride - 1) / a->stride * a->stride;
    return r.first >= r.end || first >= end ? (range){0, 0} : (range){first, end};
}

/* The planes and rows of this thread, `rows` to a plane: BODY sees plane and row. */
#define ROWS(a, rows, ...) do { \
    int64_t lo, hi; \
    fn_share((a)->N * ((a)->last ? 1 : (a)->C) * (rows), 1, t, &lo, &hi); \
    for (int64_t i = lo, plane = lo / ((rows) ? (rows) : 1), row = lo - plane * (rows); i < hi; i++) { \
        __VA_ARGS__ \
        if (++row == (rows)) row = 0, plane++; \
    } \
} while (0)

/* Do the images lie in memory? Then what comes BEYOND is fetched, row-major images being walked from end to end. */
#define BEYOND (FN_BEYOND / SIZE)
FN_INLINE int in_memory(const fn_pool2d_args *a) { return a->N * a->C * a->H * a->W * SIZE >= FN_FAR; }

/* ---- vectors --------------------------------------------------------------------------------------------- */

/* p[0], p[step], ..., m of them; nothing beyond is touched. */
FN_INLINE vec v_every(const fn_t *p, int64_t step, int m) {
#if defined(__AVX512F__)
    if (step < FN_VL) {                      /* the vectors that they lie in, one after another */
        const mask at = m_lanes() * m_set1((fn_i)step);
        const int64_t n = (m - 1) * step + 1;
        vec v = v_lanes(v_get(p, n), at);
#if FN_DT == 0
        for (int j = 1; j * FN_VL < n; j++)
            v = (vec)_mm512_mask_permutexvar_ps((__m512)v, _mm512_cmpge_epi32_mask((__m512i)at, _mm512_set1_epi32(j * FN_VL)), (__m512i)at,
                                                (__m512)v_get(p + j * FN_VL, n - j * FN_VL));
#else
        for (int j = 1; j * FN_VL < n; j++)
            v = (vec)_mm512_mask_permutexvar_pd((__m512d)v, _mm512_cmpge_epi64_mask((__m512i)at, _mm512_set1_epi64(j * FN_VL)), (__m512i)at,
                                                (__m512d)v_get(p + j * FN_VL, n - j * FN_VL));
#endif
        return v;
    }
#endif
    fn_t lane[FN_VL] = {0};
    for (int i = 0; i < m; i++) lane[i] = p[i * step];
    return v_load(lane);
}

/* Of m + m numbers, or one less if the last odd one is not there: p[0], p[2], ... and p[1], p[3], ... */
typedef struct { vec even, odd; } pair;
FN_INLINE pair v_pairs(const fn_t *p, int m, int less) {
#if defined(__AVX512F__)
    const uint32_t k = m == FN_VL ? ~0u >> (32 - 2 * FN_VL + less) : (1u << (2 * m - less)) - 1;
#if FN_DT == 0
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512 a = _mm512_maskz_loadu_ps((__mmask16)k, p), b = _mm512_maskz_loadu_ps((__mmask16)(k >> 16), p + 16);
    return (pair){(vec)_mm512_permutex2var_ps(a, even, b), (vec)_mm512_permutex2var_ps(a, odd, b)};
#else
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    const __m512d a = _mm512_maskz_loadu_pd((__mmask8)k, p), b = _mm512_maskz_loadu_pd((__mmask8)(k >> 8), p + 8);
    return (pair){(vec)_mm512_permutex2var_pd(a, even, b), (vec)_mm512_permutex2var_pd(a, odd, b)};
#endif
#else
#if defined(__AVX2__)
    if (m == FN_VL) {
        const vec a = v_load(p), b = less ? v_load_n(p + FN_VL, FN_VL - 1) : v_load(p + FN_VL);
#if FN_DT == 0
        return (pair){(vec)_mm256_permute4x64_pd((__m256d)_mm256_shuffle_ps((__m256)a, (__m256)b, 0x88), 0xd8),
                      (vec)_mm256_permute4x64_pd((__m256d)_mm256_shuffle_ps((__m256)a, (__m256)b, 0xdd), 0xd8)};
#else
        return (pair){(vec)_mm256_permute4x64_pd(_mm256_unpacklo_pd((__m256d)a, (__m256d)b), 0xd8),
                      (vec)_mm256_permute4x64_pd(_mm256_unpackhi_pd((__m256d)a, (__m256d)b), 0xd8)};
#endif
    }
#endif
    fn_t even[FN_VL] = {0}, odd[FN_VL] = {0};
    for (int i = 0; i < m; i++) even[i] = p[2 * i];
    for (int i = 0; i < m - less; i++) odd[i] = p[2 * i + 1];
    return (pair){v_load(even), v_load(odd)};
#endif
}

/* p[0] = a[0], p[1] = b[0], p[2] = a[1], ...: m of each. */
FN_INLINE void v_put_pairs(fn_t *p, vec a, vec b, int m) {
    vec low, high;
#if defined(__AVX512F__) && FN_DT == 0
    low = (vec)_mm512_permutex2var_ps((__m512)a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), (__m512)b);
    high = (vec)_mm512_permutex2var_ps((__m512)a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), (__m512)b);
#elif defined(__AVX512F__)
    low = (vec)_mm512_permutex2var_pd((__m512d)a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), (__m512d)b);
    high = (vec)_mm512_permutex2var_pd((__m512d)a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), (__m512d)b);
#elif defined(__AVX2__) && FN_DT == 0
    const __m256 x = _mm256_unpacklo_ps((__m256)a, (__m256)b), y = _mm256_unpackhi_ps((__m256)a, (__m256)b);
    low = (vec)_mm256_permute2f128_ps(x, y, 0x20), high = (vec)_mm256_permute2f128_ps(x, y, 0x31);
#elif defined(__AVX2__)
    const __m256d x = _mm256_unpacklo_pd((__m256d)a, (__m256d)b), y = _mm256_unpackhi_pd((__m256d)a, (__m256d)b);
    low = (vec)_mm256_permute2f128_pd(x, y, 0x20), high = (vec)_mm256_permute2f128_pd(x, y, 0x31);
#else
    for (int i = 0; i < FN_VL / 2; i++) {
        low[2 * i] = a[i], low[2 * i + 1] = b[i];
        high[2 * i] = a[FN_VL / 2 + i], high[2 * i + 1] = b[FN_VL / 2 + i];
    }
#endif
    if (2 * m < FN_VL) {
        v_store_n(p, low, 2 * m);
        return;
    }
    v_store(p, low);
    if (2 * m > FN_VL) v_put(p + FN_VL, high, 2 * m - FN_VL);
}
#endif
