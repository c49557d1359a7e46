/* Products of float32 numbers on the tile registers for bfloat16 (AMX), as accurate as multiply-adds of float32.
 *
 * A number is the sum of three bfloat16 numbers of eight bits, x = hi + mid + lo without a rest, and
 *     x y = hi hi + (hi mid + mid hi) + (hi lo + mid mid + lo hi)        but for less than 2^-22 of it
 * One instruction adds the products of 16 rows, 16 lanes and 32 numbers of k to a tile of c: sixteen at a time before they reach
 * it, so the sum is rounded less often than a chain of multiply-adds rounds it. What an infinity or NaN touches is not finite,
 * nor what came from beyond 3.39e38; the caller makes these elements anew. Denormals count as zero.
 *
 * Two numbers of k lie side by side. A tile is 1 KB: of rows, 16 lines of one row and 32 k; of lanes, 16 lines of two k of 16
 * lanes. The tiles of hi, mid and lo follow each other, and those of the next 32 k follow them. */
#ifndef FN_SPLIT_H
#define FN_SPLIT_H
#include "kernel.h"

#if defined(__AMX_BF16__) && FN_DT == 0
#define FN_SPLIT 1
enum { SPLIT_SIDE = 16, SPLIT_K = 32, SPLIT_TILE = SPLIT_SIDE * SPLIT_K, SPLIT_STEP = 3 * SPLIT_TILE };
enum { SPLIT_AHEAD = 8 };             /* rows of memory fetched ahead of their use */

/* From one tile of rows to the next, of K of k: a cache line more than they take, so that they begin in different sets. */
static inline int64_t split_room(int64_t K) { return over(K, SPLIT_K) * SPLIT_STEP + SPLIT_K; }

/* ---- into three -------------------------------------------------------------------------------------------------- */

/* x rounded to eight bits. */
FN_INLINE vec split_top(vec x) {
    return (vec)_mm512_and_si512(_mm512_add_epi32((__m512i)x, _mm512_set1_epi32(1 << 15)), _mm512_set1_epi32(-(1 << 16)));
}
/* Line i of the three tiles at y: 16 numbers of a and 16 of b, one after the other; or in turn, where k runs across vectors. */
FN_INLINE void split_put(uint16_t *y, int64_t i, vec a, vec b, const int in_turn) {
#define ODD_(i) (4 * (i) + 1) | (4 * (i) + 3) << 16
    const __m512i upper = _mm512_setr_epi32(ODD_(0), ODD_(1), ODD_(2), ODD_(3), ODD_(4), ODD_(5), ODD_(6), ODD_(7), ODD_(8),
                                            ODD_(9), ODD_(10), ODD_(11), ODD_(12), ODD_(13), ODD_(14), ODD_(15));
#undef ODD_
    UNROLL for (int q = 0; q < 3; q++) {
        const vec top_a = q < 2 ? split_top(a) : a, top_b = q < 2 ? split_top(b) : b;
        _mm512_store_si512(y + q * SPLIT_TILE + i * SPLIT_K,
            in_turn ? _mm512_or_si512(_mm512_srli_epi32((__m512i)top_a, 16), (__m512i)top_b)
                    : _mm512_permutex2var_epi16((__m512i)top_a, upper, (__m512i)top_b));
        a -= top_a, b -= top_b;
    }
}

/* The tiles of 16 rows whose numbers lie side by side, or lanes whose k do, and 32 of k; element (i,k) at x + i*x_i + k*x_k;
 * what is beyond n and K counts as zero. */
FN_INLINE void split_step(uint16_t *y, const fn_t *x, int64_t x_i, int64_t x_k, int64_t n, int64_t K, const int lanes) {
    fn_t z[SPLIT_TILE];
    vec t[FN_PIECE], u[FN_PIECE];
    if (n < SPLIT_SIDE || K < SPLIT_K || (lanes ? x_k : x_i) != 1) {
        const int64_t z_i = lanes ? SPLIT_K : 1, z_k = lanes ? 1 : SPLIT_SIDE;
        for (int i = 0; i < SPLIT_TILE; i += FN_VL) v_store(z + i, v_zero());
        for (int64_t i = 0; i < least(n, SPLIT_SIDE); i++)
            for (int64_t k = 0; k < least(K, SPLIT_K); k++) z[i * z_i + k * z_k] = x[i * x_i + k * x_k];
        x = z, x_i = z_i, x_k = z_k;
    }
    if (lanes)
        for (int k = 0; k < SPLIT_K; k += FN_PIECE) {
            v_load_turned(t, x + k, x_i, FN_VL);
            split_put(y, k / 2, t[0], t[1], 1), split_put(y, k / 2 + 1, t[2], t[3], 1);
        }
    else
        for (int i = 0; i < SPLIT_SIDE; i += FN_PIECE) {
            v_load_turned(t, x + i, x_k, FN_VL), v_load_turned(u, x + i + FN_VL * x_k, x_k, FN_VL);
            UNROLL for (int q = 0; q < FN_PIECE; q++) split_put(y, i + q, t[q], u[q], 0);
        }
}
/* n rows and K of k, and n lanes: `room` numbers from tile to tile. Memory is read along its rows. */
FN_APART void split_rows(uint16_t *y, int64_t room, const fn_t *x, int64_t x_i, int64_t x_k, int64_t n, int64_t K) {
    if (x_k == 1) {
        for (int64_t i = 0; i < up(n, SPLIT_SIDE); i++, x += x_i) {
            uint16_t *const to = y + i / SPLIT_SIDE * room;
            const int64_t has = i < n ? K : 0;
            int64_t k = 0;
            for (; k + SPLIT_K <= has; k += SPLIT_K)
                split_put(to + k / SPLIT_K * SPLIT_STEP, i % SPLIT_SIDE, v_load(x + k), v_load(x + k + FN_VL), 0);
            for (; k < K; k += SPLIT_K)
                split_put(to + k / SPLIT_K * SPLIT_STEP, i % SPLIT_SIDE, v_get_any(x + k, has - k), v_get_any(x + k + FN_VL, has - k - FN_VL), 0);
        }
        return;
    }
    for (int64_t k = 0; k < K; k += SPLIT_K)
        for (int64_t i = 0; i < n; i += SPLIT_SIDE)
            split_step(y + i / SPLIT_SIDE * room + k / SPLIT_K * SPLIT_STEP, x + i * x_i + k * x_k, x_i, x_k, n - i, K - k, 0);
}
FN_APART void split_lanes(uint16_t *y, int64_t room, const fn_t *x, int64_t x_i, int64_t x_k, int64_t n, int64_t K) {
    if (x_i == 1) {
        for (int64_t k = 0; k < up(K, SPLIT_K); k += 2, x += 2 * x_k) {
            uint16_t *to = y + k / SPLIT_K * SPLIT_STEP;
            const int64_t has = k < K ? n : 0, next = k + 1 < K ? n : 0;
            int64_t i = 0;
            for (; i + SPLIT_SIDE <= next; i += SPLIT_SIDE, to += room) {
                __builtin_prefetch(x + i + SPLIT_AHEAD * x_k), __builtin_prefetch(x + i + (SPLIT_AHEAD + 1) * x_k);
                split_put(to, k % SPLIT_K / 2, v_load(x + i), v_load(x + x_k + i), 1);
            }
            for (; i < n; i += SPLIT_SIDE, to += room)
                split_put(to, k % SPLIT_K / 2, v_get_any(x + i, has - i), v_get_any(x + x_k + i, next - i), 1);
        }
        return;
    }
    for (int64_t i = 0; i < n; i += SPLIT_SIDE)
        for (int64_t k = 0; k < K; k += SPLIT_K)
            split_step(y + i / SPLIT_SIDE * room + k / SPLIT_K * SPLIT_STEP, x + i * x_i + k * x_k, x_i, x_k, n - i, K - k, 1);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* Around all products of a kernel: tiles of 16 lines of 64 bytes; afterwards none, so that nobody need save them. */
FN_INLINE void split_begin(void) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t lines[16];
    } whole = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .lines = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&whole);
}
FN_INLINE void split_end(void) { _tile_release(); }

/* c[r,l] = sum over K of s[r,k] v[k,l], c (32,32), rows ldc apart: one or two tiles of rows, s_room apart, and of lanes. The six
 * products are taken in one order whichever of the two is the left operand: s, or v if turned. */
FN_APART void split_product(fn_t *c, int64_t ldc, const uint16_t *s, int64_t s_room, int64_t rows,
                                                            const uint16_t *v, int64_t v_room, int64_t lanes, int64_t K, int turned) {
    const int low = rows > SPLIT_SIDE, right = lanes > SPLIT_SIDE;
    __asm__ volatile("" ::: "memory");       /* what was stored is loaded below, of which the intrinsics say nothing */
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
#define S_(piece) do { \
        _tile_loadd(4, s + (piece) * SPLIT_TILE, 64); \
        if (low) _tile_loadd(5, s + s_room + (piece) * SPLIT_TILE, 64); \
    } while (0)
#define V_(piece) do { \
        _tile_loadd(6, v + (piece) * SPLIT_TILE, 64); \
        if (right) _tile_loadd(7, v + v_room + (piece) * SPLIT_TILE, 64); \
    } while (0)
#define ADD_() do { \
        _tile_dpbf16ps(0, 4, 6); \
        if (right) _tile_dpbf16ps(1, 4, 7); \
        if (low) _tile_dpbf16ps(2, 5, 6); \
        if (low && right) _tile_dpbf16ps(3, 5, 7); \
    } while (0)
    for (int64_t k = 0; k < K; k += SPLIT_K, s += SPLIT_STEP, v += SPLIT_STEP) {
        if (!turned) {
            S_(0); V_(2); ADD_(); V_(1); ADD_(); V_(0); ADD_();
            S_(1); ADD_(); V_(1); ADD_();
            S_(2); V_(0); ADD_();
        } else {
            V_(0); S_(2); ADD_(); S_(1); ADD_(); S_(0); ADD_();
            V_(1); ADD_(); S_(1); ADD_();
            V_(2); S_(0); ADD_();
        }
    }
#undef S_
#undef V_
#undef ADD_
    _tile_stored(0, c, ldc * 4);
    _tile_stored(1, c + SPLIT_SIDE, ldc * 4);
    if (low) {
        _tile_stored(2, c + SPLIT_SIDE * ldc, ldc * 4);
        _tile_stored(3, c + SPLIT_SIDE * ldc + SPLIT_SIDE, ldc * 4);
    }
    __asm__ volatile("" ::: "memory");
}
#else
#define FN_SPLIT 0
#endif
#endif
