/* The whole C door of fastnn: element types, teams, kernels, programs, tables, memory.
 *
 * Kernels know neither Python nor allocation and cannot fail; callers have checked every shape. */
#ifndef FN_H
#define FN_H
#include <stddef.h>
#include <stdint.h>

#define FN_DIMS 8                /* most dimensions of a tensor */
#define FN_ALIGN 64              /* every block starts on a cache line */
#define FN_MAX_THREADS 256

typedef enum { FN_F32, FN_F64, FN_I64, FN_I32, FN_U8, FN_BOOL, FN_DTYPES } fn_dtype;

/* ---- kernels: mathematics over an args struct (args.h), run by a team -------------------------------- */

typedef struct fn_gate fn_gate;
typedef struct {
    int rank, size;              /* 0 <= rank < size; size is what the region got, which may be less than asked */
    fn_gate *gate;
} fn_team;

typedef void (*fn_kernel)(const void *args, fn_team t);
typedef int64_t (*fn_scratch)(const void *args, int threads);   /* bytes that args->work must point to */

void fn_barrier(fn_team t);      /* only in kernels marked BARRIER in ops.inc; how often depends on args alone */

/* The share of t in n items, cut at multiples of grain: contiguous, differing by at most one grain. */
static inline void fn_share(int64_t n, int64_t grain, fn_team t, int64_t *lo, int64_t *hi) {
    const int64_t blocks = (n + grain - 1) / grain;
    const int64_t a = blocks * t.rank / t.size * grain, b = blocks * (t.rank + 1) / t.size * grain;
    *lo = a < n ? a : n;
    *hi = b < n ? b : n;
}

/* Items dealt out: a thread takes those of its own share from the front, then what slower threads have left, from the end. For items
 * of microseconds and more that give the same whoever makes them. One deal between two barriers; a kernel's begin and end are such.
 *     fn_deal deal = fn_dealt(n, t);
 *     for (int64_t i; (i = fn_take(&deal)) >= 0;) ... */
typedef struct {
    fn_team t;
    int64_t n, next, end;
} fn_deal;
static inline fn_deal fn_dealt(int64_t n, fn_team t) {
    fn_deal d = {.t = t, .n = n};
    fn_share(n, 1, t, &d.next, &d.end);
    return d;
}
int64_t fn_take_among(fn_deal *d);
static inline int64_t fn_take(fn_deal *d) { return d->t.size > 1 ? fn_take_among(d) : d->next < d->end ? d->next++ : -1; }

/* ---- the one list of operations: ops.inc ---------------------------------------------------------------- */

enum {
#define FN_OP(name, family, types, flags, work) FN_OP_##name,
#include "ops.inc"
#undef FN_OP
    FN_OPS
};

enum { FN_PLAIN = 0, FN_BARRIER = 1, FN_FLUSH = 2 };   /* flags of an op: calls fn_barrier; runs with denormals flushed */

typedef struct {
    const char *name, *family;
    int flags;
} fn_op_info;
extern const fn_op_info fn_ops[FN_OPS];

typedef struct {                 /* one op for one element type; kernel is NULL where the type is not carried */
    fn_kernel kernel;
    fn_scratch scratch;          /* NULL: no scratch */
} fn_slot;

typedef struct fn_table fn_table;
struct fn_table {                /* all ops of one instruction set */
    const char *isa;
    const fn_table *under;       /* where the ops are that this one does not have; or NULL */
    int (*supported)(void);      /* does this machine run it? */
    int vector_bytes;
    double (*fma_peak)(double seconds);      /* measured GFLOP/s of one thread in f32 */
    fn_slot slot[FN_OPS][FN_DTYPES];
};

static inline const fn_slot *fn_find(const fn_table *t, int op, int dtype) {
    while (!t->slot[op][dtype].kernel && t->under) t = t->under;
    return &t->slot[op][dtype];
}

/* ---- dispatch.c: one table, chosen once ------------------------------------------------------------------- */

const fn_table *fn_table_now(void);
int fn_table_count(void);                    /* tables compiled in, slowest first */
const fn_table *fn_table_at(int i);
int fn_table_force(const char *isa);         /* 0, or -1: not compiled in or not runnable here */

/* ---- run.c / run_threads.c: teams and programs ------------------------------------------------------------ */

typedef struct {                 /* one recorded call; args lie in the program's own memory */
    fn_kernel kernel;
    const void *args;
    int32_t op;
    int32_t flags;               /* of the op */
    int32_t threads;             /* team it wants: 1 runs on rank 0 alone */
    int32_t dtype;
} fn_call;

/* Run n calls in order in one parallel region of at most `threads`, a barrier between dependent teams.
 * A single-threaded list runs on the caller's thread with no region. Cannot fail and does not allocate. */
void fn_run(const fn_call *calls, int64_t n, int threads);
const char *fn_run_kind(void);               /* "openmp" or "threads" */
int fn_threads_default(void);                /* FASTNN_NUM_THREADS, OMP_NUM_THREADS, else affinity and cgroup quota */
void fn_run_costs(double *region_ns, double *barrier_ns, int threads);   /* measured */
int fn_flush_denormals(int on);              /* the caller thread's mode; returns the old one */
void fn_run_init(void);                      /* fork handlers; called once at import */

/* ---- mem.c: pools ---------------------------------------------------------------------------------------------
 * A pool is one reserved address range carved best-fit into 64-byte aligned blocks that merge again when freed;
 * pages that stayed free go back to the system. A block knows its pool, so any thread may free it. Locked inside. */

typedef struct fn_pool fn_pool;
fn_pool *fn_pool_new(void);                  /* NULL: out of memory */
void fn_pool_drop(fn_pool *p);               /* unmapped when its last block is freed */
void *fn_alloc(fn_pool *p, int64_t bytes);   /* NULL: out of memory; bytes 0 gives a unique block */
void fn_free(void *block);                   /* NULL is nothing */
fn_pool *fn_pool_of(const void *block);
int fn_pool_contains(const fn_pool *p, const void *address);
int64_t fn_block_bytes(const void *block);   /* usable size, at least what was asked for */
void fn_pool_trim(fn_pool *p, int64_t keep_bytes);   /* give free pages back beyond keep_bytes */
typedef struct { int64_t in_use, peak_in_use, resident, calls; } fn_pool_stats;  /* bytes; calls counts alloc and free */
fn_pool_stats fn_pool_info(fn_pool *p);
void fn_pool_reset_peak(fn_pool *p);
int fn_block_check(const void *block);       /* debug builds: 0 if the guard words are whole, else -1; always 0 otherwise */
void fn_mem_init(void);

#endif
