/* What mem.c needs of the system: address space, pages of it, a lock. */
#ifndef FN_PAGES_H
#define FN_PAGES_H
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>
#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

#if defined(_WIN32)
typedef SRWLOCK lock;
static void lock_init(lock *l) { InitializeSRWLock(l); }
static void lock_on(lock *l) { AcquireSRWLockExclusive(l); }
static void lock_off(lock *l) { ReleaseSRWLockExclusive(l); }
#define LOCK_INIT SRWLOCK_INIT
#else
typedef pthread_mutex_t lock;
static void lock_init(lock *l) { pthread_mutex_init(l, NULL); }
static void lock_on(lock *l) { pthread_mutex_lock(l); }
static void lock_off(lock *l) { pthread_mutex_unlock(l); }
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
#endif

#if defined(_WIN32)
static int64_t range_bytes(int first) {
    MEMORYSTATUSEX m = { .dwLength = sizeof m };
    (void)first;
    return GlobalMemoryStatusEx(&m) ? 2 * (int64_t)m.ullTotalPhys : (int64_t)1 << 36;
}
static void *reserve(int64_t bytes) { return VirtualAlloc(NULL, bytes, MEM_RESERVE, PAGE_NOACCESS); }
static void unreserve(void *p, int64_t bytes) { (void)bytes, VirtualFree(p, 0, MEM_RELEASE); }
static int commit(void *p, int64_t bytes) { return VirtualAlloc(p, bytes, MEM_COMMIT, PAGE_READWRITE) ? 0 : -1; }
static void give_back(void *p, int64_t bytes) { VirtualAlloc(p, bytes, MEM_RESET, PAGE_READWRITE); }
static void prefer_huge(void *p, int64_t bytes) { (void)p, (void)bytes; }
#else
/* Twice the machine's memory; of a limited address space a quarter for the first pool and little for the others. */
static int64_t range_bytes(int first) {
    struct rlimit limit;
    int64_t bytes = 2 * (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY) return bytes;
    const int64_t part = (int64_t)(limit.rlim_cur / (first ? 4 : 32));
    return part < bytes ? part : bytes;
}
static void *reserve(int64_t bytes) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
static void unreserve(void *p, int64_t bytes) { munmap(p, bytes); }
/* Making pages writable is what strict overcommit counts, so it is here that memory runs out. */
static int commit(void *p, int64_t bytes) { return mprotect(p, bytes, PROT_READ | PROT_WRITE); }
#if defined(__APPLE__)
static void give_back(void *p, int64_t bytes) { madvise(p, bytes, MADV_FREE); }
#else
static void give_back(void *p, int64_t bytes) { madvise(p, bytes, MADV_DONTNEED); }
#endif
static void prefer_huge(void *p, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    madvise(p, bytes, MADV_HUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}
#endif
#endif
