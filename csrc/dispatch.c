/* One table of kernels, chosen once: the fastest that this machine runs, or the one that FASTNN_ISA names. */
#include "fn.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN FN_PLAIN
#define BARRIER FN_BARRIER
#define FLUSH FN_FLUSH
#define BARRIER_FLUSH (FN_BARRIER | FN_FLUSH)
const fn_op_info fn_ops[FN_OPS] = {
#define FN_OP(name, family, types, flags, work) { #name, #family, flags },
#include "ops.inc"
#undef FN_OP
};

/* The build names its instruction sets, slowest first: -DFN_ISAS=FN_X(base)FN_X(avx2) */
#define FN_X(isa) extern const fn_table fn_table_##isa;
FN_ISAS
#undef FN_X
static const fn_table *const tables[] = {
#define FN_X(isa) &fn_table_##isa,
FN_ISAS
#undef FN_X
};
enum { TABLES = sizeof tables / sizeof *tables };

static _Atomic(const fn_table *) chosen;

int fn_table_count(void) { return TABLES; }

const fn_table *fn_table_at(int i) { return tables[i]; }

int fn_table_force(const char *isa) {
    for (int i = 0; i < TABLES; i++)
        if (!strcmp(tables[i]->isa, isa) && tables[i]->supported()) {
            atomic_store(&chosen, tables[i]);
            return 0;
        }
    return -1;
}

const fn_table *fn_table_now(void) {
    const fn_table *t = atomic_load_explicit(&chosen, memory_order_acquire);
    if (t) return t;
    const char *isa = getenv("FASTNN_ISA");
    if (!isa || fn_table_force(isa))          /* a name that is not to be had is refused at import, see _info.pxi */
        for (int i = TABLES; i-- > 0 && fn_table_force(tables[i]->isa);) {}
    return atomic_load(&chosen);
}
