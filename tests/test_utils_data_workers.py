"""Workers of a loader: errors come back, nothing hangs, nothing leaks."""
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import fastnn
from fastnn.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

CONTEXTS = [None] + [c for c in ("fork", "spawn") if c in multiprocessing.get_all_start_methods()]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Squares(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, i):
        return i * i


class Failing(Squares):
    def __init__(self, error):
        self.error = error

    def __getitem__(self, i):
        if i == 5:
            raise self.error
        return i


class Slow(Squares):
    def __getitem__(self, i):
        time.sleep(0.5 if i >= 4 else 0)
        return i


class Shards(IterableDataset):
    def __iter__(self):
        me = get_worker_info()
        return iter(range(me.id, 9, me.num_workers))


def workers():
    return [t for t in threading.enumerate() if t.name == "fastnn-loader"]


def gone(within=5.0):
    """Have all workers ended?"""
    gc.collect()
    end = time.monotonic() + within
    while workers() and time.monotonic() < end:
        time.sleep(0.01)
    return not workers()


@pytest.mark.parametrize("context", CONTEXTS)
def test_order_and_shards(context):
    loader = DataLoader(Squares(), 3, num_workers=2, multiprocessing_context=context)
    assert [b.tolist() for b in loader] == [[0, 1, 4], [9, 16, 25], [36, 49, 64], [81]]
    if context != "spawn":
        loader = DataLoader(Shards(), 2, num_workers=2, multiprocessing_context=context)
        assert [b.tolist() for b in loader] == [[0, 2], [1, 3], [4, 6], [5, 7], [8]]
    assert gone()


@pytest.mark.parametrize("context", [c for c in CONTEXTS if c != "spawn"])
@pytest.mark.parametrize("error, comes", [(KeyError("sample 5"), KeyError), (StopIteration(), RuntimeError)])
def test_errors_come_back_where_the_batch_is_taken(context, error, comes):
    it = iter(DataLoader(Failing(error), 2, num_workers=2, multiprocessing_context=context))
    assert [next(it).tolist(), next(it).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(comes) as caught:
        next(it)
    if comes is KeyError:
        assert "sample 5" in str(caught.value)
        if context is None:
            assert any(entry.name == "__getitem__" for entry in caught.traceback)
    del it, caught
    assert gone()


def test_errors_of_collate_and_of_init():
    with pytest.raises(ZeroDivisionError):
        next(iter(DataLoader(Squares(), 2, num_workers=1, collate_fn=lambda batch: 1 / 0)))

    def init(number):
        raise OSError(f"worker {number}")
    with pytest.raises(OSError, match="worker 0"):
        next(iter(DataLoader(Squares(), 2, num_workers=2, worker_init_fn=init)))
    assert gone()


def test_early_break_leaves_no_thread():
    for batch in DataLoader(Squares(), 2, num_workers=3):
        break
    assert gone()
    it = iter(DataLoader(Squares(), 2, num_workers=3))
    next(it)
    del it
    assert gone()


def test_persistent_workers_live_with_their_loader():
    started = []
    loader = DataLoader(Squares(), 2, num_workers=2, persistent_workers=True, worker_init_fn=started.append)
    for _ in range(3):
        next(iter(loader))
        assert len([b for b in loader]) == 5 and len(workers()) == 2
    assert sorted(started) == [0, 1]
    del loader
    assert gone()


def test_infos():
    seen = []

    class Nosy(Squares):
        def __getitem__(self, i):
            me = get_worker_info()
            seen.append((i, me.id, me.num_workers, me.dataset is data, repr(me)[:15]))
            return i
    data = Nosy()
    list(DataLoader(data, 5, num_workers=2))
    assert sorted(seen) == [(i, i // 5, 2, True, f"WorkerInfo(id={i // 5}"[:15]) for i in range(10)]
    assert get_worker_info() is None


def test_timeout():
    it = iter(DataLoader(Slow(), 2, num_workers=1, timeout=0.1))
    next(it), next(it)
    with pytest.raises(RuntimeError, match="timed out after 0.1 seconds"):
        next(it)
    del it
    assert gone()


def test_a_set_in_memory_needs_no_workers():
    it = iter(DataLoader(TensorDataset(fastnn.arange(4)), 2, num_workers=2))
    next(it)
    assert not workers()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_persistent_workers_after_fork():
    loader = DataLoader(Squares(), 2, num_workers=1, persistent_workers=True)
    next(iter(loader))
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if [b.tolist() for b in loader][-1] == [64, 81] else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    del loader
    assert gone()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.parametrize("context", ["None", "'fork'"])
def test_ctrl_c_ends_at_once_though_a_worker_sleeps(context):
    script = f"""if True:
        import time
        from fastnn.utils.data import DataLoader, Dataset
        class Slow(Dataset):
            def __len__(self): return 10
            def __getitem__(self, i):
                time.sleep({20 if context == "None" else 1} if i else 0)
                return i
        try:
            for batch in DataLoader(Slow(), 1, num_workers=2, multiprocessing_context={context}):
                print("got", batch.item(), flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "got 0\n"
    time.sleep(0.1)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=15)
    assert out == "interrupted\n" and process.returncode == 0 and time.monotonic() - start < 10


def test_training_beside_a_loader_that_computes(threads):
    """Workers compute while the main thread records and replays a captured step."""
    class Busy(Squares):
        def __getitem__(self, i):
            x = fastnn.full((64, 64), float(i))
            return (x @ x).sum() / 64 ** 3
    net = fastnn.nn.Linear(1, 1)
    step = fastnn.capture(lambda x: net(x.view(-1, 1)).sum())
    want = [float(i * i) for i in range(10)]
    for _ in range(4):
        got = []
        for x in DataLoader(Busy(), 2, num_workers=2):
            step(x)
            got += x.tolist()
        assert got == want
