/* winograd_taps.c for 3x3 filters of stride 2, y and dw. */
#define STRIDE 2
#define BACKWARD 0
#define NAME winograd_3x3s2
#include "winograd_taps.c"
