/* Regions on threads of our own, for builds without an OpenMP runtime; the twin of run.c behind the same face.
 *
 * One crew serves the process. A caller that finds it at work for another runs alone: the values are the same for any team. */
#include "team.h"
#if !defined(_WIN32)
#include <pthread.h>
#endif

const char *fn_run_kind(void) { return "threads"; }

static struct {
    atomic_flag busy;
    int hands;                   /* started so far; hand i is rank i + 1 */
    fn_job *job;
    _Atomic int size;            /* also read before a region begins, to see how long to spin */
    fn_gate finish;
    fn_signal go[FN_MAX_THREADS];
} crew = { .busy = ATOMIC_FLAG_INIT };

static void *work(void *hand) {
    const int rank = (int)(intptr_t)hand + 1;
    for (uint32_t turn = 0;; turn++) {
        fn_wait(&crew.go[rank - 1], turn, fn_spins(crew.size));
        const int size = crew.size;
        fn_walk(crew.job, rank, size);
        fn_gate_pass(&crew.finish, size);
    }
    return NULL;
}

static void region(fn_job *job, int threads) {
    while (crew.hands < threads - 1 && !fn_thread_start(work, (void *)(intptr_t)crew.hands)) crew.hands++;
    const int size = crew.hands + 1 < threads ? crew.hands + 1 : threads;
    crew.job = job;
    crew.size = size;
    for (int i = 0; i < size - 1; i++) fn_post(&crew.go[i], atomic_load(&crew.go[i].word) + 1);
    fn_walk(job, 0, size);
    fn_gate_pass(&crew.finish, size);
}

void fn_run(const fn_call *calls, int64_t n, int threads) {
    fn_job job;
    if (threads > FN_MAX_THREADS) threads = FN_MAX_THREADS;
    fn_job_init(&job, calls, n, threads);
    if (threads < 2 || !fn_wants_team(calls, n) || atomic_flag_test_and_set(&crew.busy)) {
        fn_walk(&job, 0, 1);
        return;
    }
    region(&job, threads);
    atomic_flag_clear(&crew.busy);
}

#if defined(_WIN32)
void fn_run_init(void) {}
#else
static void in_child(void) {
    crew.hands = 0;
    crew.finish = (fn_gate){ 0 };
    for (int i = 0; i < FN_MAX_THREADS; i++) crew.go[i] = (fn_signal){ 0 };
    atomic_flag_clear(&crew.busy);
    fn_team_forked();
}

void fn_run_init(void) {
    static int done;
    if (!done++) pthread_atfork(NULL, NULL, in_child);
}
#endif
