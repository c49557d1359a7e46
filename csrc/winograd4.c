/* winograd.c for filters of 4x4 taps, which phases of 7x7 and 8x8 filters of stride 2 are too: F(3x3, 4x4). */
#define TAPS 4
#include "winograd.c"
