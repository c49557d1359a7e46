/* The vector of FN_VL reals and its operations, over GCC vector extensions; an intrinsic only where those have no word.
 *
 * v_ is a vector of reals, m_ a mask: integers of the same width, all ones or all zeros. Included by kernel.h. */
#ifndef FN_SIMD_H
#define FN_SIMD_H
#include "intrin.h"
#include <string.h>

#if defined(__AVX512F__)
#define FN_VBYTES 64
#elif defined(__AVX2__)
#define FN_VBYTES 32
#else
#define FN_VBYTES 16
#endif

#if FN_DT == 0
typedef int32_t fn_i;
#else
typedef int64_t fn_i;
#endif
#define FN_VL ((int)(FN_VBYTES / sizeof(fn_t)))

typedef fn_t vec __attribute__((vector_size(FN_VBYTES)));
typedef fn_i mask __attribute__((vector_size(FN_VBYTES)));
/* Memory of NumPy's is aligned to the element alone. */
typedef fn_t vec_u __attribute__((vector_size(FN_VBYTES), aligned(sizeof(fn_t)), may_alias));

FN_INLINE vec v_set1(fn_t s) { return s - (vec){0}; }                 /* keeps -0.0, which 0 + s would not */
FN_INLINE vec v_zero(void) { return (vec){0}; }
FN_INLINE mask m_set1(fn_i s) { return (mask){0} + s; }
static const fn_i FN_LANE[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
FN_INLINE mask m_lanes(void) {                                        /* 0, 1, 2, ... */
    mask lane;
    memcpy(&lane, FN_LANE, sizeof lane);
    return lane;
}
FN_INLINE vec v_load(const fn_t *p) { return *(const vec_u *)p; }
FN_INLINE void v_store(fn_t *p, vec v) { *(vec_u *)p = v; }

/* Lanes n and up (1 <= n < FN_VL): loads give zero and touch no memory, stores leave memory alone. */
#if defined(__AVX512F__)
#if FN_DT == 0
FN_INLINE vec v_load_n(const fn_t *p, int n) { return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
FN_INLINE void v_store_n(fn_t *p, vec v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
#else
FN_INLINE vec v_load_n(const fn_t *p, int n) { return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p); }
FN_INLINE void v_store_n(fn_t *p, vec v, int n) { _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v); }
#endif
#elif defined(__AVX2__)
#if FN_DT == 0
FN_INLINE __m256i fn_lanes(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
FN_INLINE vec v_load_n(const fn_t *p, int n) { return (vec)_mm256_maskload_ps(p, fn_lanes(n)); }
FN_INLINE void v_store_n(fn_t *p, vec v, int n) { _mm256_maskstore_ps(p, fn_lanes(n), (__m256)v); }
#else
FN_INLINE __m256i fn_lanes(int n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)); }
FN_INLINE vec v_load_n(const fn_t *p, int n) { return (vec)_mm256_maskload_pd(p, fn_lanes(n)); }
FN_INLINE void v_store_n(fn_t *p, vec v, int n) { _mm256_maskstore_pd(p, fn_lanes(n), (__m256d)v); }
#endif
#else
FN_INLINE vec v_load_n(const fn_t *p, int n) {
    vec v = v_zero();
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
FN_INLINE void v_store_n(fn_t *p, vec v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
#endif

/* The same for any n >= 1, or any at all: from FN_VL on, the whole vector. */
FN_INLINE vec v_get(const fn_t *p, int64_t n) { return n >= FN_VL ? v_load(p) : v_load_n(p, (int)n); }
FN_INLINE vec v_get_any(const fn_t *p, int64_t n) { return n < 1 ? v_zero() : v_get(p, n); }
FN_INLINE void v_put(fn_t *p, vec v, int64_t n) {
    if (n >= FN_VL) v_store(p, v);
    else v_store_n(p, v, (int)n);
}

/* Vectors of m lanes from i on, up to n: the body stands twice, first with m a constant, then for what is left. */
#define FN_VECTORS(n, ...) do { \
    int64_t i = 0; \
    for (; i + FN_VL <= (n); i += FN_VL) { const int m = FN_VL; __VA_ARGS__ } \
    if (i < (n)) { const int m = (int)((n) - i); __VA_ARGS__ } \
} while (0)

/* The same for a body that may do a number twice: where there are FN_VL or more, the last vector begins earlier and is whole. */
#define FN_COVER(n, ...) do { \
    const int64_t fn_n = n; \
    for (int64_t i = 0, fn_next; i + FN_VL <= fn_n; i = fn_next) { \
        const int m = FN_VL; \
        fn_next = i + 2 * FN_VL > fn_n && i + FN_VL < fn_n ? fn_n - FN_VL : i + FN_VL; \
        __VA_ARGS__ \
    } \
    if (fn_n > 0 && fn_n < FN_VL) { const int64_t i = 0; const int m = (int)fn_n; __VA_ARGS__ } \
} while (0)

/* a b + c, rounded once where the machine can. Spelt out, because of a b + c d the compiler contracts now the one product,
 * now the other. */
FN_INLINE vec v_fma(vec a, vec b, vec c) {
#if defined(__AVX512F__)
    return FN_DT == 0 ? (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c) : (vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__)
    return FN_DT == 0 ? (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c) : (vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return FN_DT == 0 ? (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b) : (vec)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;                                                  /* there is nothing to contract to */
#endif
}
FN_INLINE vec v_select(mask m, vec a, vec b) { return (vec)((m & (mask)a) | (~m & (mask)b)); }
FN_INLINE vec v_relu(vec a) { return v_select(a <= v_zero(), v_zero(), a); }      /* never -0.0; NaN stays */
FN_INLINE mask m_nan(vec a) { return a != a; }
/* Lane l is lane i[l] of a, of which the lowest bits count where there is such an instruction; elsewhere it is one of them. */
FN_INLINE vec v_lanes(vec a, mask i) {
#if defined(__AVX512F__)
    return FN_DT == 0 ? (vec)_mm512_permutexvar_ps((__m512i)i, (__m512)a) : (vec)_mm512_permutexvar_pd((__m512i)i, (__m512d)a);
#elif defined(__AVX2__) && FN_DT == 0
    return (vec)_mm256_permutevar8x32_ps((__m256)a, (__m256i)i);
#elif defined(__AVX2__)
    return (vec)_mm256_permutevar8x32_ps((__m256)a, (__m256i)(i * m_set1(0x200000002) + m_set1(0x100000000)));
#elif defined(__aarch64__) && FN_DT == 0
    return (vec)vqtbl1q_u8((uint8x16_t)a, (uint8x16_t)(i * m_set1(0x04040404) + m_set1(0x03020100)));
#elif defined(__aarch64__)
    return (vec)vqtbl1q_u8((uint8x16_t)a, (uint8x16_t)(i * m_set1(0x0808080808080808) + m_set1(0x0706050403020100)));
#else
    vec v = a;
    for (int l = 0; l < FN_VL; l++) v[l] = a[i[l]];
    return v;
#endif
}
FN_INLINE int v_any_nan(vec a) {
#if defined(__AVX512F__)
    return FN_DT == 0 ? _mm512_cmpunord_ps_mask((__m512)a, (__m512)a) != 0 : _mm512_cmpunord_pd_mask((__m512d)a, (__m512d)a) != 0;
#elif defined(__AVX2__)
    return FN_DT == 0 ? _mm256_movemask_ps((__m256)m_nan(a)) != 0 : _mm256_movemask_pd((__m256d)m_nan(a)) != 0;
#else
    int any = 0;
    for (int i = 0; i < FN_VL; i++) any |= a[i] != a[i];
    return any;
#endif
}
/* Ordinary minimum and maximum: b where either is NaN, as the instructions have it. */
#if defined(__AVX512F__) && FN_DT == 0
FN_INLINE vec v_max(vec a, vec b) { return (vec)_mm512_max_ps((__m512)a, (__m512)b); }
FN_INLINE vec v_min(vec a, vec b) { return (vec)_mm512_min_ps((__m512)a, (__m512)b); }
/* The bits of the instruction, which takes as long as a division and the same unit: from an estimate of 14 bits by multiply-adds, of
 * numbers from 2^-100 on, of which nothing on the way underflows, and of zeros. */
FN_INLINE vec v_sqrt(vec a) {
    const __m512i bits = (__m512i)a, from = _mm512_set1_epi32(27 << 23), span = _mm512_set1_epi32((255 - 27) << 23);
    const __mmask16 in = _mm512_cmplt_epu32_mask(_mm512_sub_epi32(bits, from), span);
    if (in != _mm512_test_epi32_mask(bits, bits)) return (vec)_mm512_sqrt_ps((__m512)a);
    const vec half = v_set1((fn_t)0.5), r = (vec)_mm512_maskz_rsqrt14_ps(in, (__m512)a), s = a * r, h = half * r;
    const vec e = v_fma(-s, h, half), s1 = v_fma(s, e, s), h1 = v_fma(h, e, h);
    return v_fma(v_fma(-s1, s1, a), h1, s1);
}
#elif defined(__AVX512F__)
FN_INLINE vec v_max(vec a, vec b) { return (vec)_mm512_max_pd((__m512d)a, (__m512d)b); }
FN_INLINE vec v_min(vec a, vec b) { return (vec)_mm512_min_pd((__m512d)a, (__m512d)b); }
FN_INLINE vec v_sqrt(vec a) { return (vec)_mm512_sqrt_pd((__m512d)a); }
#elif defined(__AVX2__) && FN_DT == 0
FN_INLINE vec v_max(vec a, vec b) { return (vec)_mm256_max_ps((__m256)a, (__m256)b); }
FN_INLINE vec v_min(vec a, vec b) { return (vec)_mm256_min_ps((__m256)a, (__m256)b); }
FN_INLINE vec v_sqrt(vec a) { return (vec)_mm256_sqrt_ps((__m256)a); }
#elif defined(__AVX2__)
FN_INLINE vec v_max(vec a, vec b) { return (vec)_mm256_max_pd((__m256d)a, (__m256d)b); }
FN_INLINE vec v_min(vec a, vec b) { return (vec)_mm256_min_pd((__m256d)a, (__m256d)b); }
FN_INLINE vec v_sqrt(vec a) { return (vec)_mm256_sqrt_pd((__m256d)a); }
#else
FN_INLINE vec v_max(vec a, vec b) { return v_select(a > b, a, b); }
FN_INLINE vec v_min(vec a, vec b) { return v_select(a < b, a, b); }
FN_INLINE vec v_sqrt(vec a) {
    for (int i = 0; i < FN_VL; i++) a[i] = FN_DT == 0 ? (fn_t)sqrtf((float)a[i]) : (fn_t)sqrt((double)a[i]);
    return a;
}
#endif
FN_INLINE vec v_abs(vec a) { return (vec)((mask)a & ~(mask)v_set1((fn_t)-0.0)); }

/* Bytes as lanes of integers, and back. A compiler's own conversion goes lane by lane. */
FN_INLINE mask m_bytes(const uint8_t *p, int m) {
#if defined(__AVX512F__)
    const __m128i b = m == FN_VL && FN_DT == 0 ? _mm_loadu_si128((const __m128i *)p) : _mm_maskz_loadu_epi8((__mmask16)((1u << m) - 1), p);
    return (mask)(FN_DT == 0 ? _mm512_cvtepu8_epi32(b) : _mm512_cvtepu8_epi64(b));
#elif defined(__AVX2__)
    uint8_t b[8] = {0};
    if (m == FN_VL) memcpy(b, p, FN_VL);
    else for (int i = 0; i < m; i++) b[i] = p[i];
    const __m128i v = _mm_loadl_epi64((const __m128i *)b);
    return (mask)(FN_DT == 0 ? _mm256_cvtepu8_epi32(v) : _mm256_cvtepu8_epi64(v));
#else
    mask v = {0};
    for (int i = 0; i < m; i++) v[i] = p[i];
    return v;
#endif
}
FN_INLINE void m_put_bytes(uint8_t *p, mask v, int m) {
#if defined(__AVX512F__)
    const __m128i b = FN_DT == 0 ? _mm512_cvtepi32_epi8((__m512i)v) : _mm512_cvtepi64_epi8((__m512i)v);
    if (m == FN_VL && FN_DT == 0) _mm_storeu_si128((__m128i *)p, b);
    else _mm_mask_storeu_epi8(p, (__mmask16)((1u << m) - 1), b);
#elif defined(__AVX2__)
    const __m256i low = FN_DT == 0 ? _mm256_setr_epi32(0x0c080400, -1, -1, -1, -1, 0x0c080400, -1, -1)
                                   : _mm256_setr_epi32((int)0xffff0800, -1, -1, -1, (int)0x0800ffff, -1, -1, -1);
    const __m256i each = _mm256_shuffle_epi8((__m256i)v, low);
    const uint64_t b = (uint64_t)_mm_cvtsi128_si64(_mm_or_si128(_mm256_castsi256_si128(each), _mm256_extracti128_si256(each, 1)));
    if (m == FN_VL) memcpy(p, &b, FN_VL);
    else for (int i = 0; i < m; i++) p[i] = (uint8_t)(b >> 8 * i);
#else
    for (int i = 0; i < m; i++) p[i] = (uint8_t)v[i];
#endif
}

/* Sum and largest of the lanes, in halves: always the same tree. Of a NaN and a number v_most takes the one or the other. */
typedef fn_t fn_v16 __attribute__((vector_size(16)));
typedef fn_i fn_m16 __attribute__((vector_size(16)));
#if FN_VBYTES > 16
typedef fn_t fn_v32 __attribute__((vector_size(32)));
typedef fn_i fn_m32 __attribute__((vector_size(32)));
#endif
FN_INLINE fn_t v_sum(vec a) {
    fn_v16 q[2];
#if FN_VBYTES == 64
    fn_v32 h[2];
    memcpy(h, &a, sizeof h);
    h[0] += h[1];
    memcpy(q, &h[0], sizeof q);
    q[0] += q[1];
#elif FN_VBYTES == 32
    memcpy(q, &a, sizeof q);
    q[0] += q[1];
#else
    q[0] = a;
#endif
    return FN_DT == 0 ? (q[0][0] + q[0][2 % (16 / sizeof(fn_t))]) + (q[0][1] + q[0][3 % (16 / sizeof(fn_t))]) : q[0][0] + q[0][1];
}
FN_INLINE fn_t fn_more(fn_t a, fn_t b) { return a > b ? a : b; }
FN_INLINE fn_t v_most(vec a) {
    fn_v16 q[2];
#if FN_VBYTES == 64
    fn_v32 h[2];
    memcpy(h, &a, sizeof h);
    const fn_m32 more = h[0] > h[1];
    h[0] = (fn_v32)((more & (fn_m32)h[0]) | (~more & (fn_m32)h[1]));
    memcpy(q, &h[0], sizeof q);
#elif FN_VBYTES == 32
    memcpy(q, &a, sizeof q);
#else
    q[0] = q[1] = a;
#endif
    const fn_m16 m = q[0] > q[1];
    q[0] = (fn_v16)((m & (fn_m16)q[0]) | (~m & (fn_m16)q[1]));
    return fn_more(fn_more(q[0][0], q[0][2 % (16 / sizeof(fn_t))]), fn_more(q[0][1], q[0][3 % (16 / sizeof(fn_t))]));
}

/* The FN_PIECES 16-byte pieces at p, p + step, p + 2 step, ... side by side. */
#define FN_PIECE (16 / (int)sizeof(fn_t))
#define FN_PIECES (FN_VBYTES / 16)
FN_INLINE vec v_pieces(const fn_t *p, int64_t step) {
#if defined(__AVX512F__)
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps((const float *)p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(p + step)), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps((const float *)(p + 2 * step)), 2);
    return (vec)_mm512_insertf32x4(v, _mm_loadu_ps((const float *)(p + 3 * step)), 3);
#elif defined(__AVX2__)
    const __m256 v = _mm256_castps128_ps256(_mm_loadu_ps((const float *)p));
    return (vec)_mm256_insertf128_ps(v, _mm_loadu_ps((const float *)(p + step)), 1);
#else
    (void)step;
    return v_load(p);
#endif
}

/* Transpose in place, in every piece, the FN_PIECE x FN_PIECE matrix that piece j of v[0], v[1], ... makes. */
#if defined(__AVX512F__)
#define FN_MM(op) _mm512_##op
#define FN_PS __m512
#define FN_PD __m512d
#elif defined(__AVX2__)
#define FN_MM(op) _mm256_##op
#define FN_PS __m256
#define FN_PD __m256d
#endif
FN_INLINE void v_transpose_pieces(vec *v) {
#if FN_DT == 0 && defined(FN_MM)
    const FN_PS a = (FN_PS)v[0], b = (FN_PS)v[1], c = (FN_PS)v[2], d = (FN_PS)v[3];
    const FN_PD ab = (FN_PD)FN_MM(unpacklo_ps)(a, b), AB = (FN_PD)FN_MM(unpackhi_ps)(a, b);
    const FN_PD cd = (FN_PD)FN_MM(unpacklo_ps)(c, d), CD = (FN_PD)FN_MM(unpackhi_ps)(c, d);
    v[0] = (vec)FN_MM(unpacklo_pd)(ab, cd), v[1] = (vec)FN_MM(unpackhi_pd)(ab, cd);
    v[2] = (vec)FN_MM(unpacklo_pd)(AB, CD), v[3] = (vec)FN_MM(unpackhi_pd)(AB, CD);
#elif FN_DT == 0
    const vec a = v[0], b = v[1], c = v[2], d = v[3];
    for (int i = 0; i < 4; i++) v[i] = (vec){a[i], b[i], c[i], d[i]};
#else
    const vec a = v[0], b = v[1];
#if defined(FN_MM)
    v[0] = (vec)FN_MM(unpacklo_pd)((FN_PD)a, (FN_PD)b), v[1] = (vec)FN_MM(unpackhi_pd)((FN_PD)a, (FN_PD)b);
#else
    v[0] = (vec){a[0], b[0]}, v[1] = (vec){a[1], b[1]};
#endif
#endif
}

/* Transpose in place the FN_VL x FN_VL matrix of which v[0], v[1], ... are the rows. */
FN_INLINE void v_transpose(vec *v) {
    UNROLL for (int i = 0; i < FN_VL; i += FN_PIECE) v_transpose_pieces(v + i);
#if defined(__AVX512F__)
    UNROLL for (int q = 0; q < FN_PIECE; q++) {
        vec *const a = v + q, *const b = a + FN_PIECE, *const c = b + FN_PIECE, *const d = c + FN_PIECE;
        const __m512 ab = _mm512_shuffle_f32x4((__m512)*a, (__m512)*b, 0x44), AB = _mm512_shuffle_f32x4((__m512)*a, (__m512)*b, 0xee);
        const __m512 cd = _mm512_shuffle_f32x4((__m512)*c, (__m512)*d, 0x44), CD = _mm512_shuffle_f32x4((__m512)*c, (__m512)*d, 0xee);
        *a = (vec)_mm512_shuffle_f32x4(ab, cd, 0x88), *b = (vec)_mm512_shuffle_f32x4(ab, cd, 0xdd);
        *c = (vec)_mm512_shuffle_f32x4(AB, CD, 0x88), *d = (vec)_mm512_shuffle_f32x4(AB, CD, 0xdd);
    }
#elif defined(__AVX2__)
    UNROLL for (int q = 0; q < FN_PIECE; q++) {
        const __m256 a = (__m256)v[q], b = (__m256)v[FN_PIECE + q];
        v[q] = (vec)_mm256_permute2f128_ps(a, b, 0x20), v[FN_PIECE + q] = (vec)_mm256_permute2f128_ps(a, b, 0x31);
    }
#endif
}

/* t[j], lane i = x[i ldx + j], j < FN_PIECE, i < n; lanes beyond repeat the last. */
FN_INLINE void v_load_turned(vec *t, const fn_t *x, int64_t ldx, int n) {
    if (n == FN_VL) {
        for (int q = 0; q < FN_PIECE; q++) t[q] = v_pieces(x + q * ldx, FN_PIECE * ldx);
    } else {
        fn_t z[FN_VL][FN_PIECE];
        for (int i = 0; i < FN_VL; i++) memcpy(z[i], x + (i < n ? i : n - 1) * ldx, sizeof z[i]);
        for (int q = 0; q < FN_PIECE; q++) t[q] = v_pieces(z[q], FN_PIECE * FN_PIECE);
    }
    v_transpose_pieces(t);
}
/* Piece k of v[i] to p + (k*FN_PIECE + i)*step, in ascending order, those before m. */
FN_INLINE void v_store_pieces(fn_t *p, int64_t step, const vec *v, int m) {
#if defined(__AVX512F__)
#define PIECE_(k) for (int i = 0; i < FN_PIECE; i++, p += step) \
    if (k * FN_PIECE + i < m) _mm_storeu_ps((float *)p, _mm512_extractf32x4_ps((__m512)v[i], k));
    PIECE_(0) PIECE_(1) PIECE_(2) PIECE_(3)
#undef PIECE_
#elif defined(__AVX2__)
    for (int i = 0; i < FN_PIECE; i++, p += step)
        if (i < m) _mm_storeu_ps((float *)p, _mm256_castps256_ps128((__m256)v[i]));
    for (int i = 0; i < FN_PIECE; i++, p += step)
        if (FN_PIECE + i < m) _mm_storeu_ps((float *)p, _mm256_extractf128_ps((__m256)v[i], 1));
#else
    for (int i = 0; i < FN_PIECE; i++, p += step)
        if (i < m) v_store(p, v[i]);
#endif
}
#endif
