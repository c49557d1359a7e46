# The C door (csrc/fn.h), as Cython sees it. Args structs are declared beside the calls that fill them, in _ops_<family>.pxi.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef extern from "fn.h":
    enum: FN_DIMS
    enum: FN_OPS
    enum: FN_DTYPES
    enum: FN_F32, FN_F64, FN_I64, FN_I32, FN_U8, FN_BOOL
    enum: FN_PLAIN, FN_BARRIER, FN_FLUSH
    enum: FN_MAX_THREADS
    ctypedef struct fn_pool
    ctypedef struct fn_team:
        int rank, size
    ctypedef void (*fn_kernel)(const void *args, fn_team t) noexcept nogil
    ctypedef int64_t (*fn_scratch)(const void *args, int threads) noexcept nogil
    ctypedef struct fn_op_info:
        const char *name
        const char *family
        int flags
    const fn_op_info fn_ops[1]
    ctypedef struct fn_slot:
        fn_kernel kernel
        fn_scratch scratch
    ctypedef struct fn_table:
        const char *isa
        int (*supported)() noexcept nogil
        int vector_bytes
        double (*fma_peak)(double seconds) noexcept nogil
    const fn_slot *fn_find(const fn_table *t, int op, int dtype) nogil
    const fn_table *fn_table_now() nogil
    int fn_table_count() nogil
    const fn_table *fn_table_at(int i) nogil
    int fn_table_force(const char *isa) nogil
    ctypedef struct fn_call:
        fn_kernel kernel
        const void *args
        int32_t op, flags, threads, dtype
    void fn_run(const fn_call *calls, int64_t n, int threads) nogil
    const char *fn_run_kind() nogil
    int fn_threads_default() nogil
    void fn_run_costs(double *region_ns, double *barrier_ns, int threads) nogil
    int fn_flush_denormals(int on) nogil
    void fn_run_init() nogil
    fn_pool *fn_pool_new() nogil
    void fn_pool_drop(fn_pool *p) nogil
    void *fn_alloc(fn_pool *p, int64_t bytes) nogil
    void fn_free(void *block) nogil
    fn_pool *fn_pool_of(const void *block) nogil
    int fn_pool_contains(const fn_pool *p, const void *address) nogil
    int64_t fn_block_bytes(const void *block) nogil
    void fn_pool_trim(fn_pool *p, int64_t keep_bytes) nogil
    ctypedef struct fn_pool_stats:
        int64_t in_use, peak_in_use, resident, calls
    fn_pool_stats fn_pool_info(fn_pool *p) nogil
    void fn_pool_reset_peak(fn_pool *p) nogil
    int fn_block_check(const void *block) nogil
    void fn_mem_init() nogil
