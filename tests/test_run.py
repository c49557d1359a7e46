"""csrc/run.c: regions on OpenMP and what forked children make of them. Where run_threads.c must do the same, it takes the same test."""
import ctypes
import os
import subprocess
import sys
import threading

import pytest

from fastnn import _core
from native import build, load, needs_cc
from runner import FORK, Runner, kinds, needs_openmp, script, source

pytestmark = needs_cc


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
@pytest.mark.parametrize("n", [0, 1, 2, 5, 97, 1000, (1 << 20) + 3])
def test_every_item_is_dealt_once(runner, n):
    for threads in (1, 2, 3, 7):
        out = (ctypes.c_int32 * max(n, 1))()
        runner.run(runner.list(("probe_deal", out, n, threads, 0), ("probe_deal", out, n, 2, 0)), threads)
        assert list(out)[:n] == [6] * n, threads


@kinds
@pytest.mark.parametrize("n", [2, 7, 100])
def test_a_slow_thread_s_items_are_taken_by_others(runner, n):
    for threads in (1, 2, 3, 7):
        for _ in range(20):
            out = (ctypes.c_int32 * 2)()
            runner.run(runner.list(("probe_slow", out, n, threads, 0)), threads)
            assert list(out) == [n, 0], threads


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
    """The other thread allocates nothing, its first run is behind it: a sanitizer's allocator stays locked in a child forked within it."""
    script(kind, FORK + """
stop, begun, out = False, threading.Event(), (ctypes.c_int32 * 388)()
steps = [(ctypes.c_int32 * 194).from_buffer(out, 388 * i) for i in range(3)]
calls = runner.list(*(("probe_chain", step, 97, team, 0) for step, team in zip(steps, (2, 1, 2))))
def churn():
    runner.run(calls, 2)
    begun.set()
    while not stop:
        runner.run(calls, 2)
t = threading.Thread(target=churn)
t.start()
begun.wait()
for _ in range(3):
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


# ---- through the library: whole trainings --------------------------------------------------------------------------------------

TRAIN = """
import os, sys
import fastnn
from fastnn import _core, nn, optim
from fastnn.nn import functional as F

_core.set_work_grains(0, 0)                    # every operation on all threads
fastnn.set_num_threads(3)
fastnn.manual_seed(0)
x, y = fastnn.randn(32, 12), fastnn.randint(0, 5, (32,))

def trainer(captured):
    fastnn.manual_seed(1)
    model = nn.Sequential(nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 5))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss
    return fastnn.capture(step) if captured else step

def losses(step, n):
    return [step(x, y).item() for _ in range(n)]
"""


def train(code, *args, timeout=60, **env):
    done = subprocess.run([sys.executable, "-c", TRAIN + code, *args], env={**os.environ, **env}, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]


def test_forked_children_train(tmp_path):
    """After the parent used all its threads, a child goes on, eager and captured, to the parent's own losses."""
    train("""
eager, captured = trainer(False), trainer(True)
fastnn.manual_seed(2)
before = losses(eager, 3)
fastnn.manual_seed(2)
assert losses(captured, 3) == before

def go_on():
    fastnn.manual_seed(3)
    a = losses(eager, 4)
    fastnn.manual_seed(3)
    assert losses(captured, 4) == a
    again = trainer(True)                            # recorded anew, in the child too
    fastnn.manual_seed(2)
    assert losses(again, 3) == before
    return repr(a)

pid = os.fork()
if not pid:
    sys.excepthook = lambda *e: (sys.__excepthook__(*e), os._exit(1))
    open(sys.argv[1], "w").write(go_on())
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert open(sys.argv[1]).read() == go_on()
""", str(tmp_path / "child"))


def test_a_pool_of_forked_processes_trains():
    train("""
import multiprocessing
first = losses(trainer(False), 3)

def job(captured):
    fastnn.manual_seed(0)
    fastnn.randn(32, 12), fastnn.randint(0, 5, (32,))
    return losses(trainer(captured), 6)

with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map(job, [False, True] * 3)
assert results == [job(False)] * 6 and results[0][:3] == first
""")


@pytest.mark.skipif(sys.platform != "linux" or _core.threading_kind() != "openmp" or "LD_PRELOAD" in os.environ,
                    reason="counts inside an OpenMP region, with a preloaded library of its own")
def test_a_replay_is_one_region_that_allocates_nothing():
    lib = str(build("interpose", ("tests/interpose.c",), ("-Wno-nonnull", "-ldl")))
    train(f"""
import ctypes
lib = ctypes.CDLL({lib!r})
count = lambda: tuple(ctypes.c_int.in_dll(lib, name).value for name in ("regions", "allocations", "mappings"))
step = trainer(True)
losses(step, 4)
regions, allocations, mappings = count()
assert regions > 0
calls = _core.memory_info()["calls"]
for _ in range(10):
    step(x, y)
after, more, mapped = count()
assert after - regions == 10, "one region a replay"
assert (more, mapped) == (allocations, mappings), "allocations inside"
assert _core.memory_info()["calls"] - calls <= 20, "the fresh copy of the loss, made and freed"
""", LD_PRELOAD=lib)


def test_threads_of_python_train_at_once():
    train("""
import threading
found = {}

def run(i):
    w = fastnn.ones(8, 8, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.01)
    a = fastnn.arange(64).reshape(8, 8).float() / 64

    def step(a):
        optimizer.zero_grad()
        loss = ((a @ w).tanh() ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    step = fastnn.capture(step) if i % 2 else step
    found[i] = [step(a).item() for _ in range(60)]

threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
run(4)
assert len(found) == 5 and all(found[i] == found[4] for i in range(4)) and found[4][-1] < found[4][0]
""")


@pytest.mark.skipif(_core.threading_kind() != "openmp", reason="a pool of OpenMP's")
def test_threadpoolctl_sees_us():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    assert "openmp" in {pool["user_api"] for pool in threadpoolctl.threadpool_info()}
