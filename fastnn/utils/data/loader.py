"""DataLoader: batches of a dataset, in memory by one gather per tensor, else sample by sample, here or in workers."""
import weakref
from itertools import count, islice

from ..._core import Generator, default_generator, slice_dim
from ...ops.random import randint
from .collate import FetchSamples, FetchStream, default_collate, default_convert
from .dataset import IterableDataset, gatherer_of
from .sampler import BatchSampler, Ordered, RandomSampler, SequentialSampler


def get_worker_info():
    """In a worker of a DataLoader, who it is (id, num_workers, seed, dataset); elsewhere None."""
    from .workers import get_worker_info
    return get_worker_info()


class DataLoader:
    """Iterates over batches of a dataset; each `iter()` is an epoch.

    Args:
        dataset: a Dataset, anything with `__getitem__` and `__len__`, or an IterableDataset.
        batch_size: samples in a batch; None for single samples.
        shuffle: a new permutation for each epoch.
        sampler, batch_sampler: instead of shuffle, an iterable of indices; instead of batch_size too, of lists of them.
        num_workers: threads (or processes) that fetch ahead; 0 fetches in the caller's thread. A dataset in memory
            needs none.
        collate_fn: list of samples to batch; default_collate.
        drop_last: leave out a last batch that is short.
        timeout: seconds to wait for a worker, 0 for ever.
        worker_init_fn: called with the worker's number at its start.
        multiprocessing_context: None for threads; "fork", "spawn", "forkserver" or a context for processes.
        generator: of the permutations; None means the global one.
        prefetch_factor: batches under way for each worker (2).
        persistent_workers: keep the workers between epochs.
        pin_memory, pin_memory_device: accepted, without meaning on a CPU.

    The order of batches does not depend on workers, nor do random numbers that samples draw from fastnn: each batch has
    its own sequence. An exception in a worker is raised where the batch is taken. `state_dict()` in the middle of an
    epoch and `load_state_dict()` go on with the same permutation behind the last batch taken (the global generator's
    own state is saved apart, by `get_state`; a sampler from elsewhere must repeat its order by itself).

    Example:
        >>> import fastnn
        >>> from fastnn.utils.data import DataLoader, TensorDataset
        >>> [batch[0].tolist() for batch in DataLoader(TensorDataset(fastnn.arange(5)), batch_size=2)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, dataset, batch_size=1, shuffle=None, sampler=None, batch_sampler=None, num_workers=0,
                 collate_fn=None, pin_memory=False, drop_last=False, timeout=0, worker_init_fn=None,
                 multiprocessing_context=None, generator=None, *, prefetch_factor=None, persistent_workers=False,
                 pin_memory_device="", in_order=True):
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable workers.")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0:
            for name, value in (("prefetch_factor", prefetch_factor), ("persistent_workers", persistent_workers),
                                ("multiprocessing_context", multiprocessing_context)):
                if value:
                    raise ValueError(f"{name} option needs num_workers > 0")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"prefetch_factor option should be positive, got {prefetch_factor}")
        if not in_order:
            raise NotImplementedError("in_order=False: not supported")
        self.stream = isinstance(dataset, IterableDataset)
        if self.stream:
            for name, value in (("shuffle", shuffle), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value:
                    raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, "
                                     f"but got {name}={value}")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
                                 "drop_last")
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None and not self.stream:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last, self.generator = dataset, batch_size, drop_last, generator
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers = persistent_workers
        if isinstance(multiprocessing_context, str):
            import multiprocessing
            multiprocessing_context = multiprocessing.get_context(multiprocessing_context)
        self.multiprocessing_context = multiprocessing_context
        self.collate_fn = collate_fn
        if collate_fn is None:
            self.collate_fn = default_convert if batch_sampler is None else default_collate
        self._source = sampler if batch_sampler is None else batch_sampler           # of the indices
        if type(batch_sampler) is BatchSampler:
            self._source = batch_sampler.sampler
        self._pool = None
        self._start, self._taken = None, 0           # of this epoch: generator state when it began, batches taken
        self._resume = None

    def __setattr__(self, name, value):
        if name in ("dataset", "batch_size", "sampler", "batch_sampler", "drop_last", "persistent_workers") and "_resume" in self.__dict__:
            raise ValueError(f"{name} attribute should not be set after DataLoader is initialized")
        super().__setattr__(name, value)

    def __len__(self):
        if self.stream and self.batch_size is not None:
            n = len(self.dataset)
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.dataset if self.stream else self.sampler if self.batch_sampler is None else self.batch_sampler)

    # ---- an epoch

    def _random(self):
        """The generator that permutations come from."""
        return getattr(self._source, "generator", None) or self.generator or default_generator

    def __iter__(self):
        g, resume, self._resume = self._random(), self._resume, None
        self._start, self._taken = (g.get_state(), 0) if resume is None else resume
        if resume is not None:
            g = (Generator() if g is default_generator else g).set_state(self._start)
        skip = self._taken
        order = gather = None
        if isinstance(self._source, Ordered) and type(self._source).__iter__ is Ordered.__iter__:
            order = self._source.order(g)
            if self.batch_sampler is not None and self.collate_fn is default_collate and self.worker_init_fn is None:
                gather = gatherer_of(self.dataset)
        if gather is None:
            return self._count(self._fetched(order, g, skip))
        if getattr(gather, "random", False):
            gather = _numbered(gather, self._seed(g), skip)
        return self._count(self._gathered(gather, order, skip))

    def _count(self, batches):
        """Passes batches on and keeps the account of them that state_dict gives."""
        start = self._start
        try:
            for batch in batches:
                if self._start is start:
                    self._taken += 1
                yield batch
            if self._start is start:
                self._start, self._taken = None, 0
        finally:
            batches.close()

    def _gathered(self, gather, order, skip):
        size, n = self.batch_sampler.batch_size, order.shape[0]
        for lo in range(skip * size, n - size + 1 if self.batch_sampler.drop_last else n, size):
            yield gather(slice_dim(order, 0, lo, min(lo + size, n), 1))

    def _seed(self, g):
        """Of the random numbers that the epoch's samples draw."""
        return int(randint(0, 1 << 62, (1,), generator=g).item())

    def _fetched(self, order, g, skip):
        seed = self._seed(g)
        batched = self.batch_sampler is not None
        if self.stream:
            fetch = FetchStream(self.dataset, self.collate_fn, self.batch_size, self.drop_last)
        else:
            fetch = FetchSamples(self.dataset, self.collate_fn, batched)
            indices = order.tolist() if order is not None else self._source
            if batched and self._source is not self.batch_sampler:
                indices = self.batch_sampler.batches(indices)
            indices = islice(enumerate(indices), skip, None)
        if self.num_workers:
            return self._from_workers(fetch, seed, None if self.stream else indices, skip)
        if self.stream:
            return _behind(fetch(None), skip)
        from .workers import fetch_with
        return (fetch_with(seed, number, fetch, some) for number, some in indices)

    def _from_workers(self, fetch, seed, indices, skip):
        from .workers import Pool
        pool = self._pool
        if pool is None or not pool.alive():
            pool = Pool(self.num_workers, self.multiprocessing_context, self.dataset, fetch, self.worker_init_fn)
            if self.persistent_workers:
                self._pool = pool
                weakref.finalize(self, pool.stop)
        try:
            if self.stream:
                yield from _behind(pool.stream(seed, self.prefetch_factor, self.timeout), skip)
            else:
                yield from pool.fetch(seed, indices, self.prefetch_factor, self.timeout)
        finally:
            if not self.persistent_workers:
                pool.stop()

    # ---- state

    def state_dict(self):
        """Where the epoch under way stands, for load_state_dict of a loader made alike."""
        g = self._random()
        return {"start": None if self._start is None else list(self._start), "taken": self._taken,
                "generator": None if g is default_generator else list(g.get_state())}

    def load_state_dict(self, state):
        """The next epoch is the rest of the one that `state` was taken in."""
        if set(state) != {"start", "taken", "generator"}:
            raise ValueError("DataLoader.load_state_dict: expected the keys start, taken and generator, "
                             f"got {sorted(map(str, state))}")
        g = self._random()
        if (state["generator"] is None) != (g is default_generator):
            raise ValueError("DataLoader.load_state_dict: the state and this loader differ in having a generator of "
                             "their own")
        if state["generator"] is not None:
            g.set_state(tuple(state["generator"]))
        self._resume = None if state["start"] is None else (tuple(state["start"]), state["taken"])
        self._start, self._taken = self._resume or (None, 0)


def _numbered(gather, seed, skip):
    """gather with the random numbers that each batch's samples would draw; `skip` is the number of the first."""
    from .workers import fetch_with
    numbers = count(skip)
    return lambda index: fetch_with(seed, next(numbers), gather, index)


def _behind(batches, skip):
    """batches behind the first `skip`; closing this closes them."""
    try:
        for _ in islice(batches, skip):
            pass
        yield from batches
    finally:
        batches.close()
