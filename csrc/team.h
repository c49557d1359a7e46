/* What run.c and run_threads.c share: a list of calls walked by the threads of a region, and how they wait for each other. */
#ifndef FN_TEAM_H
#define FN_TEAM_H
#include "fn.h"
#include <stdatomic.h>

#define FN_LINE _Alignas(FN_ALIGN)

/* A word that threads wait on, and how many of them sleep in the system. */
typedef struct {
    FN_LINE _Atomic uint32_t word;
    _Atomic int32_t asleep;
} fn_signal;

void fn_wait(fn_signal *s, uint32_t old, int spins);    /* until the word is no longer `old`: spin, yield, sleep */
void fn_post(fn_signal *s, uint32_t value);             /* set the word, wake all */

struct fn_gate {                 /* sense-reversing: the word counts the passages */
    fn_signal passed;
    FN_LINE _Atomic int32_t arrived;
};
void fn_gate_pass(fn_gate *g, int size);

typedef struct {                 /* what is left of a thread's share in a deal: its phase, the first item, the end (team.c) */
    FN_LINE _Atomic uint64_t left;
} fn_hand;

typedef struct {
    fn_gate region, team;        /* of all threads between calls; of those that run a call, for fn_barrier */
    const fn_call *calls;
    int64_t n;
    uint64_t mode;               /* the caller's floating-point control word, for every thread */
    fn_hand hands[FN_MAX_THREADS];
} fn_job;
void fn_job_init(fn_job *job, const fn_call *calls, int64_t n, int threads);
void fn_walk(fn_job *job, int rank, int size);
int fn_wants_team(const fn_call *calls, int64_t n);

int fn_cpus(void);               /* that this process may run on */
int fn_cgroup_cpus(void);        /* the fewest that a quota grants this process or a group above it, rounded up; INT_MAX: no quota */
int fn_spins(int threads);       /* before yielding: none where threads outnumber processors */
int fn_thread_start(void *(*f)(void *), void *arg);     /* detached, all signals blocked; 0, or -1 */
void fn_team_forked(void);       /* in the child of a fork */
#endif
