/* Batch norm's statistics, part by part, for the kernel that makes what is to be normalised: while a part is near. */
#ifndef FN_NORM_PARTS_H
#define FN_NORM_PARTS_H
#include "kernel.h"

/* In how many parts batch_norm_fwd takes x of (rows, C), C neighbours in memory; and the first row of part i, `rows` beyond the last. */
int64_t FN_NAME(norm_parts)(int64_t rows, int64_t C);
int64_t FN_NAME(norm_row)(int64_t rows, int64_t C, int64_t i);

/* What batch_norm_fwd would find for part i, to where it would keep it: sums, its work. */
void FN_NAME(norm_stats)(double *sums, const void *x, int64_t rows, int64_t C, int64_t i);
#endif
