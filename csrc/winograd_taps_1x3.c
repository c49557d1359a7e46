/* winograd_taps.c for F(4, 3). */
#define TAPS_H 1
#define TAPS_W 3
#include "winograd_taps.c"
