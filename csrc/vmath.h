/* Elementary functions of a vec, one text for f32 and f64, defined for every input: NaN gives NaN (with its sign), infinities
 * and signed zeros give what C's functions give, results below the normal range are denormal (or flushed, where the mode says so).
 * Lanes do not see each other, so a masked tail gives the bits of the body. Include it where FN_REAL holds.
 *
 * Largest error in ulp, over all instruction sets (tests/test_vmath.py holds them to it):
 *                f32   f64                        f32   f64
 *   v_exp        1.1   1.1         v_sigmoid      2.0   2.0
 *   v_log        1.0   1.0         v_erf          1.5   1.5
 *   v_log1p      1.0   1.0         v_sin, v_cos   1.6   1.6
 *   v_tanh       2.6   2.7         v_softplus   1.8   1.8
 *   v_expm1_neg  1.2   1.2      v_exp2_neg   1.4   1.3
 * v_normal_cdf, (1 + erf(x / sqrt 2)) / 2, is within 1.5 units of the last place of numbers just below 1, whatever x.
 *
 * Coefficients are minimax fits of our own (Remez, then rounded one after the other from the lowest, the others refitted). */
#ifndef FN_VMATH_H
#define FN_VMATH_H
#include "simd.h"
#include <math.h>

#if FN_DT == 0
typedef uint32_t fn_word;
#define FN_MANT 23                           /* mantissa bits */
#define FN_BIAS 127
#define FN_TINY 0x1p-126f                    /* least normal number */
#define FN_ROUND 0x1.8p23f                   /* x + FN_ROUND holds round(x) in its low bits */
#define FN_ROUND_BITS 0x4B400000u
#define FN_ONE_BITS 0x3F800000u
#define FN_SQRTH_BITS 0x3F3504F3u            /* sqrt(1/2) */
#define FN_LOG2E 0x1.715476p+0f
#define FN_LN2_HI 0x1.62e4p-1f               /* k * FN_LN2_HI is exact for every exponent k */
#define FN_LN2_LO 0x1.7f7d1cp-20f
#define FN_2_PI 0x1.45f306p-1f
#define FN_EXP_MIN -105.0f                   /* exp is 0 below, infinity above FN_EXP_MAX */
#define FN_EXP_MAX 90.0f
#define FN_EXP2_MIN -151.0f                  /* 2^x is 0 below */
#define FN_ONE_MIN -20.0f                    /* exp - 1 is -1 below */
#define FN_ERF_SPLIT 0.921875f
#define FN_ERF_MAX 4.0f                      /* erf is 1 above */
#define FN_TRIG_MAX 3200.0f                  /* |x| up to which n pi/2 is taken off in parts, n < 2^11 */
#else
typedef uint64_t fn_word;
#define FN_MANT 52
#define FN_BIAS 1023
#define FN_TINY 0x1p-1022
#define FN_ROUND 0x1.8p52
#define FN_ROUND_BITS 0x4338000000000000u
#define FN_ONE_BITS 0x3FF0000000000000u
#define FN_SQRTH_BITS 0x3FE6A09E667F3BCDu
#define FN_LOG2E 0x1.71547652b82fep+0
#define FN_LN2_HI 0x1.62e42fefa3p-1
#define FN_LN2_LO 0x1.3de6af278ece6p-42
#define FN_2_PI 0x1.45f306dc9c883p-1
#define FN_EXP_MIN -746.0
#define FN_EXP_MAX 710.0
#define FN_EXP2_MIN -1076.0
#define FN_ONE_MIN -40.0
#define FN_ERF_SPLIT 1.0
#define FN_ERF_MAX 6.0
#define FN_TRIG_MAX 1.6e6                    /* n < 2^20 */
#endif

typedef fn_word vbits __attribute__((vector_size(FN_VBYTES)));

static const fn_t
#if FN_DT == 0
    FN_EXP_C[] = {0x1.fffffcp-2f, 0x1.555490p-3f, 0x1.5558f4p-5f, 0x1.123a6cp-7f, 0x1.6a2352p-10f},
    FN_EXP2_C[] = {0x1.62e430p-1f, 0x1.ebfbe0p-3f, 0x1.c6b2e4p-5f, 0x1.3b33d0p-7f, 0x1.5d5afep-10f, 0x1.3ad2b8p-13f},
    FN_LOG_C[] = {0x1.555554p-1f, 0x1.999c26p-2f, 0x1.23d3e0p-2f, 0x1.f13aeap-3f},
    FN_SIN_C[] = {-0x1.555546p-3f, 0x1.11077cp-7f, -0x1.9955aep-13f},
    FN_COS_C[] = {0x1.55554ap-5f, -0x1.6c0c1ap-10f, 0x1.99e0eep-16f},
    FN_PIO2[] = {0x1.921p+0f, 0x1.f6ap-13f, 0x1.11p-26f, 0x1.68c234p-39f},
    FN_ERF_C[] = {0x1.06eba6p-3f, -0x1.8126e8p-2f, 0x1.ce1ab4p-4f, -0x1.b68e66p-6f, 0x1.474a0ep-8f, -0x1.3a48e2p-11f},
    FN_ERFC_C[] = {-0x1.a0755cp-13f, -0x1.20ae90p+0f, -0x1.463f68p-1f, -0x1.a9a17cp-4f, 0x1.6c063ap-6f, -0x1.8e981cp-9f,
                   0x1.9a6fe6p-13f},
    FN_CDF_C[] = {-0x1.98846cp-1f, -0x1.45f034p-2f, -0x1.2a14b6p-5f, 0x1.40cae0p-8f, -0x1.8a9b06p-14f,
                  -0x1.0f5e56p-13f, 0x1.cb2946p-16f, -0x1.08907cp-19f};
#else
    FN_EXP_C[] = {0x1.000000000000ap-1, 0x1.55555555554f9p-3, 0x1.55555555507f1p-5, 0x1.1111111127e88p-7, 0x1.6c16c1844af4cp-10,
                  0x1.a01a0129b278bp-13, 0x1.a01999adede93p-16, 0x1.71df26311ed24p-19, 0x1.28adce53b00fbp-22,
                  0x1.ad7efa3351e34p-26},
    FN_EXP2_C[] = {0x1.62e42fefa39f3p-1, 0x1.ebfbdff82c598p-3, 0x1.c6b08d7048f31p-5, 0x1.3b2ab6fba1e1cp-7, 0x1.5d87fe7bbbe89p-10,
                   0x1.4309130961180p-13, 0x1.ffcbee3ae07b2p-17, 0x1.62bfd49ed6ee8p-20, 0x1.b541680643fabp-24,
                   0x1.e605f960b6a12p-28, 0x1.c062d7c810824p-32},
    FN_LOG_C[] = {0x1.5555555555593p-1, 0x1.999999997f9f8p-2, 0x1.249249422a531p-2, 0x1.c71c51d7b24c4p-3, 0x1.746649ba97724p-3,
                  0x1.39a093cd29c0ap-3, 0x1.2f119818c2de0p-3},
    FN_SIN_C[] = {-0x1.5555555555549p-3, 0x1.111111110f89cp-7, -0x1.a01a019c141b3p-13, 0x1.71de3578edbedp-19,
                  -0x1.ae5e66a4cbefap-26, 0x1.5d930162bfedcp-33},
    FN_COS_C[] = {0x1.555555555554cp-5, -0x1.6c16c16c15217p-10, 0x1.a01a019cbe0a2p-16, -0x1.27e4f8116c474p-22,
                  0x1.1ee9f044d7913p-29, -0x1.8fb0915d6669bp-37},
    FN_PIO2[] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69, 0x1.b839a252049c1p-104},
    FN_ERF_C[] = {0x1.06eba8214db68p-3, -0x1.812746b0379a6p-2, 0x1.ce2f21a03ff71p-4, -0x1.b82ce311c54cfp-6, 0x1.565bccf267a7cp-8,
                  -0x1.c02daf3bf40f3p-11, 0x1.f9a2a2bd2b61ep-14, -0x1.f4c8e257d872dp-17, 0x1.b97215bdafa02p-20,
                  -0x1.5bb5052708ee8p-23, 0x1.d4f3d72d90362p-27, -0x1.a57a3cf0ed0efp-31},
    FN_ERFC_C[] = {-0x1.0df14478bb169p-21, -0x1.20dd1fd5be851p+0, -0x1.45f62743818c3p-1, -0x1.a4ac5e06de033p-4,
                   0x1.3722a00fb1d89p-6, 0x1.ae8f532360f5ap-12, -0x1.f63fcaa369678p-10, 0x1.940861ca49ecap-11,
                   -0x1.1b3497ba215d1p-13, -0x1.541487bc90372p-16, 0x1.7eec12ded1428p-16, -0x1.22d6209107e3cp-17,
                   0x1.1ea8d7d04d63ap-19, -0x1.90d9b3ae17eb3p-22, 0x1.8eca246a024f5p-25, -0x1.0e5fde60718bdp-28,
                   0x1.c1b789c5dacb4p-33, -0x1.5ad75cc55d620p-38},
    FN_CDF_C[] = {-0x1.9884533d435fep-1, -0x1.45f306dc9edfbp-2, -0x1.29a947f84f17dp-5, 0x1.3966851b63577p-8,
                  0x1.3638fcfc351fep-15, -0x1.bca7eeb301c64p-13, 0x1.b59d90018d8d2p-15, -0x1.b660a0f38bc04p-20,
                  -0x1.7b473a66cff65p-19, 0x1.e31056ebdaca8p-21, -0x1.9c35c1493b719p-25, -0x1.15a560415f2cfp-24,
                  0x1.0daaf6f96360fp-25, -0x1.236b27ad892adp-27, 0x1.a2e440b078858p-30, -0x1.6e25eeeea1349p-33,
                  0x1.2e4a215318471p-39, 0x1.ce948c6d92224p-39, -0x1.ab276cac9ce41p-41, 0x1.c78d623967c76p-44,
                  -0x1.4c1ddb64747d4p-47, 0x1.51d005c2e81cep-51, -0x1.ce3a843f86d38p-56, 0x1.802c7e9aa01ccp-61,
                  -0x1.25e85ef02dcecp-67};
#endif

/* sum of c[i] x^i */
#define v_poly(x, c) v_horner(x, c, (int)(sizeof(c) / sizeof(c[0])))
FN_INLINE vec v_horner(vec x, const fn_t *c, int n) {
    vec y = v_set1(c[n - 1]);
    UNROLL for (int i = n - 2; i >= 0; i--) y = v_fma(y, x, v_set1(c[i]));
    return y;
}
FN_INLINE vec v_sign_of(vec y, vec x) { return (vec)((mask)v_abs(y) | ((mask)x & (mask)v_set1((fn_t)-0.0))); }

/* a / (b + e), the rounding of b + e in [1, 2] made good to first order */
FN_INLINE vec v_ratio(vec a, vec b, vec e) {
    const vec d = b + e, q = a / d;
    return q - q * ((b - d) + e);
}

/* x = n ln 2 + r, |r| <= ln 2 / 2;  t holds n in its low bits;  gives exp(r) - 1 */
FN_INLINE vec v_exp_parts(vec x, vec *t, vec *n) {
    *t = v_fma(x, v_set1(FN_LOG2E), v_set1(FN_ROUND));
    *n = *t - v_set1(FN_ROUND);
    vec r = v_fma(*n, v_set1(-FN_LN2_HI), x);
    r = v_fma(*n, v_set1(-FN_LN2_LO), r);
    return v_fma(r * r, v_poly(r, FN_EXP_C), r);
}

/* exp(x) for x <= 0: what softmax and sigmoid need */
FN_INLINE vec v_exp_neg(vec x) {
    vec t, n;
    const vec p = v_exp_parts(v_max(v_set1(FN_EXP_MIN), x), &t, &n) + v_set1(1);
#if defined(__AVX512F__) && FN_DT == 0
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#elif defined(__AVX512F__)
    return (vec)_mm512_scalef_pd((__m512d)p, (__m512d)n);
#else
    const vbits k = (vbits)t - (FN_ROUND_BITS - 2 * FN_BIAS), h = k >> 1;     /* 2^n in two factors: 2^n alone may not be normal */
    return p * (vec)(h << FN_MANT) * (vec)((k - h) << FN_MANT);
#endif
}
FN_INLINE vec v_exp(vec x) { return v_exp_neg(v_min(v_set1(FN_EXP_MAX), x)); }

/* 2^x for x <= 0: x = n + r, |r| <= 1/2. What attention needs, whose scores come in units of ln 2; 2^0 is exactly 1. */
FN_INLINE vec v_exp2_neg(vec x) {
#if defined(__AVX512F__) && FN_DT == 0
    const __m512 r = _mm512_reduce_ps((__m512)x, 0);
    return (vec)_mm512_scalef_ps((__m512)v_fma((vec)r, v_poly((vec)r, FN_EXP2_C), v_set1(1)), _mm512_sub_ps((__m512)x, r));
#elif defined(__AVX512F__)
    const __m512d r = _mm512_reduce_pd((__m512d)x, 0);
    return (vec)_mm512_scalef_pd((__m512d)v_fma((vec)r, v_poly((vec)r, FN_EXP2_C), v_set1(1)), _mm512_sub_pd((__m512d)x, r));
#else
    x = v_max(v_set1(FN_EXP2_MIN), x);
    const vec t = x + v_set1(FN_ROUND), r = x - (t - v_set1(FN_ROUND)), p = v_fma(r, v_poly(r, FN_EXP2_C), v_set1(1));
    const vbits k = (vbits)t - (FN_ROUND_BITS - 2 * FN_BIAS), h = k >> 1;
    return p * (vec)(h << FN_MANT) * (vec)((k - h) << FN_MANT);
#endif
}

/* e = exp(-|x|):  1 / (1 + e) for x >= 0, e / (1 + e) for x < 0 */
FN_INLINE vec v_sigmoid(vec x) {
    const vec one = v_set1(1), e = v_exp_neg(-v_abs(x));
    return v_ratio(v_select(x < v_zero(), e, one), one, e);
}

/* exp(x) - 1 for x <= 0: what tanh and ELU need. 2^n (exp(r) - 1) + (2^n - 1) */
FN_INLINE vec v_expm1_neg(vec x) {
    vec t, n;
    const vec p = v_exp_parts(v_max(v_set1(FN_ONE_MIN), x), &t, &n);
    const vec s = (vec)(((vbits)t + FN_BIAS) << FN_MANT);
    return v_fma(s, p, s - v_set1(1));
}

/* e = exp(-2|x|) - 1:  |tanh x| = -e / (2 + e) */
FN_INLINE vec v_tanh(vec x) {
    const vec e = v_expm1_neg(v_abs(x) * v_set1(-2));
    return v_sign_of(v_ratio(e, v_set1(2), e), x);
}

/* log(u) + c for normal u > 0 and small c:  u = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), s = f / (2 + f),
 * log(1 + f) = log((1 + s) / (1 - s)) = f - f^2/2 + s (f^2/2 + R(s^2)); the order of the sums is fdlibm's */
FN_INLINE vec v_log_parts(vec u, vec k0, vec c) {
    const vbits i = (vbits)u + (FN_ONE_BITS - FN_SQRTH_BITS);
    const vec k = (vec)((i >> FN_MANT) + FN_ROUND_BITS) - v_set1(FN_ROUND + FN_BIAS) + k0;
    const vec f = (vec)((i & (((fn_word)1 << FN_MANT) - 1)) + FN_SQRTH_BITS) - v_set1(1);
    const vec s = f / (v_set1(2) + f), z = s * s, h = v_set1((fn_t)0.5) * f * f;
    const vec low = v_fma(s, v_fma(z, v_poly(z, FN_LOG_C), h), v_fma(k, v_set1(FN_LN2_LO), c));
    return v_fma(k, v_set1(FN_LN2_HI), f - (h - low));
}
FN_INLINE vec v_log_special(vec y, vec x, vec u) {       /* u <= 0 and what is not finite */
    y = v_select(x < v_set1((fn_t)INFINITY), y, x);
    y = v_select(u == v_zero(), v_set1((fn_t)-INFINITY), y);
    return v_select(u < v_zero(), v_set1((fn_t)NAN), y);
}
FN_INLINE vec v_log(vec x) {
    const mask small = x < v_set1(FN_TINY);
    const vec u = v_select(small, x * v_set1((fn_t)((fn_word)1 << (FN_MANT + 1))), x);
    const vec k0 = v_select(small, v_set1(-(FN_MANT + 1)), v_zero());
    return v_log_special(v_log_parts(u, k0, v_zero()), x, x);
}

/* u = 1 + x rounded; c = what rounding lost, to first order */
FN_INLINE vec v_log1p(vec x) {
    const vec one = v_set1(1), u = one + x;
    const vec lost = v_select(x < one, x - (u - one), one - (u - x));
    const vec y = v_log_special(v_log_parts(u, v_zero(), lost / u), x, u);
    return v_select(x == v_zero(), x, y);
}

/* log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)) */
FN_INLINE vec v_softplus(vec x) { return v_max(v_zero(), x) + v_log1p(v_exp_neg(-v_abs(x))); }

/* |x| small: x + x E(x^2), else 1 - exp(g(|x|)), g a fit of log erfc */
FN_INLINE vec v_erf(vec x) {
    const vec a = v_abs(x), t = v_min(v_set1(FN_ERF_MAX), a);
    const vec small = v_fma(t, v_poly(t * t, FN_ERF_C), t), big = v_set1(1) - v_exp_neg(v_poly(t, FN_ERFC_C));
    return v_sign_of(v_select(a < v_set1(FN_ERF_SPLIT), small, big), x);
}

/* q = exp(g(|x|)) / 2 for x < 0, else 1 - q:  g a fit of log erfc(|x| / sqrt 2), beyond which it falls without end */
FN_INLINE vec v_normal_cdf(vec x) {
    const vec t = v_abs(x), q = v_set1((fn_t)0.5) * v_exp_neg(t * v_poly(t, FN_CDF_C));
    return v_select(x < v_zero(), q, v_set1(1) - q);
}

/* |x| = n pi/2 + r, |r| <= pi/4, pi/2 in parts so short that n times a part is exact;  sin r = r + r z S(z),
 * cos r = 1 - z/2 + z^2 C(z), z = r^2;  the quadrant q is n for the sine, n + 1 for the cosine. Far out each lane goes to libm. */
FN_INLINE vec v_sincos(vec x, fn_word quarter) {
    const vec a = v_abs(x), t = v_fma(a, v_set1(FN_2_PI), v_set1(FN_ROUND)), n = t - v_set1(FN_ROUND), one = v_set1(1);
    const vec r0 = v_fma(n, v_set1(-FN_PIO2[0]), a), w1 = n * v_set1(FN_PIO2[1]), r1 = r0 - w1;
    const vec w2 = n * v_set1(FN_PIO2[2]), r2 = r1 - w2, lost = ((r0 - r1) - w1) + ((r1 - r2) - w2);
    const vec r = r2 + v_fma(n, v_set1(-FN_PIO2[3]), lost);
    const vec z = r * r, h = v_set1((fn_t)0.5) * z, w = one - h;
    const vec s = v_fma(r * z, v_poly(z, FN_SIN_C), r), c = w + v_fma(z * z, v_poly(z, FN_COS_C), (one - w) - h);
    const vbits q = (vbits)t + quarter;
    vec y = v_select((mask)-(q & 1), c, s);              /* odd quadrants take the cosine */
    y = (vec)((vbits)y ^ ((q & 2) << (sizeof(fn_t) * 8 - 2)));
    if (!quarter) y = (vec)((mask)y ^ ((mask)x & (mask)v_set1((fn_t)-0.0)));
    const mask far = a > v_set1(FN_TRIG_MAX);
    int64_t any[FN_VBYTES / 8], all = 0;
    memcpy(any, &far, sizeof any);
    for (int i = 0; i < FN_VBYTES / 8; i++) all |= any[i];
    if (__builtin_expect(all != 0, 0))
        for (int i = 0; i < FN_VL; i++)
            if (far[i]) y[i] = (fn_t)(quarter ? cos((double)x[i]) : sin((double)x[i]));
    return y;
}
FN_INLINE vec v_sin(vec x) { return v_sincos(x, 0); }
FN_INLINE vec v_cos(vec x) { return v_sincos(x, 1); }
#endif
