/* winograd_taps.c for F(4x4, 2x2). */
#define TAPS_H 2
#define TAPS_W 2
#include "winograd_taps.c"
