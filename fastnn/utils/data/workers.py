"""Workers of a loader: lanes that run tasks one after another, in a thread or in a process each.

Task i goes to lane i modulo the number of lanes, and results are taken in the order of the tasks. A lane outlives the
iterator that owns it by the task under way at the most, and a thread never keeps the interpreter from ending.
"""
import os
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future, TimeoutError

from ..._core import Generator, set_num_threads, use_generator

_me = threading.local()                  # of a worker: info, fetch, init, batches


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

    def __init__(self, setup):
        self.tasks = queue.SimpleQueue()
        self.submit(_set_up, setup)
        threading.Thread(target=_serve, args=(self.tasks,), name="fastnn-loader", daemon=True).start()

    def submit(self, function, *args):
        future = Future()
        self.tasks.put((future, function, args))
        return future

    def stop(self):
        self.tasks.put(None)


def _serve(tasks):
    while (task := tasks.get()) is not None:
        future, function, args = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)
        task = future = function = args = None


class ProcessLane:
    """A process, by concurrent.futures."""

    def __init__(self, setup, context):
        from concurrent.futures import ProcessPoolExecutor
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_in_process, initargs=(setup,))
        self.submit = self.pool.submit

    def stop(self):
        self.pool.shutdown(wait=False, cancel_futures=True)


def _set_up(setup):
    _me.info, _me.fetch, _me.init = setup


def _in_process(setup):
    import signal
    _set_up(setup)
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # Ctrl-C is the parent's to handle
    set_num_threads(1)


# ---- what runs in a worker -------------------------------------------------------------------------------------------

def _begin(seed):
    """An epoch begins; random numbers of this worker come from `seed`."""
    _me.info.seed, _me.batches = seed + _me.info.id, None
    use_generator(Generator().set_state((seed, _me.info.id << 40)))
    init, _me.init = _me.init, None
    if init is not None:
        init(_me.info.id)


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
        setups = [(WorkerInfo(id=i, num_workers=count, seed=0, dataset=dataset), fetch, init) for i in range(count)]
        self.lanes = [ThreadLane(setup) if context is None else ProcessLane(setup, context) for setup in setups]

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
        try:
            while True:
                while len(pending) < ahead * len(self.lanes) and (task := next(batches, None)) is not None:
                    pending.append(self.lanes[turn % len(self.lanes)].submit(_fetch, seed, *task))
                    turn += 1
                if not pending:
                    return
                yield _result(pending.popleft(), timeout)
        finally:
            for future in pending:
                future.cancel()

    def stream(self, seed, ahead, timeout):
        """Batches of an IterableDataset, a turn for each lane that has more."""
        self._begin(seed)
        pending = deque((lane, lane.submit(_advance)) for _ in range(ahead) for lane in self.lanes)
        try:
            while pending:
                lane, future = pending.popleft()
                batch = _result(future, timeout)
                if batch is not None:
                    pending.append((lane, lane.submit(_advance)))
                    yield batch[0]
        finally:
            for _, future in pending:
                future.cancel()

    def _begin(self, seed):
        for future in [lane.submit(_begin, seed) for lane in self.lanes]:
            _result(future, 0)


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
