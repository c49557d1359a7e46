"""csrc/team.c under both regions: calls in order, barriers, denormals, costs, the default number of threads."""
import ctypes
import os
import sys
import time

import pytest

from native import load, needs_cc
from runner import FLUSH, MAX_THREADS, Runner, kinds, source

pytestmark = needs_cc


@pytest.fixture
def runner(kind):
    return Runner(load(*source(kind)))


@kinds
@pytest.mark.parametrize("teams", [(1,) * 5, (2, 2, 2), (1, 2, 1, 1, 2, 1), (7, 1, 3, 2, 2, 7, 5, 1, 1, 4) * 20])
def test_calls_run_in_order(runner, teams):
    for threads in (1, 2, 3, 7):
        for _ in range(5):
            assert runner.chain(teams, threads)


@kinds
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_barrier(runner, threads):
    """More threads than processors must not collapse either. Who has no part in a call waits for the next elsewhere."""
    out = (ctypes.c_int32 * (MAX_THREADS * 20))()
    calls = runner.list(("probe_barrier", out, 2000, threads, 0), ("probe_barrier", out, 300, max(threads - 1, 1), 0),
                        ("probe_barrier", out, 300, threads, 0))
    start = time.monotonic()
    runner.run(calls, threads)
    assert list(out[:threads]) == [0] * threads
    assert time.monotonic() - start < (60 if "LD_PRELOAD" in os.environ else 20)      # the sanitizers are preloaded, and slow


@kinds
def test_denormals_are_flushed_for_flagged_calls_alone(runner):
    flush = runner.lib.fn_flush_denormals
    outs = [(ctypes.c_int32 * MAX_THREADS)() for _ in range(4)]
    calls = runner.list(*(("probe_denormal", out, 0, 3, flags) for out, flags in zip(outs, (0, FLUSH, 0, FLUSH))))
    for threads in (1, 3):
        for mode in (0, 1):
            assert flush(mode) == 0
            for out in outs:
                out[:] = [7] * MAX_THREADS
            runner.run(calls, threads)
            kept = flush(0)
            assert kept == mode                                        # the caller's mode is as it was
            assert list(outs[0][:threads]) == list(outs[2][:threads]) == [1 - mode] * threads      # and every thread's during the run
            assert list(outs[1][:threads]) == list(outs[3][:threads]) == [0] * threads


@kinds
def test_costs(runner):
    region, barrier = ctypes.c_double(), ctypes.c_double()
    for threads in (1, 2):
        runner.lib.fn_run_costs(ctypes.byref(region), ctypes.byref(barrier), threads)
        assert 0 < region.value < 1e7 and 0 <= barrier.value < 1e7
    assert barrier.value > 5 and region.value > 50          # of two threads: something did happen


@kinds
def test_default_count_from_the_environment(runner, monkeypatch):
    def default(**env):
        for name in ("FASTNN_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return runner.lib.fn_threads_default()

    assert default(FASTNN_NUM_THREADS="5", OMP_NUM_THREADS="3") == 5
    assert default(OMP_NUM_THREADS="3,2") == 3
    assert default(FASTNN_NUM_THREADS="100000") == MAX_THREADS
    free = default()
    assert 1 <= free <= min(os.cpu_count(), MAX_THREADS)
    assert default(FASTNN_NUM_THREADS="none") == default(FASTNN_NUM_THREADS="-2") == free
    if hasattr(os, "sched_setaffinity"):
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, [min(cpus)])
        try:
            assert default() == 1
        finally:
            os.sched_setaffinity(0, cpus)


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
@pytest.mark.parametrize("cgroup, files, quota", [
    ("0::/", {"cpu.max": "max 100000"}, None),
    ("0::/", {"cpu.max": "150000 100000"}, 2),                                       # rounded up
    ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 1),      # a group above counts too
    ("0::/gone/from/here", {"cpu.max": "100000 100000"}, 1),                         # as in a container
    ("12:cpuset:/x\n4:cpu,cpuacct:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "10000", "cpu/a/cpu.cfs_period_us": "100000"}, 1),
    ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ("nonsense\n\n0:", {"cpu.max": "100000 100000"}, None),
    ("0::/", {}, None),
])
def test_cgroup_quota(tmp_path, cgroup, files, quota):
    (tmp_path / "cgroup").write_text(cgroup + "\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    places = f'-DCGROUP_FILE="{tmp_path}/cgroup"', f'-DCGROUP_ROOT="{tmp_path}"'
    lib = load(f"cgroup-{tmp_path.name}", ["csrc/team.c", "csrc/run_threads.c"], places)
    assert lib.fn_cgroup_cpus() == (quota or 2**31 - 1)
