/* Preloaded: counts what the C library is asked for while an OpenMP region runs, on any thread. For test_run.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

_Atomic int regions, allocations, mappings;
static _Atomic int inside;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

void GOMP_parallel(void (*f)(void *), void *data, unsigned threads, unsigned flags) {
    static void (*real)(void (*)(void *), void *, unsigned, unsigned);
    if (!real) real = dlsym(dlopen("libgomp.so.1", RTLD_LAZY), "GOMP_parallel");      /* an extension's library is in no global scope */
    regions++;
    inside++;
    real(f, data, threads, flags);
    inside--;
}

/* glibc's own names: dlsym itself allocates */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t n) { allocations += inside; return __libc_malloc(n); }
void *calloc(size_t k, size_t n) { allocations += inside; return __libc_calloc(k, n); }
void *realloc(void *p, size_t n) { allocations += inside; return __libc_realloc(p, n); }
void free(void *p) { allocations += inside; __libc_free(p); }
int posix_memalign(void **p, size_t a, size_t n) { allocations += inside; return (*p = __libc_memalign(a, n)) ? 0 : 12; }
void *aligned_alloc(size_t a, size_t n) { allocations += inside; return __libc_memalign(a, n); }

#define COUNTED(type, name, declare, pass) \
    type name declare { \
        static type(*real) declare; \
        if (!real) real = next(#name); \
        mappings += inside; \
        return real pass; \
    }
COUNTED(void *, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t at), (p, n, prot, flags, fd, at))
COUNTED(int, munmap, (void *p, size_t n), (p, n))
COUNTED(int, mprotect, (void *p, size_t n, int prot), (p, n, prot))
COUNTED(int, madvise, (void *p, size_t n, int advice), (p, n, advice))
