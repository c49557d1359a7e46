/* winograd_taps.c for F(2x4, 5x3). */
#define TAPS_H 5
#define TAPS_W 3
#include "winograd_taps.c"
