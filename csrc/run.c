/* Regions on OpenMP; the only file that knows of it. run_threads.c is its twin without. */
#include "team.h"
#include <omp.h>
#if !defined(_WIN32)
#include <pthread.h>
#endif

const char *fn_run_kind(void) { return "openmp"; }

static void region(fn_job *job, int threads) {
#pragma omp parallel num_threads(threads)
    fn_walk(job, omp_get_thread_num(), omp_get_num_threads());
}

/* After a fork, the thread that lives on in the child still has its team in libgomp's books, though those threads are gone, and a
 * region opened by it would wait for them for ever. A fresh thread has no books: it opens the regions in that one's place. */
static _Thread_local int orphan;
static struct {
    fn_signal asked, done;
    fn_job *job;
    int threads, alive;
} helper;

static void *help(void *unused) {
    for (uint32_t turn = 0;; turn++) {
        fn_wait(&helper.asked, turn, fn_spins(helper.threads + 1));
        region(helper.job, helper.threads);
        fn_post(&helper.done, turn + 1);
    }
    return unused;
}

static int ask_helper(fn_job *job, int threads) {
    helper.job = job;
    helper.threads = threads;
    if (!helper.alive && fn_thread_start(help, NULL)) return -1;
    helper.alive = 1;
    const uint32_t turn = atomic_load(&helper.done.word);
    fn_post(&helper.asked, turn + 1);
    fn_wait(&helper.done, turn, fn_spins(threads + 1));
    return 0;
}

void fn_run(const fn_call *calls, int64_t n, int threads) {
    fn_job job;
    if (threads > FN_MAX_THREADS) threads = FN_MAX_THREADS;
    fn_job_init(&job, calls, n, threads);
    if (threads < 2 || !fn_wants_team(calls, n)) fn_walk(&job, 0, 1);
    else if (!orphan) region(&job, threads);
    else if (ask_helper(&job, threads)) fn_walk(&job, 0, 1);
}

#if defined(_WIN32)
void fn_run_init(void) {}
#else
static void in_child(void) {
    orphan = 1;
    helper.alive = 0;
    helper.asked = helper.done = (fn_signal){ 0 };
    fn_team_forked();
}

void fn_run_init(void) {
    static int done;
    if (!done++) pthread_atfork(NULL, NULL, in_child);
}
#endif
