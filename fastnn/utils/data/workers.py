"""Workers of a loader: lanes that run tasks one after another, in a thread or in a process each.

Task i goes to lane i modulo the number of lanes, and results are taken in the order of the tasks. A lane never outlives the
iterator that owns it by more than the task under way, and never keeps the interpreter from ending.
"""
import os
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future

from ..._core import Generator, set_num_threads, use_generator

_me = threading.local()                  # of a worker: info, fetch, batches


class WorkerInfo:
    """Who a worker is: id, num_workers, seed, dataset."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        return f"WorkerInfo(id={self.id}, num_workers={self.num_workers}, seed={self.seed})"


def get_worker_info():
    """In a loader's worker its WorkerInfo, elsewhere None."""
    return getattr(_me, "info", None)


class ThreadLane:
    """A daemon thread and its queue."""

    def __init__(self):
        self.tasks = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self.tasks,), name="fastnn-loader", daemon=True).start()

    def submit(self, function, *args):
        future = Future()
        self.tasks.put((future, function, args))
        return future

    def stop(self):
        while not self.tasks.empty():
            try:
                self.tasks.get_nowait()
            except queue.Empty:
                break
        self.tasks.put(None)


def _serve(tasks):
    while (task := tasks.get()) is not None:
        future, function, args = task
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)
        task = future = function = args = None


class ProcessLane:
    """A process, by concurrent.futures."""

    def __init__(self, context):
        from concurrent.futures import ProcessPoolExecutor
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_in_process)
        self.submit = self.pool.submit

    def stop(self):
        self.pool.shutdown(wait=False, cancel_futures=True)


def _in_process():
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # Ctrl-C is the parent's to handle
    set_num_threads(1)


# ---- what runs in a worker -------------------------------------------------------------------------------------------

def _start(number, count, dataset, fetch, init):
    _me.info, _me.fetch = WorkerInfo(id=number, num_workers=count, seed=0, dataset=dataset), fetch
    if init is not None:
        init(number)


def _begin(seed):
    """An epoch begins; random numbers of this worker come from `seed`."""
    _me.info.seed, _me.batches = seed + _me.info.id, None
    use_generator(Generator().set_state((seed, _me.info.id << 40)))


def _fetch(seed, number, indices):
    return fetch_with(seed, number, _me.fetch, indices)


def _advance():
    """(the next batch of an IterableDataset,), or None at its end."""
    if _me.batches is None:
        _me.batches = _me.fetch(None)
    for batch in _me.batches:
        return (batch,)
    return None


def fetch_with(seed, number, fetch, indices):
    """fetch(indices) with random numbers that depend on the epoch's seed and the batch's number alone."""
    before = use_generator(Generator().set_state((seed, number << 32)))
    try:
        return fetch(indices)
    finally:
        use_generator(before)


# ---- the pool --------------------------------------------------------------------------------------------------------

class Pool:
    """Lanes set up for one loader."""

    def __init__(self, count, context, dataset, fetch, init):
        self.pid = os.getpid()
        self.lanes = [ThreadLane() if context is None else ProcessLane(context) for _ in range(count)]
        self.started = [lane.submit(_start, i, count, dataset, fetch, init) for i, lane in enumerate(self.lanes)]

    def alive(self):
        """Is it of this process? Threads do not come along through a fork."""
        return self.pid == os.getpid()

    def stop(self):
        if self.alive():
            for lane in self.lanes:
                lane.stop()

    def fetch(self, seed, batches, ahead, timeout):
        """Results of (number, indices) pairs in order, at most `ahead` of them per lane under way."""
        self._begin(seed)
        pending, batches, turn = deque(), iter(batches), 0
        while True:
            while len(pending) < ahead * len(self.lanes) and (task := next(batches, None)) is not None:
                pending.append(self.lanes[turn % len(self.lanes)].submit(_fetch, seed, *task))
                turn += 1
            if not pending:
                return
            yield _result(pending.popleft(), timeout)

    def stream(self, seed, ahead, timeout):
        """Batches of an IterableDataset, a turn for each lane that has more."""
        self._begin(seed)
        pending = deque((lane, lane.submit(_advance)) for _ in range(ahead) for lane in self.lanes)
        while pending:
            lane, future = pending.popleft()
            batch = _result(future, timeout)
            if batch is not None:
                pending.append((lane, lane.submit(_advance)))
                yield batch[0]

    def _begin(self, seed):
        begun = [lane.submit(_begin, seed) for lane in self.lanes]
        for future in self.started + begun:
            _result(future, 0)
        self.started = []


def _result(future, timeout):
    """The future's result or its exception, waiting in short naps so that Ctrl-C comes through on every system."""
    deadline = time.monotonic() + timeout if timeout else None
    while True:
        try:
            return future.result(0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic())))
        except StopIteration as error:
            raise RuntimeError("the dataset raised StopIteration") from error
        except TimeoutError:
            if future.done():
                raise
            if deadline is not None and time.monotonic() >= deadline:
                raise RuntimeError(f"DataLoader timed out after {timeout} seconds") from None
