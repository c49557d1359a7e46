/* winograd.c for filters of 2x2 taps, the phases of 4x4 filters of stride 2: F(4x4, 2x2). */
#define TAPS 2
#include "winograd.c"
