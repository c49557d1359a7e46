"""fn_run of csrc/run.c and of its twin run_threads.c through ctypes, over the probes of run_harness.c."""
import ctypes
import os
import subprocess
import sys

import pytest

from native import build, has_openmp

FLUSH, MAX_THREADS = 2, 256
HERE = os.path.dirname(os.path.abspath(__file__))
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


def script(kind, code, timeout=60, **env):
    name, sources, flags = source(kind)
    head = f"import ctypes, os, sys, threading, time\nsys.path.insert(0, {HERE!r})\nfrom runner import Runner\n" \
           f"runner = Runner(ctypes.CDLL({str(build(name, sources, flags))!r}))\n"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "FASTNN_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", head + code], env={**clean, **env}, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


# A Python thread that is joined may still be ending, which opens libgcc_s where nobody has (NumPy does): a child forked meanwhile finds the
# loader half done and aborts.
FORK = """
try:
    ctypes.CDLL("libgcc_s.so.1")
except OSError:
    pass
def child(depth):
    for _ in range(20):
        assert runner.chain((3, 1, 2) * 3, 3) and runner.sizes(2) == [2, 2]
    fresh = []
    t = threading.Thread(target=lambda: fresh.append(runner.chain((2, 2), 2)))
    t.start()
    t.join()
    assert fresh == [True]
    if depth:
        fork(depth - 1)
def fork(depth):
    if "LD_PRELOAD" in os.environ:
        time.sleep(0.05)             # a sanitizer's allocator stays locked in a child that is forked while a thread begins or ends
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
