/* Elementwise operations: y = f(a), f(a, b) or f(a, b, c) over broadcast strides (fn_elem_args).
 *
 * One line an operation. Integers wrap: they are computed without sign. NaN behaves as in PyTorch. */
#include "elem.h"
#if FN_REAL
#include "vmath.h"
#endif

#if FN_DT == 2
typedef uint64_t wrap_t;
#elif FN_DT == 3
typedef uint32_t wrap_t;
#else
typedef fn_t wrap_t;             /* u8 is computed in int and cut; reals have no other type */
#endif

#if FN_DT < 4
#define NEGATIVE(a) ((a) < 0)
#define MINUS_ONE(a) ((a) == (fn_t)-1)
#else
#define NEGATIVE(a) 0            /* u8 has no negative numbers */
#define MINUS_ONE(a) 0
#endif
#define NAN_OR_0 (FN_REAL ? NAN : 0)

#define BODY(name) static void name##_run(const void *args, int64_t n, void *const *at)
#define SIDES(y_t) y_t *const y = at[0]; const fn_t *const a = at[1], *const b = at[2]; (void)args; (void)b
#define EACH ELEM_APART for (int64_t i = 0; i < n; i++)
#define DOOR(name, sides, y_t) FN_KERNEL(name) { elem_run(args, t, name##_run, sides, sizeof(y_t), sizeof(fn_t)); }

/* y = expression in a and b, of type y_t */
#define UNARY(name, y_t, f) \
    FN_INLINE y_t name##_1(fn_t a) { return (y_t)(f); } \
    BODY(name) { SIDES(y_t); EACH y[i] = name##_1(a[i]); } \
    DOOR(name, 2, y_t)
#define BINARY(name, y_t, f) \
    FN_INLINE y_t name##_1(fn_t a, fn_t b) { return (y_t)(f); } \
    BODY(name) { SIDES(y_t); EACH y[i] = name##_1(a[i], b[i]); } \
    DOOR(name, 3, y_t)

/* y = f(a) in vectors; the last ones masked, through the same code. */
#define VECTOR(name, f) \
    BODY(name) { \
        SIDES(fn_t); \
        for (int64_t i = 0; i < n; i += FN_VL) v_put(y + i, f(v_get(a + i, n - i)), n - i); \
    } \
    DOOR(name, 2, fn_t)

/* ---- comparison and logic ---------------------------------------------------------------------------- */

BINARY(eq, uint8_t, a == b)
BINARY(ne, uint8_t, a != b)
BINARY(lt, uint8_t, a < b)
BINARY(le, uint8_t, a <= b)
BINARY(logical_and, uint8_t, (a != 0) & (b != 0))
BINARY(logical_or, uint8_t, (a != 0) | (b != 0))
BINARY(logical_xor, uint8_t, (a != 0) ^ (b != 0))
UNARY(logical_not, uint8_t, a == 0)

#if !FN_REAL
BINARY(bitwise_and, fn_t, a & b)
BINARY(bitwise_or, fn_t, a | b)
BINARY(bitwise_xor, fn_t, a ^ b)
UNARY(bitwise_not, fn_t, FN_BOOLEAN ? a ^ 1 : ~a)
#endif

#if FN_REAL
UNARY(isnan, uint8_t, a != a)
UNARY(isinf, uint8_t, a == INFINITY || a == -INFINITY)
UNARY(isfinite, uint8_t, a - a == 0)
#endif

/* NaN wins; of equal operands (0 and -0) the first. */
BINARY(maximum, fn_t, (a >= b) | (a != a) ? a : b)
BINARY(minimum, fn_t, (a <= b) | (a != a) ? a : b)
UNARY(sign, fn_t, (a > 0) - NEGATIVE(a))

/* y = c ? a : b */
BODY(where) {
    SIDES(fn_t);
    const uint8_t *const c = at[3];
    EACH y[i] = c[i] ? a[i] : b[i];
}
FN_KERNEL(where) { elem_run(args, t, where_run, 4, sizeof(fn_t), 1); }

/* ---- arithmetic ------------------------------------------------------------------------------------------ */

#if FN_BOOLEAN
BINARY(add, fn_t, a | b)
BINARY(mul, fn_t, a & b)
#elif FN_REAL

/* y = a + alpha b */
BODY(add) {
    SIDES(fn_t);
    const fn_t alpha = (fn_t)((const fn_elem_args *)args)->s2;
    EACH y[i] = a[i] + alpha * b[i];
}
DOOR(add, 3, fn_t)

BODY(sub) {
    SIDES(fn_t);
    const fn_t alpha = (fn_t)((const fn_elem_args *)args)->s2;
    EACH y[i] = a[i] - alpha * b[i];
}
DOOR(sub, 3, fn_t)

BINARY(mul, fn_t, a * b)

#else

/* y = a + alpha b; vectors have no quick product of 8 or 64 bits, and alpha is 1 nearly always */
FN_INLINE void add_scaled(const void *args, int64_t n, void *const *at, wrap_t sign) {
    SIDES(fn_t);
    const wrap_t alpha = (wrap_t)(sign * (wrap_t)((const fn_elem_args *)args)->k2);
    if (alpha == 1) EACH y[i] = (fn_t)((wrap_t)a[i] + (wrap_t)b[i]);
    else if (alpha == (wrap_t)-1) EACH y[i] = (fn_t)((wrap_t)a[i] - (wrap_t)b[i]);
    else EACH y[i] = (fn_t)((wrap_t)a[i] + alpha * (wrap_t)b[i]);
}
BODY(add) { add_scaled(args, n, at, 1); }
BODY(sub) { add_scaled(args, n, at, (wrap_t)-1); }
DOOR(add, 3, fn_t)
DOOR(sub, 3, fn_t)
BINARY(mul, fn_t, (wrap_t)a * (wrap_t)b)
#endif

#if !FN_BOOLEAN
UNARY(neg, fn_t, -(wrap_t)a)

/* y = a + s b c */
BODY(addcmul) {
    SIDES(fn_t);
    const fn_t *const c = at[3];
    const fn_elem_args *p = args;
    const wrap_t s = FN_REAL ? (wrap_t)p->s : (wrap_t)p->k;
    EACH y[i] = (fn_t)((wrap_t)a[i] + s * (wrap_t)b[i] * (wrap_t)c[i]);
}
DOOR(addcmul, 4, fn_t)

/* y = min(max(a, lo), hi); a bound that is NaN makes all NaN */
BODY(clamp) {
    SIDES(fn_t);
    const fn_elem_args *p = args;
    const fn_t lo = FN_REAL ? (fn_t)p->s : (fn_t)p->k, hi = FN_REAL ? (fn_t)p->s2 : (fn_t)p->k2;
    if (lo != lo || hi != hi) EACH y[i] = (fn_t)NAN_OR_0;
    else EACH {
        const fn_t v = a[i] < lo ? lo : a[i];
        y[i] = v > hi ? hi : v;
    }
}
DOOR(clamp, 2, fn_t)
#endif

/* ---- division: floor_divide rounds down, remainder has the sign of b, trunc_divide rounds to zero ---------- */

#if FN_REAL
FN_INLINE fn_t down(fn_t a) { return FN_DT == 0 ? (fn_t)floorf((float)a) : (fn_t)floor((double)a); }
FN_INLINE fn_t zeroward(fn_t a) { return FN_DT == 0 ? (fn_t)truncf((float)a) : (fn_t)trunc((double)a); }

/* a = q b + r with q = trunc(a / b) and r of a's sign, both exact. In double the quotient of floats, if below 2^28, never
 * rounds up to a whole number. That of doubles may; then r has the wrong sign and q is one too far from 0. */
typedef struct { double q, r; } division;
#if FN_DT == 0
#define DIVISION_MAX 0x1p28
#define MINUS_PRODUCT(a, q, b) ((a) - (q) * (b))
#elif defined(__FMA__) || defined(__aarch64__)
#define DIVISION_MAX 0x1p52
#define MINUS_PRODUCT(a, q, b) __builtin_fma(-(q), b, a)
#else
#define DIVISION_MAX 0           /* without FMA there is no exact remainder of doubles but the C library's */
#define MINUS_PRODUCT(a, q, b) 0
#endif

FN_INLINE int hard(fn_t a, fn_t b) {
    return !(fabs((double)a / (double)b) < DIVISION_MAX) | !(fabs((double)b) < INFINITY);
}
FN_INLINE division divide(double a, double b) {
    division d = {trunc(a / b), 0};
    d.r = MINUS_PRODUCT(a, d.q, b);
    const int far = FN_DT == 1 && d.r != 0 && (d.r < 0) != (a < 0);
    d.q -= far ? copysign(1, d.q) : 0;
    d.r = copysign(d.r + (far ? copysign(b, a) : 0), a);
    return d;
}
FN_INLINE fn_t mod(fn_t a, fn_t b) {
    return FN_DT == 0 ? (fn_t)fmodf((float)a, (float)b) : (fn_t)fmod((double)a, (double)b);
}

FN_INLINE int opposed(fn_t r, fn_t b) { return r != 0 && (r < 0) != (b < 0); }
FN_INLINE fn_t signed_remainder(fn_t a, fn_t b) {
    const fn_t r = (fn_t)divide((double)a, (double)b).r;
    return opposed(r, b) ? r + b : r;
}
FN_INLINE fn_t hard_remainder(fn_t a, fn_t b) {
    const fn_t r = mod(a, b);
    return opposed(r, b) ? r + b : r;
}
FN_INLINE fn_t floor_quotient(fn_t a, fn_t b) {
    const division d = divide((double)a, (double)b);
    const double q = d.q - opposed((fn_t)d.r, b);
    return (fn_t)(q == 0 ? copysign(0, (double)a / (double)b) : q);
}
FN_INLINE fn_t hard_quotient(fn_t a, fn_t b) {
    const fn_t r = mod(a, b), q = (a - r) / b - (fn_t)opposed(r, b), f = down(q);
    if (b == 0) return a / b;
    return q == 0 ? (fn_t)copysign(0, (double)(a / b)) : f + (fn_t)(q - f > (fn_t)0.5);
}

/* Sixty-four at a time in vectors, if none of them is hard. */
#define DIVIDE(name, easy_f, hard_f) \
    BODY(name) { \
        SIDES(fn_t); \
        for (int64_t k = 0; k < n; k += 64) { \
            const int64_t end = n - k < 64 ? n : k + 64; \
            int any = 0; \
            for (int64_t i = k; i < end; i++) any |= hard(a[i], b[i]); \
            if (any) \
                for (int64_t i = k; i < end; i++) y[i] = hard(a[i], b[i]) ? hard_f(a[i], b[i]) : easy_f(a[i], b[i]); \
            else ELEM_APART for (int64_t i = k; i < end; i++) y[i] = easy_f(a[i], b[i]); \
        } \
    } \
    DOOR(name, 3, fn_t)
DIVIDE(remainder, signed_remainder, hard_remainder)
DIVIDE(floor_divide, floor_quotient, hard_quotient)

BINARY(div, fn_t, a / b)
BINARY(trunc_divide, fn_t, zeroward(a / b))
#elif !FN_BOOLEAN

/* No trap: a / 0 is 0 (the layer above refuses it), and a / -1 wraps. Quotients of 32 bits are exact in double. */
FN_INLINE fn_t quotient(fn_t a, fn_t b) {
    const int odd = (b == 0) | MINUS_ONE(b);
    const fn_t q = FN_DT == 2 ? a / (odd ? 1 : b) : (fn_t)((double)a / (double)(odd ? 1 : b));
    return MINUS_ONE(b) ? (fn_t)-(wrap_t)a : b == 0 ? 0 : q;
}
FN_INLINE fn_t rest(fn_t a, fn_t b, fn_t q) { return (fn_t)((wrap_t)a - (wrap_t)q * (wrap_t)b); }
FN_INLINE fn_t floor_quotient(fn_t a, fn_t b) {
    const fn_t q = quotient(a, b), r = rest(a, b, q);
    return (fn_t)(q - ((r != 0) & (NEGATIVE(r) != NEGATIVE(b)) & (b != 0)));
}
FN_INLINE fn_t signed_remainder(fn_t a, fn_t b) {
    const fn_t r = rest(a, b, quotient(a, b));
    return (fn_t)(r + ((r != 0) & (NEGATIVE(r) != NEGATIVE(b)) ? b : 0));
}

BINARY(trunc_divide, fn_t, quotient(a, b))
BINARY(floor_divide, fn_t, floor_quotient(a, b))
BINARY(remainder, fn_t, signed_remainder(a, b))
#endif

/* ---- powers and functions ------------------------------------------------------------------------------------ */

#if FN_REAL

FN_INLINE fn_t root(fn_t a) { return FN_DT == 0 ? (fn_t)sqrtf((float)a) : (fn_t)sqrt((double)a); }
FN_INLINE fn_t nearest(fn_t a) { return FN_DT == 0 ? (fn_t)rintf((float)a) : (fn_t)rint((double)a); }
FN_INLINE fn_t ceiling(fn_t a) { return FN_DT == 0 ? (fn_t)ceilf((float)a) : (fn_t)ceil((double)a); }

#if FN_DT == 0
enum { WIDE = FN_VBYTES / sizeof(double) };
typedef double wide __attribute__((vector_size(FN_VBYTES)));
typedef int64_t wide_mask __attribute__((vector_size(FN_VBYTES)));
typedef uint64_t wide_bits __attribute__((vector_size(FN_VBYTES)));
typedef float narrow __attribute__((vector_size(FN_VBYTES / 2)));

FN_INLINE wide pick(wide_mask m, wide a, wide b) { return (wide)((m & (wide_mask)a) | (~m & (wide_mask)b)); }
FN_INLINE wide set(double s) { return (wide){0} + s; }
FN_INLINE wide whole(wide x) { return (x + 0x1.8p52) - 0x1.8p52; }       /* nearest, |x| < 2^51 */

/* |x|^y = 2^(y log2 |x|) in double, whose spare bits make the float right to 0.5 ulp:
 * |x| = 2^k m, m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1), log2 m = 2/ln 2 (s + s^3/3 + ...); 2^f = e^(f ln 2). */
FN_INLINE wide power(wide x, wide y) {
    const uint64_t top = (uint64_t)1 << 63, one = 0x3FF0000000000000, root_half = 0x3FE6A09E667F3BCD;
    const wide a = (wide)((wide_bits)x & ~top);
    const wide b = pick(y > 1e12, set(1e12), pick(y < -1e12, set(-1e12), y));    /* far enough for 0 and infinity */
    const wide_bits u = (wide_bits)a + (one - root_half);
    const wide k = (wide)((u >> 52) | 0x4330000000000000) - (0x1p52 + 1023);
    const wide m = (wide)((u & 0xFFFFFFFFFFFFF) + root_half), s = (m - 1) / (m + 1), z = s * s;
    const wide series = 1 + z * (1. / 3 + z * (1. / 5 + z * (1. / 7 + z * (1. / 9 + z * (1. / 11 + z * (1. / 13))))));
    wide t = b * (k + 0x1.71547652b82fep+1 * s * series);
    t = pick(t > 200, set(200), pick(t < -200, set(-200), t));
    const wide w = t + 0x1.8p52, f = (t - (w - 0x1.8p52)) * 0x1.62e42fefa39efp-1;
    const wide e4 = 1. / 24 + f * (1. / 120 + f * (1. / 720 + f * (1. / 5040 + f * (1. / 40320))));
    const wide e = 1 + f * (1 + f * (1. / 2 + f * (1. / 6 + f * e4)));
    wide r = e * (wide)(((wide_bits)w + 1023) << 52);
    const wide_mask is_whole = whole(b) == b, odd = is_whole & (whole(b * 0.5) != b * 0.5);
    r = pick((a == 0) | (a == INFINITY), pick((a == 0) ^ (b > 0), set(INFINITY), set(0)), r);
    r = (wide)((wide_bits)r | ((wide_bits)x & top & (wide_bits)odd));
    r = pick(((x < 0) & ~is_whole & (a != INFINITY)) | (x != x) | (y != y), set(NAN), r);
    return pick((y == 0) | (x == 1), set(1), r);
}

FN_INLINE void power_run(int64_t n, float *y, const float *a, const float *b) {
    for (int64_t i = 0; i < n; i += WIDE) {
        narrow p = {0}, q = {0};
        const size_t bytes = n - i < WIDE ? (size_t)(n - i) * sizeof(float) : sizeof p;
        if (bytes == sizeof p) memcpy(&p, a + i, sizeof p), memcpy(&q, b + i, sizeof q);
        else memcpy(&p, a + i, bytes), memcpy(&q, b + i, bytes);
        p = __builtin_convertvector(power(__builtin_convertvector(p, wide), __builtin_convertvector(q, wide)), narrow);
        if (bytes == sizeof p) memcpy(y + i, &p, sizeof p);
        else memcpy(y + i, &p, bytes);
    }
}
#else
FN_INLINE void power_run(int64_t n, double *y, const double *a, const double *b) {
    for (int64_t i = 0; i < n; i++) y[i] = pow(a[i], b[i]);
}
#endif

/* The common exponents in plain arithmetic. */
BODY(pow) {
    SIDES(fn_t);
    const fn_elem_args *p = args;
    const double s = p->b || p->swap ? NAN : p->s;
    if (s == 2) EACH y[i] = a[i] * a[i];
    else if (s == 3) EACH y[i] = a[i] * a[i] * a[i];
    else if (s == 0.5) EACH y[i] = root(a[i]);
    else if (s == -0.5) EACH y[i] = 1 / root(a[i]);
    else if (s == -1) EACH y[i] = 1 / a[i];
    else if (s == -2) EACH y[i] = 1 / (a[i] * a[i]);
    else power_run(n, y, a, b);
}
DOOR(pow, 3, fn_t)

UNARY(abs, fn_t, FN_DT == 0 ? (fn_t)fabsf((float)a) : (fn_t)fabs((double)a))
UNARY(reciprocal, fn_t, 1 / a)
UNARY(sqrt, fn_t, root(a))
UNARY(rsqrt, fn_t, 1 / root(a))
UNARY(floor, fn_t, down(a))
UNARY(ceil, fn_t, ceiling(a))
UNARY(trunc, fn_t, zeroward(a))
UNARY(round, fn_t, nearest(a))           /* halves to even */
VECTOR(exp, v_exp)
VECTOR(log, v_log)
VECTOR(log1p, v_log1p)
VECTOR(sin, v_sin)
VECTOR(cos, v_cos)
VECTOR(erf, v_erf)

#elif !FN_BOOLEAN

/* By squaring. A negative exponent gives the integer part of the true power: of 1 and -1 alone it is not 0. */
FN_INLINE fn_t power(fn_t a, fn_t b) {
    wrap_t r = 1, q = (wrap_t)a;
    if (NEGATIVE(b)) return a == 1 || (MINUS_ONE(a) && b % 2 == 0) ? 1 : MINUS_ONE(a) ? a : 0;
    for (wrap_t e = (wrap_t)b; e; e >>= 1) {
        if (e & 1) r = (wrap_t)(r * q);
        q = (wrap_t)(q * q);
    }
    return (fn_t)r;
}
BINARY(pow, fn_t, power(a, b))
UNARY(abs, fn_t, NEGATIVE(a) ? -(wrap_t)a : (wrap_t)a)
#endif
