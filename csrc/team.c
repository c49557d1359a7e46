/* Teams: how threads wait for each other, how they walk a list of calls, in what floating-point mode, and how many there should be. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "team.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <emmintrin.h>
#endif

/* ---- waiting -------------------------------------------------------------------------------------------------------
 * Spinning alone collapses where a core is shared with other work, sleeping alone costs microseconds: first the one, then yields,
 * then the other. */

enum { SPINS = 300, YIELDS = 200 };

#if defined(__linux__)
static void sleep_on(fn_signal *s, uint32_t old) { syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0); }
static void wake(fn_signal *s) { syscall(SYS_futex, &s->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }
static void yield(void) { sched_yield(); }
void fn_team_forked(void) {}
#elif defined(_WIN32)
static void sleep_on(fn_signal *s, uint32_t old) { WaitOnAddress(&s->word, &old, sizeof old, INFINITE); }
static void wake(fn_signal *s) { WakeByAddressAll((void *)&s->word); }
static void yield(void) { SwitchToThread(); }
void fn_team_forked(void) {}
#else
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sleepers = PTHREAD_COND_INITIALIZER;
static void sleep_on(fn_signal *s, uint32_t old) {
    pthread_mutex_lock(&sleep_lock);
    if (atomic_load(&s->word) == old) pthread_cond_wait(&sleepers, &sleep_lock);
    pthread_mutex_unlock(&sleep_lock);
}
static void wake(fn_signal *s) {
    (void)s;
    pthread_mutex_lock(&sleep_lock);
    pthread_cond_broadcast(&sleepers);
    pthread_mutex_unlock(&sleep_lock);
}
static void yield(void) { sched_yield(); }
void fn_team_forked(void) {
    sleep_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    sleepers = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}
#endif

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

void fn_wait(fn_signal *s, uint32_t old, int spins) {
    for (int i = 0; i < spins; i++, relax())
        if (atomic_load_explicit(&s->word, memory_order_acquire) != old) return;
    for (int i = 0; i < YIELDS; i++, yield())
        if (atomic_load_explicit(&s->word, memory_order_acquire) != old) return;
    atomic_fetch_add(&s->asleep, 1);
    while (atomic_load(&s->word) == old) sleep_on(s, old);
    atomic_fetch_sub(&s->asleep, 1);
}

/* The store and the load are both sequentially consistent, as are a sleeper's count and its last look: one sees the other. */
void fn_post(fn_signal *s, uint32_t value) {
    atomic_store(&s->word, value);
    if (atomic_load(&s->asleep)) wake(s);
}

int fn_spins(int threads) {
    static _Atomic int cpus;
    if (!cpus) cpus = fn_cpus();
    return threads <= cpus ? SPINS : 0;
}

void fn_gate_pass(fn_gate *g, int size) {
    const uint32_t passed = atomic_load_explicit(&g->passed.word, memory_order_relaxed);
    if (atomic_fetch_add(&g->arrived, 1) < size - 1) {
        fn_wait(&g->passed, passed, fn_spins(size));
    } else {
        atomic_store_explicit(&g->arrived, 0, memory_order_relaxed);
        fn_post(&g->passed, passed + 1);
    }
}

void fn_barrier(fn_team t) {
    if (t.size > 1) fn_gate_pass(t.gate, t.size);
}

/* ---- deals -----------------------------------------------------------------------------------------------------------
 * A hand is one word, phase | first | end: whoever takes an item swaps the word, the owner at its front, others at its end. A hand of
 * another phase is the whole share. Both gates stand still during a phase, so that all threads count it alike. */

enum { ITEM_BITS = 20 };         /* more items are small ones, and shared out once and for all */
#define ITEMS (((uint64_t)1 << ITEM_BITS) - 1)

static uint64_t hand(uint64_t phase, int64_t first, int64_t end) {
    return phase << 2 * ITEM_BITS | (uint64_t)first << ITEM_BITS | (uint64_t)end;
}
static int64_t first_of(uint64_t h) { return (int64_t)(h >> ITEM_BITS & ITEMS); }
static int64_t end_of(uint64_t h) { return (int64_t)(h & ITEMS); }

/* The hand of a rank; *word is what lies there. */
static uint64_t hand_of(fn_job *job, const fn_deal *d, int rank, uint64_t phase, uint64_t *word) {
    *word = atomic_load_explicit(&job->hands[rank].left, memory_order_relaxed);
    if (*word >> 2 * ITEM_BITS == phase) return *word;
    int64_t first, end;
    fn_share(d->n, 1, (fn_team){ rank, d->t.size, NULL }, &first, &end);
    return hand(phase, first, end);
}
static int swap_hand(fn_job *job, int rank, uint64_t word, uint64_t h) {
    return atomic_compare_exchange_strong_explicit(&job->hands[rank].left, &word, h, memory_order_relaxed, memory_order_relaxed);
}

int64_t fn_take_among(fn_deal *d) {
    if (d->n > (int64_t)ITEMS) return d->next < d->end ? d->next++ : -1;
    fn_job *const job = (fn_job *)((char *)d->t.gate - offsetof(fn_job, team));
    const uint64_t gates = (uint64_t)atomic_load_explicit(&job->region.passed.word, memory_order_relaxed)
                           + atomic_load_explicit(&job->team.passed.word, memory_order_relaxed);
    const uint64_t phase = (gates + 1) & UINT64_MAX >> 2 * ITEM_BITS;
    uint64_t word;
    for (;;) {
        const uint64_t own = hand_of(job, d, d->t.rank, phase, &word);
        const int64_t first = first_of(own), end = end_of(own);
        if (first == end) break;
        if (swap_hand(job, d->t.rank, word, hand(phase, first + 1, end))) return first;
    }
    for (;;) {
        int fullest = 0;
        int64_t left = 0;
        for (int rank = 0; rank < d->t.size; rank++) {
            const uint64_t h = hand_of(job, d, rank, phase, &word);
            if (end_of(h) - first_of(h) > left) left = end_of(h) - first_of(h), fullest = rank;
        }
        if (!left) return -1;
        const uint64_t h = hand_of(job, d, fullest, phase, &word);
        const int64_t first = first_of(h), end = end_of(h);
        if (first < end && swap_hand(job, fullest, word, hand(phase, first, end - 1))) return end - 1;
    }
}

/* ---- floating-point mode ---------------------------------------------------------------------------------------------- */

#if defined(__x86_64__) || defined(__i386__)
#define DENORMALS_FLUSHED 0x8040u        /* FTZ and DAZ of MXCSR */
static uint64_t mode_get(void) { return _mm_getcsr(); }
static void mode_set(uint64_t mode) { _mm_setcsr((unsigned)mode); }
#elif defined(__aarch64__)
#define DENORMALS_FLUSHED (1u << 24)     /* FZ of FPCR */
static uint64_t mode_get(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static void mode_set(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
#define DENORMALS_FLUSHED 0u
static uint64_t mode_get(void) { return 0; }
static void mode_set(uint64_t mode) { (void)mode; }
#endif

int fn_flush_denormals(int on) {
    const uint64_t mode = mode_get();
    mode_set(on ? mode | DENORMALS_FLUSHED : mode & ~(uint64_t)DENORMALS_FLUSHED);
    return DENORMALS_FLUSHED && (mode & DENORMALS_FLUSHED) == DENORMALS_FLUSHED;
}

/* ---- the walk ------------------------------------------------------------------------------------------------------------ */

void fn_job_init(fn_job *job, const fn_call *calls, int64_t n, int threads) {
    job->region = job->team = (fn_gate){ 0 };
    job->calls = calls, job->n = n, job->mode = mode_get();
    for (int i = 0; i < threads; i++) atomic_init(&job->hands[i].left, 0);
}

int fn_wants_team(const fn_call *calls, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (calls[i].threads > 1) return 1;
    return 0;
}

/* Every thread of a region of `size` walks the whole list. A call runs on the first `threads` of them; all meet before and after a
 * call of several, while a row of single ones is rank 0's alone. */
void fn_walk(fn_job *job, int rank, int size) {
    const fn_call *const calls = job->calls;
    const int64_t n = job->n;
    const uint64_t plain = job->mode, own = mode_get();
    uint64_t mode = own;
    int before = 1;
    for (int64_t i = 0; i < n; i++) {
        const int team = calls[i].threads < 1 ? 1 : calls[i].threads < size ? calls[i].threads : size;
        if (i && (team > 1 || before > 1)) fn_gate_pass(&job->region, size);
        before = team;
        if (rank >= team) continue;
        const uint64_t wanted = calls[i].flags & FN_FLUSH ? plain | DENORMALS_FLUSHED : plain;
        if (wanted != mode) mode_set(mode = wanted);
        calls[i].kernel(calls[i].args, (fn_team){ rank, team, &job->team });
    }
    if (mode != own) mode_set(own);
}

/* ---- what a region and a barrier cost ---------------------------------------------------------------------------------------- */

static void nothing(const void *args, fn_team t) { (void)args, (void)t; }

enum { ROUNDS = 8, TIMES = 200 };
static void barriers(const void *args, fn_team t) {
    (void)args;
    for (int i = 0; i < TIMES; i++) fn_barrier(t);
}

static double now_ns(void) {
#if defined(_WIN32)
    LARGE_INTEGER ticks, second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&second);
    return 1e9 * (double)ticks.QuadPart / (double)second.QuadPart;
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
#endif
}

void fn_run_costs(double *region_ns, double *barrier_ns, int threads) {
    const fn_call empty = { .kernel = nothing, .threads = threads }, full = { .kernel = barriers, .threads = threads };
    *region_ns = *barrier_ns = 1e18;
    for (int r = 0; r < ROUNDS; r++) {
        const double t0 = now_ns();
        for (int i = 0; i < TIMES; i++) fn_run(&empty, 1, threads);
        const double t1 = now_ns();
        fn_run(&full, 1, threads);
        const double t2 = now_ns(), region = (t1 - t0) / TIMES, barrier = (t2 - t1) / TIMES;
        if (region < *region_ns) *region_ns = region;
        if (barrier < *barrier_ns) *barrier_ns = barrier;
    }
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------ */

#if defined(_WIN32)
typedef struct { void *(*f)(void *); void *arg; } start;
static DWORD WINAPI run_start(void *p) {
    const start s = *(start *)p;
    free(p);
    s.f(s.arg);
    return 0;
}
int fn_thread_start(void *(*f)(void *), void *arg) {
    start *s = malloc(sizeof *s);
    if (!s) return -1;
    *s = (start){ f, arg };
    HANDLE h = CreateThread(NULL, 4 << 20, run_start, s, 0, NULL);
    if (!h) return free(s), -1;
    CloseHandle(h);
    return 0;
}
#else
int fn_thread_start(void *(*f)(void *), void *arg) {
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, old;
    sigfillset(&all);
    if (pthread_attr_init(&attr)) return -1;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 4 << 20);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const int failed = pthread_create(&thread, &attr, f, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return failed ? -1 : 0;
}
#endif

int fn_cpus(void) {
#if defined(_WIN32)
    return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
#else
#if defined(__linux__)
    for (int most = 1024; most <= 1 << 20; most *= 4) {       /* the set must hold every processor of the machine */
        cpu_set_t *set = CPU_ALLOC(most);
        const size_t bytes = CPU_ALLOC_SIZE(most);
        const int n = set && !sched_getaffinity(0, bytes, set) ? CPU_COUNT_S(bytes, set) : 0;
        if (set) CPU_FREE(set);
        if (n > 0) return n;
    }
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
#endif
}

#if defined(__linux__)
#if !defined(CGROUP_FILE)        /* the tests name their own */
#define CGROUP_FILE "/proc/self/cgroup"
#define CGROUP_ROOT "/sys/fs/cgroup"
#endif

static double read_numbers(const char *dir, const char *file, double *second) {
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "r");
    double first = -1;
    if (f) {
        if (fscanf(f, "%lf %lf", &first, second) < 1) first = -1;      /* "max" is no number */
        fclose(f);
    }
    return first;
}

int fn_cgroup_cpus(void) {
    int least = INT_MAX;
    char line[PATH_MAX + 64], dir[PATH_MAX + 96];
    FILE *f = fopen(CGROUP_FILE, "r");
    while (f && fgets(line, sizeof line, f)) {           /* id:controllers:path; version 2 has no controllers */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        controllers++;
        const int v2 = !*controllers, v1 = !v2 && strstr(controllers, "cpu") && !strstr(controllers, "cpuset");
        if (!v1 && !v2) continue;
        const int root = snprintf(dir, sizeof dir, "%s%s", CGROUP_ROOT, v2 ? "" : "/cpu");
        snprintf(dir + root, sizeof dir - (size_t)root, "%s", strcmp(path, "/") ? path : "");
        for (char *slash = dir; slash;) {
            double period = 0, unused = 0, quota = read_numbers(dir, v2 ? "cpu.max" : "cpu.cfs_quota_us", &period);
            if (!v2) period = read_numbers(dir, "cpu.cfs_period_us", &unused);
            if (quota > 0 && period > 0) {
                const int cpus = (int)(quota / period) + (quota / period > (int)(quota / period));
                if (cpus < least) least = cpus;
            }
            slash = strrchr(dir + root, '/');
            if (slash) *slash = 0;
        }
    }
    if (f) fclose(f);
    return least;
}
#else
int fn_cgroup_cpus(void) { return INT_MAX; }
#endif

int fn_threads_default(void) {
    static const char *const names[] = { "FASTNN_NUM_THREADS", "OMP_NUM_THREADS" };
    for (int i = 0; i < 2; i++) {
        const char *value = getenv(names[i]);
        const long n = value ? strtol(value, NULL, 10) : 0;        /* OMP_NUM_THREADS may go on with inner levels */
        if (n > 0) return n < FN_MAX_THREADS ? (int)n : FN_MAX_THREADS;
    }
    const int cpus = fn_cpus(), quota = fn_cgroup_cpus(), n = cpus < quota ? cpus : quota;
    return n < 1 ? 1 : n < FN_MAX_THREADS ? n : FN_MAX_THREADS;
}
