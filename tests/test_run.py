"""csrc/run.c, run_threads.c and team.c through ctypes: teams, order, barriers, denormals, fork; both sources by the same tests."""
import ctypes
import os
import subprocess
import sys
import threading
import time

import pytest

from native import build, has_openmp, load, needs_cc

pytestmark = needs_cc
FLUSH, MAX_THREADS = 2, 256
HERE = os.path.dirname(__file__)
KINDS = {"openmp": ("csrc/run.c", "-fopenmp"), "threads": ("csrc/run_threads.c",)}
needs_openmp = pytest.mark.skipif(not has_openmp(), reason="needs OpenMP")
kinds = pytest.mark.parametrize("kind", [pytest.param("openmp", marks=needs_openmp), "threads"])


class Call(ctypes.Structure):
    _fields_ = [("kernel", ctypes.c_void_p), ("args", ctypes.c_void_p), ("op", ctypes.c_int32), ("flags", ctypes.c_int32),
                ("threads", ctypes.c_int32), ("dtype", ctypes.c_int32)]


class Probe(ctypes.Structure):
    _fields_ = [("out", ctypes.c_void_p), ("n", ctypes.c_int64)]


def source(kind):
    return f"run-{kind}", (KINDS[kind][0], "csrc/team.c", "tests/run_harness.c"), KINDS[kind][1:]


class Runner:
    """fn_run over lists of (kernel name, out array, n, threads, flags)."""

    def __init__(self, lib):
        self.lib = lib
        lib.fn_run.restype, lib.fn_run.argtypes = None, (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)
        lib.fn_run_kind.restype = ctypes.c_char_p
        lib.fn_run_init()

    def list(self, *calls):
        probes = [Probe(ctypes.addressof(out), n) for _, out, n, _, _ in calls]
        table = (Call * len(calls))(*(Call(ctypes.cast(getattr(self.lib, name), ctypes.c_void_p).value, ctypes.addressof(p), 0, flags, threads, 0)
                                      for p, (name, _, _, threads, flags) in zip(probes, calls)))
        table.keep = probes
        return table

    def run(self, table, threads):
        self.lib.fn_run(table, len(table), threads)

    def sizes(self, threads, wanted=None):
        out = (ctypes.c_int32 * MAX_THREADS)()
        self.run(self.list(("probe_size", out, 0, wanted or threads, 0)), threads)
        return [s for s in out if s]

    def chain(self, teams, threads, n=97):
        """One call after another with these teams, each reading all that the one before wrote."""
        out = (ctypes.c_int32 * (n * (len(teams) + 1)))()
        steps = [(ctypes.c_int32 * (2 * n)).from_buffer(out, 4 * n * i) for i in range(len(teams))]
        self.run(self.list(*(("probe_chain", step, n, team, 0) for step, team in zip(steps, teams))), threads)
        return list(out[-n:]) == [len(teams)] * n


@pytest.fixture
def runner(kind):
    return Runner(load(*source(kind)))


@kinds
def test_kind_and_sizes(runner, kind):
    assert runner.lib.fn_run_kind() == kind.encode()
    for threads in (1, 2, 3, 7):
        assert runner.sizes(threads) == [threads] * threads
    assert runner.sizes(7, wanted=3) == [3] * 3
    assert runner.sizes(3, wanted=7) == [3] * 3
    assert runner.sizes(4, wanted=1) == [1]
    assert runner.sizes(1, wanted=4) == [1]
    assert runner.sizes(0, wanted=0) == [1]


@kinds
@pytest.mark.parametrize("teams", [(1,) * 5, (2, 2, 2), (1, 2, 1, 1, 2, 1), (7, 1, 3, 2, 2, 7, 5, 1, 1, 4) * 20])
def test_calls_run_in_order(runner, teams):
    for threads in (1, 2, 3, 7):
        for _ in range(5):
            assert runner.chain(teams, threads)


@kinds
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_barrier(runner, threads):
    """More threads than processors must not collapse either."""
    out = (ctypes.c_int32 * (MAX_THREADS * 20))()
    calls = runner.list(("probe_barrier", out, 2000, threads, 0), ("probe_barrier", out, 300, max(threads - 1, 1), 0))
    start = time.monotonic()
    runner.run(calls, threads)
    assert list(out[:threads]) == [0] * threads
    assert time.monotonic() - start < 20


@kinds
def test_denormals_are_flushed_for_flagged_calls_alone(runner):
    flush = runner.lib.fn_flush_denormals
    outs = [(ctypes.c_int32 * MAX_THREADS)() for _ in range(3)]
    calls = runner.list(("probe_denormal", outs[0], 0, 3, 0), ("probe_denormal", outs[1], 0, 3, FLUSH), ("probe_denormal", outs[2], 0, 3, 0))
    for threads in (1, 3):
        for mode in (0, 1):
            assert flush(mode) == 0
            for out in outs:
                out[:] = [7] * MAX_THREADS
            runner.run(calls, threads)
            kept = flush(0)
            assert kept == mode                                        # the caller's mode is as it was
            assert list(outs[0][:threads]) == list(outs[2][:threads]) == [1 - mode] * threads      # and every thread's during the run
            assert list(outs[1][:threads]) == [0] * threads


@kinds
def test_many_callers_at_once(runner):
    good = []

    def work(me):
        good.append(all(runner.chain((3, 1, 2, 4, 1) * 4, 2 + me % 3) for _ in range(30)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert good == [True] * 4


@kinds
def test_costs(runner):
    region, barrier = ctypes.c_double(), ctypes.c_double()
    for threads in (1, 2):
        runner.lib.fn_run_costs(ctypes.byref(region), ctypes.byref(barrier), threads)
        assert 0 < region.value < 1e7 and 0 <= barrier.value < 1e7
    assert barrier.value > 5 and region.value > 50          # of two threads: something did happen


def script(kind, code, timeout=60, **env):
    name, sources, flags = source(kind)
    head = f"import ctypes, os, sys, threading, time\nsys.path.insert(0, {HERE!r})\nfrom test_run import Runner\n" \
           f"runner = Runner(ctypes.CDLL({str(build(name, sources, flags))!r}))\n"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "FASTNN_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", head + code], env={**clean, **env}, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


FORK = """
def child(depth):
    for _ in range(50):
        assert runner.chain((3, 1, 2) * 3, 3) and runner.sizes(2) == [2, 2]
    fresh = []
    t = threading.Thread(target=lambda: fresh.append(runner.chain((2, 2), 2)))
    t.start()
    t.join()
    assert fresh == [True]
    if depth:
        fork(depth - 1)
def fork(depth):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            child(depth)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
"""


@kinds
def test_forked_children_and_theirs_run_teams(kind):
    """Forked from the main thread and from another, before and after the parent used all its threads."""
    script(kind, FORK + """
fork(1)
assert runner.chain((3, 2, 1), 3)
fork(2)
assert runner.chain((3, 2, 1), 3)
runner.chain((2, 2), 2)
t = threading.Thread(target=lambda: (runner.chain((3, 3), 3), fork(1)))
t.start()
t.join()
""")


@kinds
def test_fork_while_another_thread_runs(kind):
    script(kind, FORK + """
stop = False
def churn():
    while not stop:
        runner.chain((2, 1, 2), 2)
t = threading.Thread(target=churn)
t.start()
for _ in range(5):
    fork(0)
stop = True
t.join()
""")


@kinds
def test_a_forked_child_leaves_by_the_front_door(kind):
    """sys.exit() in the child runs every exit handler and still ends."""
    script(kind, """
runner.chain((2, 2), 2)
pid = os.fork()
runner.chain((2, 2), 2)
if pid:
    assert os.waitpid(pid, 0)[1] == 0
""")


@kinds
def test_a_forked_child_is_not_much_slower(kind):
    """A call through the child's own threads costs microseconds, not scheduler ticks."""
    child, parent = map(float, script(kind, """
def cost():
    out = (ctypes.c_int32 * 256)()
    table = runner.list(("probe_size", out, 0, 2, 0))
    best = 1.0
    for _ in range(10):
        t = time.perf_counter()
        for _ in range(100):
            runner.run(table, 2)
        best = min(best, (time.perf_counter() - t) / 100)
    return best
mine = cost()
sys.stdout.flush()
if os.fork() == 0:
    print(cost(), mine, flush=True)
    os._exit(0)
os.wait()
"""))
    assert child < 50 * parent + 2e-3


@kinds
def test_default_count_from_the_environment(kind):
    ask = "print(runner.lib.fn_threads_default())"
    assert script(kind, ask, FASTNN_NUM_THREADS="5", OMP_NUM_THREADS="3") == ["5"]
    assert script(kind, ask, OMP_NUM_THREADS="3,2") == ["3"]
    assert script(kind, ask, FASTNN_NUM_THREADS="100000") == [str(MAX_THREADS)]
    free = int(script(kind, ask)[0])
    assert 1 <= free <= min(os.cpu_count(), MAX_THREADS)
    assert script(kind, ask, FASTNN_NUM_THREADS="none") == script(kind, ask, FASTNN_NUM_THREADS="-2") == [str(free)]
    if hasattr(os, "sched_setaffinity"):
        assert script(kind, "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n" + ask) == ["1"]


@needs_openmp
@pytest.mark.parametrize("env, most", [({"OMP_THREAD_LIMIT": "2"}, 2), ({"OMP_THREAD_LIMIT": "1"}, 1), ({"OMP_DYNAMIC": "true"}, 4),
                                       ({"OMP_WAIT_POLICY": "passive"}, 4), ({"OMP_PROC_BIND": "true"}, 4)])
def test_a_region_that_got_less_than_it_asked_for(env, most):
    """The team is what there is: every share is done, order and barriers hold."""
    size, *rest = script("openmp", """
sizes = runner.sizes(4)
assert sizes == [len(sizes)] * len(sizes)
assert all(runner.chain((4, 1, 3, 2, 4), 4) for _ in range(50))
out = (ctypes.c_int32 * (256 * 20))()
runner.run(runner.list(("probe_barrier", out, 500, 4, 0)), 4)
assert not any(out[:4])
print(len(sizes))
""", **env)
    assert 1 <= int(size) <= most and (int(size) == most or "OMP_DYNAMIC" in env)
