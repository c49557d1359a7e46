/* Memory pools: one reserved address range each, carved best-fit into 64-byte aligned blocks.
 *
 * A range holds two heaps that grow upward, small blocks apart from large ones so that a long-lived scalar pins no large hole.
 * A heap's pages come and go in granules: `touched` has a bit for each that may hold pages. A granule is touched when a block
 * first reaches into it and given back only while no block does, so steady reuse costs neither system calls nor page faults.
 * Neighbouring free blocks merge, and the space above the last block is bare. What is known of a block lies apart from it, since
 * a capture's replay writes where its arena's freed blocks were.
 *
 * What is resident stays below 5/4 of the recent peak in use (and a little for the granules): growth beyond that first gives free
 * granules back, and so does the end of a window. A window ends when 32 times its peak was allocated, which is some steps. */
#include "pages.h"
#include "fn.h"
#include <string.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define __asan_poison_memory_region(p, n) ((void)(p), (void)(n))
#define __asan_unpoison_memory_region(p, n) ((void)(p), (void)(n))
#endif

enum { SMALL, LARGE, HEAPS };
enum { SMALL_MOST = 32 << 10, BINS = 512, LOOKS = 16, FREE = -1, GUARD = 0xA5, STALE = 0xFF };
#define MB ((int64_t)1 << 20)
#define SLACK (8 * MB)
/* Sizes and places are multiples of a unit: a line, and for large blocks an odd number of them, so that equal places in neighbouring
 * arrays do not meet in one set of the cache. */
static const int64_t unit[HEAPS] = { FN_ALIGN, 33 * FN_ALIGN };
static const int granule_shift[HEAPS] = { 16, 21 };       /* 64 KB of ordinary pages; 2 MB, a huge page */
#if defined(FN_GUARD)
enum { TAIL = FN_ALIGN };                                 /* bytes of guard after what was asked for, at least */
#else
enum { TAIL = 0 };
#endif

typedef struct block block;
struct block {
    char *at;
    int64_t size;                /* a multiple of its heap's unit */
    int64_t asked;               /* bytes, or FREE */
    int64_t heap;
    block *below, *above;        /* neighbours */
    block *next, *prev;          /* in its bin, while free; next: among the spare ones, while unused */
};

typedef struct {                 /* an array in the head of the range, its pages had as it grows */
    char *base;
    int64_t ready;               /* bytes */
} column;

typedef struct {
    char *base, *end, *top;      /* the range, and where its bare space begins */
    block *last;                 /* the block that ends at top; never free */
    int64_t unit;
    int shift;
    column map;                  /* uint32_t for each unit: number of the block that starts there */
    uint64_t *touched;
    int64_t high, most;          /* granules from `high` up are untouched; the highest that ever was */
    uint64_t filled[BINS / 64];  /* which bins hold blocks */
    block *bin[BINS];
} heap;

struct fn_pool {                 /* lies at the start of its own range: [pool and bits | blocks | maps | small heap | large heap] */
    lock lock;
    fn_pool *next, *prev;        /* all pools */
    void *map;
    int64_t map_bytes, dropped;
    column blocks;               /* block, by number */
    block *spare;                /* unused ones among the first `made` */
    int64_t made, alive;
    int64_t in_use, resident, peak, calls;           /* peak: since fn_pool_reset_peak */
    int64_t window_peak, last_peak, window_bytes;    /* of this window and of the one before; allocated in this one */
    heap heap[HEAPS];
};
static fn_pool *pools;
static lock pools_lock = LOCK_INIT;
/* The pool made first is the general one; the others are arenas of captures, whose freed blocks a replay still writes. */
static fn_pool *general;

/* ---- granules ------------------------------------------------------------------------------------------------------ */

static int is_touched(const heap *h, int64_t g) { return h->touched[g >> 6] >> (g & 63) & 1; }

/* The next run of granules in [g, end) whose bit is `bit`: starts at the returned granule, *stop is one past it. */
static int64_t next_run(const heap *h, int bit, int64_t g, int64_t end, int64_t *stop) {
    while (g < end && is_touched(h, g) != bit) g++;
    for (*stop = g; *stop < end && is_touched(h, *stop) == bit;) ++*stop;
    return g;
}

static void set_run(fn_pool *p, heap *h, int bit, int64_t g, int64_t stop) {
    p->resident += (bit ? stop - g : g - stop) * ((int64_t)1 << h->shift);
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
                excess -= give_range(p, h, b->at, b->at + b->size, excess);
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
            if (b->size >= size && (!best || b->size < best->size || (b->size == best->size && b->at < best->at))) best = b;
        if (best) return best;
        i++;
    }
    return NULL;
}

/* ---- the books: which block starts where ------------------------------------------------------------------------------ */

static int grow(column *c, int64_t bytes) {
    if (bytes <= c->ready) return 0;
    const int64_t more = (bytes - c->ready + 65535) >> 16 << 16;
    if (commit(c->base + c->ready, more)) return -1;
    c->ready += more;
    return 0;
}

static uint32_t *entry(const heap *h, const char *at) { return (uint32_t *)h->map.base + (at - h->base) / h->unit; }

/* A block at `at`, entered in the books; NULL: no memory for them. */
static block *open_block(fn_pool *p, heap *h, char *at, int64_t size) {
    block *b = p->spare;
    if (grow(&h->map, ((at - h->base) / h->unit + 1) * (int64_t)sizeof(uint32_t))) return NULL;
    if (b) {
        p->spare = b->next;
    } else {
        const int64_t bytes = (p->made + 1) * (int64_t)sizeof(block);
        if (bytes > p->heap[SMALL].map.base - p->blocks.base || grow(&p->blocks, bytes)) return NULL;
        b = (block *)p->blocks.base + p->made++;
    }
    *b = (block){ .at = at, .size = size, .heap = h - p->heap };
    *entry(h, at) = (uint32_t)(b - (block *)p->blocks.base);
    return b;
}

static void close_block(fn_pool *p, block *b) {
    b->next = p->spare;
    p->spare = b;
}

static block *block_at(const fn_pool *p, const void *at) {
    const heap *h = p->heap + ((const char *)at >= p->heap[LARGE].base ? LARGE : SMALL);
    return (block *)p->blocks.base + *entry(h, at);
}

/* Low takes in its neighbour above, which no bin holds. */
static void join(fn_pool *p, block *low) {
    block *b = low->above;
    low->size += b->size;
    low->above = b->above;
    if (low->above) low->above->below = low;
    else p->heap[low->heap].last = low;
    close_block(p, b);
}

static void split(fn_pool *p, heap *h, block *b, int64_t size) {
    block *r = b->size - size < h->unit ? NULL : open_block(p, h, b->at + size, b->size - size);
    if (!r) return;
    b->size = size;
    r->below = b;
    r->above = b->above;
    b->above = r;
    r->above->below = r;         /* there is one: the last block is never free */
    bin_put(h, r);
}

/* Free b: joined with its free neighbours, or with the bare space if it is the last. */
static void release(fn_pool *p, block *b) {
    heap *h = p->heap + b->heap;
    if (p == general) __asan_poison_memory_region(b->at, b->size);
    if (b->above && b->above->asked == FREE) {
        bin_take(h, b->above);
        join(p, b);
    }
    if (b->below && b->below->asked == FREE) {
        b = b->below;
        bin_take(h, b);
        join(p, b);
    }
    if (b->above) {
        bin_put(h, b);
        return;
    }
    h->top = b->at;
    h->last = b->below;
    if (h->last) h->last->above = NULL;
    close_block(p, b);
}

/* A block of `size` bytes with its pages, or NULL. */
static block *carve(fn_pool *p, heap *h, int64_t size) {
    block *b = best_fit(h, size);
    if (b) {
        bin_take(h, b);
        if (touch(p, h, b->at, b->at + size)) {
            bin_put(h, b);
            return NULL;
        }
        split(p, h, b, size);
        return b;
    }
    if (h->end - h->top < size || !(b = open_block(p, h, h->top, size))) return NULL;
    h->top += size;
    if (touch(p, h, b->at, h->top)) {
        h->top = b->at;
        close_block(p, b);
        return NULL;
    }
    b->below = h->last;
    if (h->last) h->last->above = b;
    return h->last = b;
}

/* ---- the door ------------------------------------------------------------------------------------------------------------ */

static void join_pools(fn_pool *p) {
    lock_on(&pools_lock);
    if (!general) general = p;
    p->next = pools;
    if (pools) pools->prev = p;
    pools = p;
    lock_off(&pools_lock);
}

static void destroy(fn_pool *p) {
    lock_on(&pools_lock);
    if (p == general) general = NULL;
    if (p->prev) p->prev->next = p->next;
    else pools = p->next;
    if (p->next) p->next->prev = p->prev;
    lock_off(&pools_lock);
    for (heap *h = p->heap; h < p->heap + HEAPS; h++) __asan_unpoison_memory_region(h->base, h->most << h->shift);
    unreserve(p->map, p->map_bytes);
}

static int64_t up_to(int64_t bytes, int64_t grain) { return (bytes + grain - 1) / grain * grain; }

fn_pool *fn_pool_new(void) {
    const int64_t grain = 2 * MB, least = 64 * MB;
    int64_t bytes = range_bytes(!pools);
    void *map = NULL;
    for (bytes = bytes < least ? least : bytes; bytes >= least && !(map = reserve(bytes)); bytes /= 2) {}
    if (!map) return NULL;
    /* A block of the small heap is a line at least, and so is what is known of it. */
    const int64_t small = up_to(bytes / 16, grain), bits[HEAPS] = { small >> granule_shift[SMALL], bytes >> granule_shift[LARGE] };
    const int64_t words[HEAPS] = { bits[SMALL] / 64 + 1, bits[LARGE] / 64 + 1 };
    const int64_t head = up_to((int64_t)sizeof(fn_pool) + 8 * (words[SMALL] + words[LARGE]), 65536);
    char *at = (char *)map + (-(uintptr_t)map & 65535);
    if (commit(at, head)) {
        unreserve(map, bytes);
        return NULL;
    }
    fn_pool *p = (fn_pool *)at;          /* fresh pages are zero */
    p->map = map;
    p->map_bytes = bytes;
    p->heap[SMALL].touched = (uint64_t *)(p + 1);
    p->heap[LARGE].touched = p->heap[SMALL].touched + words[SMALL];
    p->blocks.base = at += head;
    p->heap[SMALL].map.base = at += small;
    p->heap[LARGE].map.base = at += up_to(small / unit[SMALL] * (int64_t)sizeof(uint32_t), 65536);
    at += up_to(bytes / unit[LARGE] * (int64_t)sizeof(uint32_t), 65536);
    at += -(uintptr_t)at & (uintptr_t)(grain - 1);
    for (heap *h = p->heap; h < p->heap + HEAPS; h++) {
        const int i = (int)(h - p->heap);
        h->unit = unit[i];
        h->shift = granule_shift[i];
        h->base = h->top = at;
        at = h->end = at + (i == SMALL ? small : ((char *)map + bytes - at) / grain * grain);
    }
    prefer_huge(p->heap[LARGE].base, p->heap[LARGE].end - p->heap[LARGE].base);
    lock_init(&p->lock);
    join_pools(p);
    return p;
}

void fn_pool_drop(fn_pool *p) {
    lock_on(&p->lock);
    p->dropped = 1;
    const int empty = p->alive == 0;
    lock_off(&p->lock);
    if (empty) destroy(p);
}

void *fn_alloc(fn_pool *p, int64_t bytes) {
    if (bytes < 0 || bytes >= p->map_bytes) return NULL;
    const int64_t least = bytes + TAIL ? bytes + TAIL : 1;
    block *b = NULL;
    lock_on(&p->lock);
    const int64_t window_peak = p->window_peak;
    if (p->in_use + least > window_peak) p->window_peak = p->in_use + least;
    for (int i = least <= SMALL_MOST ? SMALL : LARGE; i < HEAPS && !b; i++) b = carve(p, p->heap + i, up_to(least, unit[i]));
    if (!b) {
        p->window_peak = window_peak;
        lock_off(&p->lock);
        return NULL;
    }
    p->in_use += b->size;
    if (p->in_use > p->window_peak) p->window_peak = p->in_use;
    if (p->in_use > p->peak) p->peak = p->in_use;
    p->alive++;
    p->calls++;
    p->window_bytes += b->size;
    if (p->window_bytes > 32 * p->window_peak) {
        p->last_peak = p->window_peak;
        p->window_peak = p->in_use;
        p->window_bytes = 0;
        trim(p, p->resident - allowed(p));
    }
    b->asked = bytes;
    char *at = b->at;
    const int64_t tail = b->size - bytes;
    lock_off(&p->lock);
    __asan_unpoison_memory_region(at, bytes + tail);
#if defined(FN_GUARD)
    memset(at, STALE, bytes);
    memset(at + bytes, GUARD, tail);
#endif
    if (p == general) __asan_poison_memory_region(at + bytes, tail);
    return at;
}

fn_pool *fn_pool_of(const void *at) {
    fn_pool *p = general;
    if (p && fn_pool_contains(p, at)) return p;
    lock_on(&pools_lock);
    for (p = pools; p && !fn_pool_contains(p, at); p = p->next) {}
    lock_off(&pools_lock);
    return p;
}

void fn_free(void *at) {
    if (!at) return;
    fn_pool *p = fn_pool_of(at);
    lock_on(&p->lock);
    block *b = block_at(p, at);
#if defined(FN_GUARD)
    memset(at, STALE, b->asked);
#endif
    p->in_use -= b->size;
    p->calls++;
    release(p, b);
    const int gone = --p->alive == 0 && p->dropped;
    lock_off(&p->lock);
    if (gone) destroy(p);
}

int fn_pool_contains(const fn_pool *p, const void *address) {
    return (const char *)address >= (const char *)p->map && (const char *)address < (const char *)p->map + p->map_bytes;
}

int64_t fn_block_bytes(const void *at) {
    fn_pool *p = fn_pool_of(at);
    lock_on(&p->lock);
    const block *b = block_at(p, at);
    const int64_t bytes = TAIL ? b->asked : b->size;
    lock_off(&p->lock);
    return bytes;
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

int fn_block_check(const void *at) {
#if defined(FN_GUARD) && !defined(__SANITIZE_ADDRESS__)      /* the sanitizer watches the tail itself */
    fn_pool *p = fn_pool_of(at);
    if (p != general) return 0;
    lock_on(&p->lock);
    const block *b = block_at(p, at);
    const uint8_t *tail = (const uint8_t *)at + b->asked, *end = (const uint8_t *)at + b->size;
    lock_off(&p->lock);
    for (; tail < end; tail++)
        if (*tail != GUARD) return -1;
#else
    (void)at;
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
