/* Three tables without kernels, for test_dispatch.py. */
#include "fn.h"

static int yes(void) { return 1; }
static int no(void) { return 0; }
const fn_table fn_table_slow = { .isa = "slow", .supported = yes };
const fn_table fn_table_fast = { .isa = "fast", .supported = yes };
const fn_table fn_table_alien = { .isa = "alien", .supported = no };
