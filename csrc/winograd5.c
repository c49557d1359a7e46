/* winograd.c for 5x5 filters: F(2x2, 5x5). */
#define TAPS 5
#include "winograd.c"
