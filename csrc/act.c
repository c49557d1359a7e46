/* Activations over fn_elem_args; act_fwd: y = f(a). act_bwd: y is dx, a is dy, b is forward's output.
 *
 *   relu     y = max(a, 0), NaN stays          dx = dy where b > 0 or b is NaN, else 0
 *   sigmoid  y = 1 / (1 + exp(-a))             dx = dy (1 - b) b
 *   tanh     y = tanh(a)                       dx = dy (1 - b^2)
 *
 * Backward from the output alone: nothing else need be kept. */
#include "elem.h"

#if FN_REAL
#include "vmath.h"

FN_INLINE vec relu_fwd_v(vec a) { return v_select(a <= v_zero(), v_zero(), a); }
FN_INLINE vec relu_bwd_v(vec dy, vec y) { return v_select(y <= v_zero(), v_zero(), dy); }
FN_INLINE vec sigmoid_bwd_v(vec dy, vec y) { return dy * (v_set1(1) - y) * y; }
FN_INLINE vec tanh_bwd_v(vec dy, vec y) { return dy * (v_set1(1) - y * y); }

FN_INLINE void act1(int64_t n, void *const *at, vec f(vec)) {
    fn_t *const y = at[0];
    const fn_t *const a = at[1];
    int64_t i = 0;
    for (; i + FN_VL <= n; i += FN_VL) v_store(y + i, f(v_load(a + i)));
    if (i < n) v_store_n(y + i, f(v_load_n(a + i, (int)(n - i))), (int)(n - i));
}
FN_INLINE void act2(int64_t n, void *const *at, vec f(vec, vec)) {
    fn_t *const y = at[0];
    const fn_t *const a = at[1], *const b = at[2];
    int64_t i = 0;
    for (; i + FN_VL <= n; i += FN_VL) v_store(y + i, f(v_load(a + i), v_load(b + i)));
    if (i < n) v_store_n(y + i, f(v_load_n(a + i, (int)(n - i)), v_load_n(b + i, (int)(n - i))), (int)(n - i));
}

#define ACT(name, each, sides, f) \
    static void name##_run(const void *args, int64_t n, void *const *at) { (void)args; each(n, at, f); } \
    FN_KERNEL(name) { elem_run(args, t, name##_run, sides, sizeof(fn_t), sizeof(fn_t)); }

ACT(relu_fwd, act1, 2, relu_fwd_v)
ACT(relu_bwd, act2, 3, relu_bwd_v)
ACT(sigmoid_fwd, act1, 2, v_sigmoid)
ACT(sigmoid_bwd, act2, 3, sigmoid_bwd_v)
ACT(tanh_fwd, act1, 2, v_tanh)
ACT(tanh_bwd, act2, 3, tanh_bwd_v)

#else

static void relu_fwd_run(const void *args, int64_t n, void *const *at) {
    fn_t *const y = at[0];
    const fn_t *const a = at[1];
    (void)args;
    for (int64_t i = 0; i < n; i++) y[i] = a[i] > 0 ? a[i] : 0;
}
FN_KERNEL(relu_fwd) { elem_run(args, t, relu_fwd_run, 2, sizeof(fn_t), sizeof(fn_t)); }
#endif
