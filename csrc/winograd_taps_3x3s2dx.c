/* winograd_taps.c for 3x3 filters of stride 2, dx. */
#define STRIDE 2
#define BACKWARD 1
#define NAME winograd_3x3s2dx
#include "winograd_taps.c"
