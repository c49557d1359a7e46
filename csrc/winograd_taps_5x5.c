/* winograd_taps.c for F(2x2, 5x5). */
#define TAPS_H 5
#define TAPS_W 5
#include "winograd_taps.c"
