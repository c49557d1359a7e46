# What this build and this machine are, and doors for the tests.


def isas():
    """Instruction sets that are compiled in and that this machine runs, slowest first."""
    return [fn_table_at(i).isa.decode() for i in range(fn_table_count()) if fn_table_at(i).supported()]


def isas_compiled():
    """Instruction sets that are compiled in."""
    return [fn_table_at(i).isa.decode() for i in range(fn_table_count())]


def get_isa():
    """The instruction set in use."""
    return fn_table_now().isa.decode()


def set_isa(str name):
    """Use another instruction set from now on."""
    if fn_table_force(name.encode()) != 0:
        raise ValueError(f"FASTNN_ISA: {name!r} is not one of {isas()}, which this build carries and this machine runs")
    touch()


def threading_kind():
    """'openmp', or 'threads' in a build without an OpenMP runtime."""
    return fn_run_kind().decode()


cdef struct _Peak:
    double seconds
    double rate[FN_MAX_THREADS]


cdef void _peak(const void *args, fn_team t) noexcept nogil:
    (<_Peak *>args).rate[t.rank] = fn_table_now().fma_peak((<_Peak *>args).seconds)


def fma_peak(double seconds=0.05, int threads=1):
    """Measured GFLOP/s of float32 multiply-adds, by a team of so many threads at once; each thread's best stretch counts."""
    cdef _Peak peak
    cdef fn_call c
    memset(&peak, 0, sizeof(peak))
    peak.seconds = seconds
    c.kernel, c.args, c.op, c.flags, c.dtype, c.threads = _peak, &peak, 0, FN_PLAIN, FN_F32, threads
    with nogil:
        fn_run(&c, 1, threads)
    return sum([peak.rate[i] for i in range(FN_MAX_THREADS)])


def run_costs(threads=None):
    """Measured (parallel region, barrier) in ns."""
    cdef double region, barrier
    cdef int n = _threads if threads is None else threads
    with nogil:
        fn_run_costs(&region, &barrier, n)
    return region, barrier


def memory_info():
    """Bytes of the general pool: in use, highest in use, resident; and the number of its calls."""
    cdef fn_pool_stats s = fn_pool_info(_general)
    return {"in_use": s.in_use, "peak_in_use": s.peak_in_use, "resident": s.resident, "calls": s.calls}


def reset_peak_memory():
    """Start the high-water mark anew."""
    fn_pool_reset_peak(_general)


def empty_cache():
    """Give memory that no tensor uses back to the system."""
    fn_pool_trim(_general, 0)


def flush_denormals(bint on):
    """This thread's mode outside kernels; returns the old one."""
    return bool(fn_flush_denormals(on))


def ops():
    """(name, family, flags) of every operation, from csrc/ops.inc."""
    return [(fn_ops[i].name.decode(), fn_ops[i].family.decode(), fn_ops[i].flags) for i in range(FN_OPS)]


def guard_words_whole(TensorBase t):
    """In debug builds: is nothing written outside t's block?"""
    return not t.storage.pooled or fn_block_check(t.storage.ptr) == 0


def set_work_grains(double call, double program):
    """ns of work that make a team worth its while, a thread of it in a call and all of a program; returns the old pair. Tests set them near 0,
    so that small operations use all threads."""
    global _GRAIN, _PROGRAM_GRAIN
    old = _GRAIN, _PROGRAM_GRAIN
    _GRAIN, _PROGRAM_GRAIN = max(call, 1e-9), max(program, 1e-9)
    touch()
    return old


def _check_environment():
    """What the C floor would pass over in silence is an error of the import."""
    global _winograd
    import os
    isa, threads, winograd = [os.environ.get("FASTNN_" + name) for name in ("ISA", "NUM_THREADS", "WINOGRAD")]
    if isa:
        set_isa(isa)
    if threads and not (threads.isascii() and threads.isdigit() and int(threads) > 0):
        raise ValueError(f"FASTNN_NUM_THREADS: expected a positive number, but got {threads!r}")
    if winograd not in (None, "", "0", "1"):
        raise ValueError(f"FASTNN_WINOGRAD: expected 0 or 1, but got {winograd!r}")
    _winograd = winograd != "0"


_check_environment()
