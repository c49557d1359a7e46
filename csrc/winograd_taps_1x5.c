/* winograd_taps.c for F(2, 5). */
#define TAPS_H 1
#define TAPS_W 5
#include "winograd_taps.c"
