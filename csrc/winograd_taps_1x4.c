/* winograd_taps.c for F(3, 4). */
#define TAPS_H 1
#define TAPS_W 4
#include "winograd_taps.c"
