/* winograd_weight.c for filters of 4x4 taps, which phases of 7x7 and 8x8 filters of stride 2 are too: F(4x4, 3x3). */
#define TAPS 4
#include "winograd_weight.c"
