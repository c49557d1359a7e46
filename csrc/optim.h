/* A step of an optimizer by gradients that were made just now (optim.c). */
#ifndef FN_OPTIM_H
#define FN_OPTIM_H
#include "kernel.h"

/* Elements at .. at + n-1 of the segment have the gradients g: the bits of the op's own pass. */
void FN_BELOW(optim_piece)(int64_t op, const fn_seg *seg, int64_t at, const fn_t *g, int64_t n);
/* The same for rows * n elements, whose gradients are s[row] x; they go to dw, if it is not null. */
void FN_BELOW(optim_outer)(int64_t op, const fn_seg *seg, int64_t at, const fn_t *s, int64_t rows, const fn_t *x, int64_t n, fn_t *dw);
#endif
