/* Kernels that tell how they were run, for test_team.py, test_run.py and test_run_threads.py. */
#include "fn.h"
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

typedef struct {
    int32_t *out;                /* a word for each rank */
    int64_t n;
} probe;

/* out[rank] = team size */
void probe_size(const void *args, fn_team t) { ((const probe *)args)->out[t.rank] = t.size; }

/* out[0] = a b in the mode at hand: 1e-30f * 1e-10f is a denormal, or 0 where those are flushed */
void probe_denormal(const void *args, fn_team t) {
    volatile float a = 1e-30f, b = 1e-10f;
    ((const probe *)args)->out[t.rank] = a * b > 0;
}

/* n rounds: everybody counts, then looks at everybody. out[rank] = how often a count was behind */
void probe_barrier(const void *args, fn_team t) {
    const probe *p = args;
    volatile int64_t *count = (volatile int64_t *)(p->out + FN_MAX_THREADS);     /* 8 words apart */
    int32_t wrong = 0;
    count[8 * t.rank] = 0;
    fn_barrier(t);
    for (int64_t i = 1; i <= p->n; i++) {
        count[8 * t.rank] = i;
        fn_barrier(t);
        for (int r = 0; r < t.size; r++) wrong += count[8 * r] != i;
        fn_barrier(t);
    }
    p->out[t.rank] = wrong;
}

/* out[i] for i in n: a chain in which call c adds up what call c - 1 left in every word */
void probe_chain(const void *args, fn_team t) {
    const probe *p = args;
    const int32_t *old = p->out;
    int32_t *new = p->out + p->n;
    int64_t lo, hi;
    fn_share(p->n, 1, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) new[i] = old[p->n - 1 - i] + 1;
}

/* Three deals of n items and barriers between them: out[i] counts how often item i was taken. */
void probe_deal(const void *args, fn_team t) {
    const probe *p = args;
    for (int k = 0; k < 3; k++) {
        fn_deal deal = fn_dealt(p->n, t);
        for (int64_t i; (i = fn_take(&deal)) >= 0;) atomic_fetch_add((_Atomic int32_t *)p->out + i, 1);
        fn_barrier(t);
    }
}

/* Whoever has item 0 waits for all the others. out[0] = items taken, out[1] = waited in vain */
void probe_slow(const void *args, fn_team t) {
    const probe *p = args;
    _Atomic int32_t *const taken = (_Atomic int32_t *)p->out;
    fn_deal deal = fn_dealt(p->n, t);
    for (int64_t i; (i = fn_take(&deal)) >= 0;) {
        for (int turns = 0; i == 0 && t.size > 1 && taken[0] < p->n - 1 && !taken[1]; turns++) {
            sched_yield();
            if (turns > 1 << 22) taken[1] = 1;
        }
        atomic_fetch_add(taken, 1);
    }
}
