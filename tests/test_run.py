"""csrc/run.c: regions on OpenMP and what forked children make of them. Where run_threads.c must do the same, it takes the same test."""
import threading

import pytest

from native import load, needs_cc
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
    script(kind, FORK + """
stop = False
def churn():
    while not stop:
        runner.chain((2, 1, 2), 2)
t = threading.Thread(target=churn)
t.start()
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
