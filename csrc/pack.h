/* Operands of a product in the order that its registers read them. */
#ifndef FN_PACK_H
#define FN_PACK_H
#include "brgemm.h"

enum { PACK_TILES = 9, PACK_AHEAD = 8 };     /* tiles packed side by side; rows of memory fetched ahead of their use */

/* Where share i of n begins. A division costs as much as a small product's row. */
static inline int64_t cut(int64_t n, int64_t i, int64_t shares) { return shares == 1 ? i * n : n * i / shares; }

/* y[j*ldy + i] = x[i*ldx + j] for n <= FN_VL values of i; lanes n and up of y are written with anything. */
FN_INLINE void transpose_lanes(fn_t *y, int64_t ldy, const fn_t *x, int64_t ldx, const int n, int64_t cols) {
    int64_t j = 0;
    for (; j + FN_PIECE <= cols; j += FN_PIECE) {
        vec t[FN_PIECE];
        v_load_turned(t, x + j, ldx, n);
        UNROLL for (int q = 0; q < FN_PIECE; q++) v_store(y + (j + q) * ldy, t[q]);
    }
    for (; j < cols; j++)
        for (int i = 0; i < FN_VL; i++) y[j * ldy + i] = x[least(i, n - 1) * ldx + j];
}
/* The same for FN_PIECE values of i, and no more is written. */
FN_INLINE void transpose_few(fn_t *y, int64_t ldy, const fn_t *x, int64_t ldx, int64_t cols) {
    FN_VECTORS(cols,
        vec t[FN_PIECE];
        for (int q = 0; q < FN_PIECE; q++) t[q] = v_get(x + q * ldx + i, m);
        v_transpose_pieces(t);
        v_store_pieces(y + i * ldy, ldy, t, m););
}
/* For any rows of x; if padded, y is written up to whole vectors. */
static void transpose(fn_t *y, int64_t ldy, const fn_t *x, int64_t ldx, int64_t rows, int64_t cols, int padded) {
    int64_t i = 0;
    for (; i + FN_VL <= rows; i += FN_VL) transpose_lanes(y + i, ldy, x + i * ldx, ldx, FN_VL, cols);
    if (i < rows && padded) {
        transpose_lanes(y + i, ldy, x + i * ldx, ldx, (int)(rows - i), cols);
        return;
    }
    for (int64_t first; i < rows && rows >= FN_PIECE; i = first + FN_PIECE) {
        first = least(i, rows - FN_PIECE);
        transpose_few(y + first, ldy, x + first * ldx, ldx, cols);
    }
    for (; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) y[j * ldy + i] = x[i * ldx + j];
}

/* y[i*ldy + j] = x[i*ldx + j], and zeros up to a whole vector if padded */
static void copy_rows(fn_t *y, int64_t ldy, const fn_t *x, int64_t ldx, int64_t rows, int64_t cols, int padded) {
    const int64_t whole = cols / FN_VL * FN_VL;
    const int rest = (int)(cols - whole);
    for (int64_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        for (int64_t j = 0; j < whole; j += FN_VL) v_store(y + j, v_load(x + j));
        if (rest && padded) v_store(y + whole, v_load_n(x + whole, rest));
        else if (rest) v_store_n(y + whole, v_load_n(x + whole, rest), rest);
    }
}

/* n lanes in panels, each (K, width): lane j of row k at y + j/width*panel + k*width + j%width, padded to vectors. */
static void pack_lanes(fn_t *y, int64_t width, int64_t panel, const fn_t *v, int64_t v_k, int64_t v_l, int64_t K,
                       int64_t n) {
    int64_t j = 0;
    if (v_l == 1 && width % FN_NR == 0) {        /* a whole row at a time, as it lies in memory */
        const int64_t whole = n / width * width;
        for (int64_t k = 0; k < K; k++)
            for (j = 0; j < whole; j += FN_NR) {
                const fn_t *const x = v + k * v_k + j;
                fn_t *const z = y + j / width * panel + k * width + j % width;
                const vec lo = v_load(x), hi = v_load(x + FN_VL);
                __builtin_prefetch(x + PACK_AHEAD * v_k), __builtin_prefetch(x + PACK_AHEAD * v_k + FN_VL);
                v_store(z, lo), v_store(z + FN_VL, hi);
            }
    }
    for (; j < n; j += width) {
        const int64_t lanes = least(width, n - j);
        const fn_t *const x = v + j * v_l;
        fn_t *const z = y + j / width * panel;
        if (v_l == 1) copy_rows(z, width, x, v_k, K, lanes, 1);
        else if (v_k == 1) transpose(z, width, x, v_l, lanes, K, 1);
        else
            for (int64_t k = 0; k < K; k++)
                for (int64_t i = 0; i < up(lanes, FN_VL); i++) z[k * width + i] = i < lanes ? x[k * v_k + i * v_l] : 0;
    }
}

/* Rows of s that lie side by side, in tiles of h <= FN_ROWS2: row r of one at k*h + r. `all` follow in s. */
static void pack_tiles(fn_t *y, int64_t room, const fn_t *s, int64_t s_k, int64_t K, int64_t rows, int64_t all) {
    enum { VECS = (FN_ROWS2 + FN_VL - 1) / FN_VL };
    const int64_t tiles = over(rows, FN_ROWS2);
    int64_t from[PACK_TILES + 1], whole = 0;
    fn_t *to[PACK_TILES + 1];
    for (int64_t q = 0; q <= tiles; q++) from[q] = cut(rows, q, tiles), to[q] = y + q * room;
    while (whole < tiles && from[whole] + VECS * FN_VL <= all) whole++;
    for (int64_t k = 0; k < K; k++, s += s_k) {
        for (int64_t q = 0; q < whole; q++) {
            __builtin_prefetch(s + from[q] + PACK_AHEAD * s_k);
            UNROLL for (int i = 0; i < VECS; i++) v_store(to[q] + i * FN_VL, v_load(s + from[q] + i * FN_VL));
            to[q] += from[q + 1] - from[q];
        }
        for (int64_t q = whole; q < tiles; q++) {
            const int64_t h = from[q + 1] - from[q];
            for (int64_t i = 0; i < h; i += FN_VL)
                v_store(to[q] + i, v_get(s + from[q] + i, h - i));
            to[q] += h;
        }
    }
}
#endif
