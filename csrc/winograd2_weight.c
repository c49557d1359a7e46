/* winograd_weight.c for filters of 2x2 taps, the phases of 4x4 filters of stride 2: F(2x2, 4x4). */
#define TAPS 2
#include "winograd_weight.c"
