/* The table of one instruction set, made from ops.inc; compiled once per FN_ISA. One that adds to another, FN_UNDER, has what
 * the build gave it; one whose whole numbers are left to another, FN_WHOLE, has the real types. */
#include "kernel.h"
#if defined(__AMX_BF16__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define KERNEL(name, t) FN_CAT4_(fn_, name, t, FN_ISA)
#define SCRATCH_none(name, t) NULL
#define SCRATCH_work(name, t) KERNEL(name##_work, t)

#define REALS(X, name, work) X(f32, FN_F32, name, work) X(f64, FN_F64, name, work)
#if defined(FN_WHOLE)
#define NUMS REALS
#define ALL REALS
#define INTS(X, name, work)
#define BELOW FN_WHOLE
#else
#define NUMS(X, name, work) REALS(X, name, work) X(i64, FN_I64, name, work) X(i32, FN_I32, name, work) X(u8, FN_U8, name, work)
#define ALL(X, name, work) NUMS(X, name, work) X(bool, FN_BOOL, name, work)
#define INTS(X, name, work) X(i64, FN_I64, name, work) X(i32, FN_I32, name, work) X(u8, FN_U8, name, work) X(bool, FN_BOOL, name, work)
#endif

#if defined(FN_UNDER)
#define FN_MAYBE __attribute__((weak))
#define BELOW FN_UNDER
#else
#define FN_MAYBE
#endif
#if defined(BELOW)
extern const fn_table FN_CAT2_(fn_table_, BELOW);
#endif
#define DECLARE(t, dtype, name, work) \
    FN_MAYBE void KERNEL(name, t)(const void *args, fn_team team); \
    FN_MAYBE int64_t KERNEL(name##_work, t)(const void *args, int threads);
#define FN_OP(name, family, types, flags, work) types(DECLARE, name, work)
#include "ops.inc"
#undef FN_OP
double FN_BELOW(fma_peak)(double seconds);

#if defined(__AMX_BF16__)
/* Tile registers, and their state kept for this process by the system. */
static int tiles(void) {
    enum { BF16 = 1 << 22, TILE = 1 << 24, REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && d & BF16 && d & TILE && !syscall(SYS_arch_prctl, REQUEST, TILE_DATA);
}
#endif

static int supported(void) {
#if defined(__AVX512F__)
    __builtin_cpu_init();
#if defined(__AMX_BF16__)
    if (!tiles()) return 0;
#endif
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
#elif defined(__AVX2__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

#define TEXT(s) #s
#define TEXT_(s) TEXT(s)
#define ENTER(t, dtype, name, work) [FN_OP_##name][dtype] = { KERNEL(name, t), SCRATCH_##work(name, t) },
#define FN_OP(name, family, types, flags, work) types(ENTER, name, work)
extern const fn_table FN_CAT2_(fn_table_, FN_ISA);
const fn_table FN_CAT2_(fn_table_, FN_ISA) = {
    .isa = TEXT_(FN_ISA),
#if defined(BELOW)
    .under = &FN_CAT2_(fn_table_, BELOW),
#endif
    .supported = supported,
    .vector_bytes = FN_VBYTES,
    .fma_peak = FN_BELOW(fma_peak),
    .slot = {
#include "ops.inc"
    },
};
