/* What every kernel file includes: its element type and instruction set, by macro, and the names made from them.
 *
 * The build compiles each file once per (FN_ISA, FN_DTYPE):  -DFN_ISA=avx2 -DFN_DTYPE=f32 */
#ifndef FN_KERNEL_H
#define FN_KERNEL_H
#include "args.h"
#include <math.h>

#define FN_CAT4(a, b, c, d) a##b##_##c##_##d
#define FN_CAT4_(a, b, c, d) FN_CAT4(a, b, c, d)
#define FN_NAME(name) FN_CAT4_(fn_, name, FN_DTYPE, FN_ISA)          /* any symbol that leaves the file */
#if defined(FN_UNDER)            /* what an instruction set that adds to another has from that one */
#define FN_BELOW(name) FN_CAT4_(fn_, name, FN_DTYPE, FN_UNDER)
#else
#define FN_BELOW(name) FN_NAME(name)
#endif
#define FN_KERNEL(name) void FN_NAME(name)(const void *args, fn_team t)
#define FN_WORK(name) int64_t FN_NAME(name##_work)(const void *args, int threads)

/* FN_DT as a number, for #if */
#define FN_DT_f32 0
#define FN_DT_f64 1
#define FN_DT_i64 2
#define FN_DT_i32 3
#define FN_DT_u8 4
#define FN_DT_bool 5
#define FN_CAT2(a, b) a##b
#define FN_CAT2_(a, b) FN_CAT2(a, b)
#define FN_DT FN_CAT2_(FN_DT_, FN_DTYPE)
#define FN_REAL (FN_DT <= 1)
#define FN_BOOLEAN (FN_DT == 5)

#if FN_DT == 0
typedef float fn_t;
#elif FN_DT == 1
typedef double fn_t;
#elif FN_DT == 2
typedef int64_t fn_t;
#elif FN_DT == 3
typedef int32_t fn_t;
#else
typedef uint8_t fn_t;            /* u8, and bool as 0 or 1 */
#endif
#define SIZE (int64_t)sizeof(fn_t)

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t over(int64_t n, int64_t d) { return (n + d - 1) / d; }
static inline int64_t up(int64_t n, int64_t d) { return over(n, d) * d; }

#define FN_INLINE static inline __attribute__((always_inline, unused))
#define FN_APART static __attribute__((noinline, unused))       /* where one text is enough, or inlined it would be worse */

/* Before a loop over registers, of a constant count. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* Hardware reads ahead along few streams, none beyond the end of its page: kernels that walk through large arrays ask for what comes
 * FN_BEYOND bytes later, or next, themselves. To be written: write is 1. */
#define FN_BEYOND 4096
#define FN_FAR 12582912          /* bytes of an array that lies in memory: what is read ahead of caches alone only costs instructions */
FN_INLINE void fetch_lines(const void *p, int64_t bytes, const int write) {
    for (int64_t i = 0; i < bytes; i += 64) {
        if (write) __builtin_prefetch((const char *)p + i, 1);
        else __builtin_prefetch((const char *)p + i);
    }
}

/* Where element i (row-major count) of an index space of nd dimensions lies; and the same for `count` elements from i on. */
static inline int64_t fn_at(int64_t i, int64_t nd, const int64_t *n, const int64_t *s) {
    int64_t at = 0;
    for (int64_t d = nd - 1; d > 0; d--) at += i % n[d] * s[d], i /= n[d];
    return nd ? at + i * s[0] : 0;
}
FN_APART void fn_offsets(int64_t *o, int64_t i, int64_t count, int64_t nd, const int64_t *n, const int64_t *s) {
    int64_t c[FN_DIMS] = {0}, at = 0;
    for (int64_t d = nd - 1; d >= 0; d--) c[d] = i % n[d], i /= n[d], at += c[d] * s[d];
    for (int64_t k = 0; k < count; k++) {
        o[k] = at;
        for (int64_t d = nd - 1; d >= 0; d--) {
            at += s[d];
            if (++c[d] < n[d]) break;
            at -= n[d] * s[d], c[d] = 0;
        }
    }
}

#if FN_REAL
#include "simd.h"
#endif
#endif
