/* Activations over fn_elem_args. X_fwd: y = f(x), and a is x. X_bwd: y is dx, a is dy, and b is forward's output where that is
 * enough (relu, sigmoid, tanh), else x.
 *
 *   relu        max(x, 0), NaN stays                     dx = dy where y > 0 or y is NaN, else 0
 *   sigmoid     1 / (1 + exp(-x))                        dx = dy (1 - y) y
 *   tanh        tanh(x)                                  dx = dy (1 - y^2)
 *   prelu       x > 0 ? x : w x                          dx = x > 0 ? dy : w dy,  dw = x > 0 ? 0 : dy x (to be summed)
 *   elu         x < 0 ? s (exp(x) - 1) : s2 x            dx = dy (x <= 0 ? s exp(x) : s2)
 *   silu        x g, g = sigmoid(x)                      dx = dy g (1 + x (1 - g))
 *   gelu        x (1 + erf(x / sqrt 2)) / 2              dx = dy ((1 + erf(x / sqrt 2)) / 2 + x exp(-x^2 / 2) / sqrt(2 pi))
 *   gelu_tanh   x g, g = sigmoid(x (k + k3 x^2))         dx = dy (g + x g (1 - g) (k + 3 k3 x^2)),  k = sqrt(8/pi), k3 = 0.044715 k
 *   softplus    s x > s2 ? x : log(1 + exp(s x)) / s     dx = s x > s2 ? dy : dy sigmoid(s x)
 *   hardtanh    min(max(x, s), s2): clamp of elem.c      dx = s < x < s2 ? dy : 0
 *   step        x > 0 ? 1 : 0, NaN stays                 dx = 0: no kernel
 *
 * prelu's w is b (forward) and b with x in c (bwd_x), broadcast; one number (leaky_relu) is s with b null. */
#include "elem.h"

#if FN_REAL
#include "softmax.h"

/* y = f(a, b, c, s, s2), the sides that there are; the last values masked, through the same code. */
FN_INLINE void act(const fn_elem_args *p, int64_t n, void *const *at, const int sides, vec f(vec, vec, vec, vec, vec)) {
    fn_t *const y = at[0];
    const fn_t *const a = at[1], *const b = sides > 2 ? at[2] : NULL, *const c = sides > 3 ? at[3] : NULL;
    const vec s = v_set1((fn_t)p->s), s2 = v_set1((fn_t)p->s2);
    for (int64_t i = 0; i < n; i += FN_VL) {
        const int m = (int)(n - i < FN_VL ? n - i : FN_VL);
        v_put(y + i, f(v_get(a + i, m), b ? v_get(b + i, m) : v_zero(), c ? v_get(c + i, m) : v_zero(), s, s2), m);
    }
}

#define ACT(name, sides, value) \
    FN_INLINE vec name##_v(vec a, vec b, vec c, vec s, vec s2) { \
        (void)a, (void)b, (void)c, (void)s, (void)s2; \
        return value; \
    } \
    static void name##_run(const void *args, int64_t n, void *const *at) { act(args, n, at, sides, name##_v); } \
    FN_KERNEL(name) { elem_run(args, t, name##_run, sides, sizeof(fn_t), sizeof(fn_t)); }

#define ONE v_set1(1)
#define K v_set1((fn_t)1.5957691216057307118)            /* sqrt(8 / pi) */
#define K3 v_set1((fn_t)0.0713548162726002527)           /* 0.044715 K */

FN_INLINE vec silu_bwd_of(vec dy, vec x, vec g) { return dy * (g * v_fma(x, ONE - g, ONE)); }
FN_INLINE vec normal_pdf(vec x) { return v_set1((fn_t)0.39894228040143267794) * v_exp_neg(x * x * v_set1((fn_t)-0.5)); }
FN_INLINE vec gelu_gate(vec x) { return v_sigmoid(x * v_fma(K3, x * x, K)); }
FN_INLINE vec gelu_tanh_bwd_of(vec dy, vec x, vec g) { return dy * v_fma(g * (ONE - g) * v_fma(v_set1(3) * K3, x * x, K), x, g); }

ACT(relu_fwd, 2, v_relu(a))
ACT(relu_bwd, 3, v_select(b <= v_zero(), v_zero(), a - s))     /* s is 0, and to subtract it flushes denormals */
ACT(sigmoid_fwd, 2, v_sigmoid(a))
ACT(sigmoid_bwd, 3, a * (ONE - b) * b)
ACT(tanh_fwd, 2, v_tanh(a))
ACT(tanh_bwd, 3, a * (ONE - b * b))
ACT(prelu_fwd, 3, v_select(a > v_zero(), a, b * a))
ACT(prelu_bwd_x, 4, v_select(c > v_zero(), a, b * a))
ACT(prelu_bwd_w, 3, v_select(b > v_zero(), v_zero(), a * b))
ACT(elu_fwd, 2, v_select(a < v_zero(), s * v_expm1_neg(a), s2 * a))
ACT(elu_bwd, 3, a * v_select(b <= v_zero(), s * v_exp_neg(b), s2))
ACT(silu_fwd, 2, a * v_sigmoid(a))
ACT(silu_bwd, 3, silu_bwd_of(a, b, v_sigmoid(b)))
ACT(gelu_fwd, 2, a * v_normal_cdf(a))
ACT(gelu_bwd, 3, a * v_fma(b, normal_pdf(b), v_normal_cdf(b)))
ACT(gelu_tanh_fwd, 2, a * gelu_gate(a))
ACT(gelu_tanh_bwd, 3, gelu_tanh_bwd_of(a, b, gelu_gate(b)))
ACT(softplus_fwd, 2, v_select(s * a > s2, a, v_softplus(s * a) / s))
ACT(softplus_bwd, 3, v_select(s * b > s2, a, a * v_sigmoid(s * b)))
ACT(hardtanh_bwd, 3, v_select((b > s) & (b < s2), a, v_zero()))
ACT(step_fwd, 2, v_select(a > v_zero(), ONE, v_select(m_nan(a), a, v_zero())))

#else

static void relu_fwd_run(const void *args, int64_t n, void *const *at) {
    fn_t *const y = at[0];
    const fn_t *const a = at[1];
    (void)args;
    for (int64_t i = 0; i < n; i++) y[i] = a[i] > 0 ? a[i] : 0;
}
FN_KERNEL(relu_fwd) { elem_run(args, t, relu_fwd_run, 2, sizeof(fn_t), sizeof(fn_t)); }
#endif
