/* Memory pools: one reserved address range each, carved best-fit into 64-byte aligned blocks.
 *
 * A range holds two heaps that grow upward, small blocks apart from large ones so that a long-lived scalar pins no large hole.
 * A heap's pages come and go in granules: `touched` has a bit for each that may hold pages. A granule is touched when a block
 * first reaches into it and given back only while no block does, so steady reuse costs neither system calls nor page faults.
 * A block is a header line followed by its payload; neighbours merge when freed, and the space above the last block is bare.
 *
 * What is resident stays below 5/4 of the recent peak in use (and a little for the granules): growth beyond that first gives free
 * granules back, and so does the end of a window. A window ends when 32 times its peak was allocated, which is some steps. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "fn.h"
#include <string.h>
#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { SMALL, LARGE, HEAPS };
enum { HEADER = FN_ALIGN, SMALL_MOST = 32 << 10, BINS = 512, LOOKS = 16, FREE = -1, GUARD = 0xA5, STALE = 0xFF };
static const int granule_shift[HEAPS] = { 16, 21 };       /* 64 KB of ordinary pages; 2 MB, a huge page */
#define SLACK ((int64_t)8 << 20)
#define MAGIC 0x6b636f6c626e6640u
#if defined(FN_GUARD)
enum { TAIL = FN_ALIGN };                                 /* bytes of guard after what was asked for, at least */
#else
enum { TAIL = 0 };
#endif

typedef struct block block;
struct block {                   /* the header line */
    fn_pool *pool;
    block *before;               /* neighbour below; NULL for the first */
    block *next, *prev;          /* in its bin, while free */
    int64_t size;                /* header included; a multiple of FN_ALIGN */
    int64_t asked;               /* bytes, or FREE */
    int64_t heap;
    uint64_t magic;
};
_Static_assert(sizeof(block) == HEADER, "the header is one line");

typedef struct {
    char *base, *end, *top;      /* the range, and where its bare space begins */
    block *last;                 /* the block that ends at top; never free */
    int shift;
    uint64_t *touched;
    int64_t high, most;          /* granules from `high` up are untouched; the highest that ever was */
    uint64_t filled[BINS / 64];  /* which bins hold blocks */
    block *bin[BINS];
} heap;

#if defined(_WIN32)
typedef SRWLOCK lock;
static void lock_init(lock *l) { InitializeSRWLock(l); }
static void lock_on(lock *l) { AcquireSRWLockExclusive(l); }
static void lock_off(lock *l) { ReleaseSRWLockExclusive(l); }
static lock pools_lock = SRWLOCK_INIT;
#else
typedef pthread_mutex_t lock;
static void lock_init(lock *l) { pthread_mutex_init(l, NULL); }
static void lock_on(lock *l) { pthread_mutex_lock(l); }
static void lock_off(lock *l) { pthread_mutex_unlock(l); }
static lock pools_lock = PTHREAD_MUTEX_INITIALIZER;
#endif

struct fn_pool {                 /* lies at the start of its own range, followed by the bits of both heaps */
    lock lock;
    fn_pool *next, *prev;        /* all pools, for fork */
    void *map;
    int64_t map_bytes, dropped, blocks;
    int64_t in_use, resident, peak, calls;           /* peak: since fn_pool_reset_peak */
    int64_t window_peak, last_peak, window_bytes;    /* of this window and of the one before; allocated in this one */
    heap heap[HEAPS];
};
static fn_pool *pools;

/* ---- the system's pages ------------------------------------------------------------------------------------------- */

#if defined(_WIN32)
static int64_t sensible_range(void) {
    MEMORYSTATUSEX m = { .dwLength = sizeof m };
    return GlobalMemoryStatusEx(&m) ? 2 * (int64_t)m.ullTotalPhys : (int64_t)1 << 36;
}
static void *reserve(int64_t bytes) { return VirtualAlloc(NULL, bytes, MEM_RESERVE, PAGE_NOACCESS); }
static void unreserve(void *p, int64_t bytes) { (void)bytes, VirtualFree(p, 0, MEM_RELEASE); }
static int commit(void *p, int64_t bytes) { return VirtualAlloc(p, bytes, MEM_COMMIT, PAGE_READWRITE) ? 0 : -1; }
static void give_back(void *p, int64_t bytes) { VirtualFree(p, bytes, MEM_DECOMMIT); }
static void prefer_huge(void *p, int64_t bytes) { (void)p, (void)bytes; }
#else
/* Twice the machine's memory; of a limited address space a quarter for the first pool and little for the others. */
static int64_t sensible_range(void) {
    struct rlimit limit;
    int64_t bytes = 2 * (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY) return bytes;
    const int64_t part = (int64_t)(limit.rlim_cur / (pools ? 32 : 4));
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

/* ---- granules ------------------------------------------------------------------------------------------------------ */

static int is_touched(const heap *h, int64_t g) { return h->touched[g >> 6] >> (g & 63) & 1; }

/* The next run of granules in [g, end) whose bit is `bit`: starts at the returned granule, *stop is one past it. */
static int64_t next_run(const heap *h, int bit, int64_t g, int64_t end, int64_t *stop) {
    while (g < end && is_touched(h, g) != bit) g++;
    for (*stop = g; *stop < end && is_touched(h, *stop) == bit;) ++*stop;
    return g;
}

static void set_run(fn_pool *p, heap *h, int bit, int64_t g, int64_t stop) {
    p->resident += (bit ? stop - g : g - stop) << h->shift;
    if (bit && stop > h->high) h->high = stop;
    if (h->high > h->most) h->most = h->high;
    for (; g < stop; g++) h->touched[g >> 6] ^= (uint64_t)1 << (g & 63);
    while (h->high && !is_touched(h, h->high - 1)) h->high--;
}

/* Give back up to `excess` bytes of the touched granules that lie wholly in [lo, hi), the highest first. */
static int64_t give_range(fn_pool *p, heap *h, const char *lo, const char *hi, int64_t excess) {
    const int64_t first = (lo - h->base + ((int64_t)1 << h->shift) - 1) >> h->shift;
    int64_t end = (hi - h->base) >> h->shift, given = 0;
    if (end > h->high) end = h->high;
    while (end > first && given < excess) {
        int64_t stop = end, g;
        while (stop > first && !is_touched(h, stop - 1)) stop--;
        for (g = stop; g > first && is_touched(h, g - 1) && given < excess; g--) given += (int64_t)1 << h->shift;
        if (g < stop) {
            give_back(h->base + (g << h->shift), (stop - g) << h->shift);
            set_run(p, h, 0, g, stop);
        }
        end = g;
    }
    return given;
}

static int bin_of(int64_t size);

/* Give back `excess` bytes of free granules, or all there are: bare space first, then the largest free blocks. */
static void trim(fn_pool *p, int64_t excess) {
    for (heap *h = p->heap + LARGE; h >= p->heap && excess > 0; h--) {
        excess -= give_range(p, h, h->top, h->end, excess);
        for (int i = BINS - 1, least = bin_of((int64_t)1 << h->shift); i >= least && excess > 0; i--)
            for (block *b = h->bin[i]; b && excess > 0; b = b->next)
                excess -= give_range(p, h, (char *)b + HEADER, (char *)b + b->size, excess);
    }
}

static int64_t allowed(const fn_pool *p) {
    const int64_t peak = p->window_peak > p->last_peak ? p->window_peak : p->last_peak;
    return peak + peak / 4 + SLACK;
}

/* Pages for [lo, hi). -1: the system has none. */
static int touch(fn_pool *p, heap *h, const char *lo, const char *hi) {
    const int64_t end = ((hi - 1 - h->base) >> h->shift) + 1;
    int64_t stop, g = next_run(h, 0, (lo - h->base) >> h->shift, end, &stop);
    if (g == end) return 0;
    const int64_t excess = p->resident + ((end - g) << h->shift) - allowed(p);
    if (excess > 0) trim(p, excess);
    for (; g < end; g = next_run(h, 0, stop, end, &stop)) {
        if (commit(h->base + (g << h->shift), (stop - g) << h->shift)) return -1;
        set_run(p, h, 1, g, stop);
    }
    return 0;
}

/* ---- free blocks by size ------------------------------------------------------------------------------------------- */

/* Sixteen bins to a power of two, in units of a line. */
static int bin_of(int64_t size) {
    const uint64_t u = (uint64_t)size / FN_ALIGN;
    if (u < 16) return (int)u;
    const int log = 63 - __builtin_clzll(u), i = (log - 3) * 16 + (int)(u >> (log - 4) & 15);
    return i < BINS ? i : BINS - 1;
}

static void bin_put(heap *h, block *b) {
    const int i = bin_of(b->size);
    b->asked = FREE;
    b->prev = NULL;
    b->next = h->bin[i];
    if (b->next) b->next->prev = b;
    h->bin[i] = b;
    h->filled[i >> 6] |= (uint64_t)1 << (i & 63);
}

static void bin_take(heap *h, block *b) {
    const int i = bin_of(b->size);
    if (b->prev) b->prev->next = b->next;
    else h->bin[i] = b->next;
    if (b->next) b->next->prev = b->prev;
    if (!h->bin[i]) h->filled[i >> 6] &= ~((uint64_t)1 << (i & 63));
}

/* The smallest that fits among the first few of the lowest bin that has one; of equals the lowest. */
static block *best_fit(const heap *h, int64_t size) {
    int i = bin_of(size);
    while (i < BINS) {
        const uint64_t word = h->filled[i >> 6] >> (i & 63);
        if (!word) {
            i = (i | 63) + 1;
            continue;
        }
        i += __builtin_ctzll(word);
        block *best = NULL, *b = h->bin[i];
        for (int k = 0; b && k < LOOKS; k++, b = b->next)
            if (b->size >= size && (!best || b->size < best->size || (b->size == best->size && b < best))) best = b;
        if (best) return best;
        i++;
    }
    return NULL;
}

static block *above(const heap *h, const block *b) {
    char *next = (char *)b + b->size;
    return next < h->top ? (block *)next : NULL;
}

/* Free b, which no bin holds: joined with its free neighbours, or with the bare space if it is the last. */
static void release(heap *h, block *b) {
    block *up = above(h, b), *down = b->before;
    if (up && up->asked == FREE) {
        bin_take(h, up);
        b->size += up->size;
        up = above(h, b);
    }
    if (down && down->asked == FREE) {
        bin_take(h, down);
        down->size += b->size;
        b = down;
    }
    if (up) {
        up->before = b;
        bin_put(h, b);
        POISON((char *)b + HEADER, b->size - HEADER);
    } else {
        h->top = (char *)b;
        h->last = b->before;
        POISON(b, b->size);
    }
}

/* ---- the door ------------------------------------------------------------------------------------------------------ */

static void join_pools(fn_pool *p) {
    lock_on(&pools_lock);
    p->next = pools;
    if (pools) pools->prev = p;
    pools = p;
    lock_off(&pools_lock);
}

static void destroy(fn_pool *p) {
    lock_on(&pools_lock);
    if (p->prev) p->prev->next = p->next;
    else pools = p->next;
    if (p->next) p->next->prev = p->prev;
    lock_off(&pools_lock);
    for (heap *h = p->heap; h < p->heap + HEAPS; h++) UNPOISON(h->base, h->most << h->shift);
    unreserve(p->map, p->map_bytes);
}

fn_pool *fn_pool_new(void) {
    const int64_t unit = (int64_t)1 << granule_shift[LARGE], least = 16 * unit;
    int64_t bytes = sensible_range();
    if (bytes < least) bytes = least;
    void *map = NULL;
    for (; bytes >= least && !(map = reserve(bytes)); bytes /= 2) {}
    if (!map) return NULL;
    /* [pool and bits | small heap | large heap], each from a multiple of unit */
    char *start = (char *)(((uintptr_t)map + unit - 1) / unit * unit);
    const int64_t units = ((char *)map + bytes - start) / unit;
    const int64_t bits[HEAPS] = { (units / 16 + 1) * (unit >> granule_shift[SMALL]), units };
    const int64_t words = (bits[SMALL] + 63) / 64 + (bits[LARGE] + 63) / 64;
    const int64_t head = (sizeof(fn_pool) + words * 8 + unit - 1) / unit;
    if (commit(start, sizeof(fn_pool) + words * 8)) {
        unreserve(map, bytes);
        return NULL;
    }
    fn_pool *p = (fn_pool *)start;       /* fresh pages are zero */
    char *edge[HEAPS + 1] = { start + head * unit, start + (head + units / 16 + 1) * unit, start + units * unit };
    uint64_t *touched = (uint64_t *)(p + 1);
    for (int i = 0; i < HEAPS; i++) {
        heap *h = p->heap + i;
        h->base = h->top = edge[i];
        h->end = edge[i + 1];
        h->shift = granule_shift[i];
        h->touched = touched;
        touched += (bits[i] + 63) / 64;
    }
    prefer_huge(edge[LARGE], edge[HEAPS] - edge[LARGE]);
    p->map = map;
    p->map_bytes = bytes;
    lock_init(&p->lock);
    join_pools(p);
    return p;
}

void fn_pool_drop(fn_pool *p) {
    lock_on(&p->lock);
    p->dropped = 1;
    const int empty = p->blocks == 0;
    lock_off(&p->lock);
    if (empty) destroy(p);
}

/* A block of `size` bytes with its pages, or NULL. */
static block *carve(fn_pool *p, int heap_index, int64_t size) {
    heap *h = p->heap + heap_index;
    block *b = best_fit(h, size);
    if (b) {
        const int64_t rest = b->size - size;
        const int split = rest >= 2 * HEADER;
        bin_take(h, b);
        if (touch(p, h, (char *)b, (char *)b + size + (split ? HEADER : 0))) {
            bin_put(h, b);
            return NULL;
        }
        UNPOISON(b, size + (split ? HEADER : 0));
        if (split) {
            block *r = (block *)((char *)b + size), *up = above(h, b);
            *r = (block){ .pool = p, .before = b, .size = rest, .heap = heap_index, .magic = MAGIC };
            b->size = size;
            if (up) up->before = r;
            bin_put(h, r);
        }
        return b;
    }
    if (h->end - h->top < size) return NULL;
    b = (block *)h->top;
    h->top += size;
    if (touch(p, h, (char *)b, h->top)) {
        h->top = (char *)b;
        return NULL;
    }
    UNPOISON(b, size);
    *b = (block){ .pool = p, .before = h->last, .size = size, .heap = heap_index, .magic = MAGIC };
    h->last = b;
    return b;
}

void *fn_alloc(fn_pool *p, int64_t bytes) {
    if (bytes < 0 || bytes >= p->map_bytes) return NULL;
    const int64_t least = bytes + TAIL < FN_ALIGN ? FN_ALIGN : bytes + TAIL;
    const int64_t size = (HEADER + least + FN_ALIGN - 1) / FN_ALIGN * FN_ALIGN;
    lock_on(&p->lock);
    const int64_t window_peak = p->window_peak;
    p->in_use += size;
    if (p->in_use > p->window_peak) p->window_peak = p->in_use;
    block *b = carve(p, size <= SMALL_MOST ? SMALL : LARGE, size);
    if (!b) {
        p->in_use -= size;
        p->window_peak = window_peak;
        lock_off(&p->lock);
        return NULL;
    }
    p->in_use += b->size - size;
    if (p->in_use > p->window_peak) p->window_peak = p->in_use;
    if (p->in_use > p->peak) p->peak = p->in_use;
    p->blocks++;
    p->calls++;
    p->window_bytes += b->size;
    if (p->window_bytes > 32 * p->window_peak) {
        p->last_peak = p->window_peak;
        p->window_peak = p->in_use;
        p->window_bytes = 0;
        const int64_t excess = p->resident - allowed(p);
        if (excess > 0) trim(p, excess);
    }
    b->asked = bytes;
    lock_off(&p->lock);
    char *payload = (char *)b + HEADER;
#if defined(FN_GUARD)
    memset(payload, STALE, bytes);
    memset(payload + bytes, GUARD, b->size - HEADER - bytes);
#endif
    POISON(payload + bytes, b->size - HEADER - bytes);
    return payload;
}

static block *block_of(const void *payload) { return (block *)((char *)payload - HEADER); }

void fn_free(void *payload) {
    if (!payload) return;
    block *b = block_of(payload);
    fn_pool *p = b->pool;
#if defined(FN_GUARD)
    memset(payload, STALE, b->asked);
#endif
    lock_on(&p->lock);
    p->in_use -= b->size;
    p->calls++;
    const int gone = --p->blocks == 0 && p->dropped;
    release(p->heap + b->heap, b);
    lock_off(&p->lock);
    if (gone) destroy(p);
}

fn_pool *fn_pool_of(const void *payload) { return block_of(payload)->pool; }

int fn_pool_contains(const fn_pool *p, const void *address) {
    return (const char *)address >= (const char *)p->map && (const char *)address < (const char *)p->map + p->map_bytes;
}

int64_t fn_block_bytes(const void *payload) {
    const block *b = block_of(payload);
    return TAIL ? b->asked : b->size - HEADER;
}

void fn_pool_trim(fn_pool *p, int64_t keep_bytes) {
    lock_on(&p->lock);
    trim(p, p->resident - p->in_use - keep_bytes);
    lock_off(&p->lock);
}

fn_pool_stats fn_pool_info(fn_pool *p) {
    lock_on(&p->lock);
    const fn_pool_stats s = { p->in_use, p->peak, p->resident, p->calls };
    lock_off(&p->lock);
    return s;
}

void fn_pool_reset_peak(fn_pool *p) {
    lock_on(&p->lock);
    p->peak = p->in_use;
    lock_off(&p->lock);
}

int fn_block_check(const void *payload) {
    const block *b = block_of(payload);
    if (TAIL && (b->magic != MAGIC || b->asked < 0)) return -1;
#if defined(FN_GUARD) && !defined(__SANITIZE_ADDRESS__)      /* under the sanitizer the tail may not be read, nor need be */
    for (const uint8_t *g = (const uint8_t *)payload + b->asked; g < (const uint8_t *)b + b->size; g++)
        if (*g != GUARD) return -1;
#endif
    return 0;
}

/* ---- fork: every lock is held across it, so the child finds whole pools ----------------------------------------------- */

#if defined(_WIN32)
void fn_mem_init(void) {}
#else
static void before_fork(void) {
    lock_on(&pools_lock);
    for (fn_pool *p = pools; p; p = p->next) lock_on(&p->lock);
}

static void after_fork(void) {
    for (fn_pool *p = pools; p; p = p->next) lock_off(&p->lock);
    lock_off(&pools_lock);
}

void fn_mem_init(void) {
    static int done;
    if (!done++) pthread_atfork(before_fork, after_fork, after_fork);
}
#endif
