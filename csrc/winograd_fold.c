/* A first layer's few channels for Winograd's minimal filtering (winograd.c): pixels of all of x's phases, side by side. */
#include "winograd.h"

/* Numbers of n rows of x, or zeros, from w on, turned: v[l] has the l-th of each. */
FN_INLINE void load_columns(vec *v, const fn_t **row, int64_t n, int64_t w, int64_t W) {
    if (w >= 0 && w + FN_VL <= W) {
        UNROLL for (int l = 0; l < FN_VL; l++) v[l] = l < n && row[l] ? v_load(row[l] + w) : v_zero();
    } else {
        fn_t some[FN_VL][FN_VL] = {{0}};
        for (int64_t l = 0; l < n; l++)
            for (int64_t i = most(-w, 0); row[l] && i < least(FN_VL, W - w); i++) some[l][i] = row[l][w + i];
        UNROLL for (int l = 0; l < FN_VL; l++) v[l] = v_load(some[l]);
    }
    v_transpose(v);
}

/* Where rows are less than a vector, a store covers what the one before it wrote too much. */
void FN_NAME(winograd_fold)(const filtering *g, fn_t *band, int64_t image, int64_t row, int64_t column, int64_t down, int64_t columns) {
    const int64_t stride = g->stride, rows = stride * g->C, w = column * stride - g->left;
    const fn_t *const x = g->x + image * g->x_n;
    for (int64_t a = 0; a < down; a++, band += columns * g->I)
        for (int64_t first = 0; first < rows; first += FN_VL) {
            const fn_t *from[FN_VL];
            const int64_t n = least(rows - first, FN_VL);
            for (int64_t l = 0; l < n; l++) {
                const int64_t r = first + l, h = (row + a) * stride - g->top + r / g->C;
                from[l] = within(h, g->H) ? x + r % g->C * g->x_c + h * g->x_h : 0;
            }
            fn_t *to = band + first;
            for (int64_t j = 0, q = 0; j < columns * stride; j += FN_VL) {
                vec v[FN_VL];
                load_columns(v, from, n, w + j, g->W);
                for (int64_t l = 0; l < least(FN_VL, columns * stride - j); l++) {
                    if (first && n < FN_VL) v_store_n(to + q * rows, v[l], (int)n);
                    else v_store(to + q * rows, v[l]);
                    if (++q == stride) q = 0, to += g->I;
                }
            }
        }
}
