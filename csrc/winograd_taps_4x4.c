/* winograd_taps.c for F(3x3, 4x4). */
#define TAPS_H 4
#define TAPS_W 4
#include "winograd_taps.c"
