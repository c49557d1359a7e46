"""Samplers: the order in which samples are taken.

Those of this file know a whole epoch's order at once: `order(generator)` is an int64 tensor, and the same state of the
generator gives the same order, which is how a loader resumes in the middle of an epoch.
"""
import numpy as np

from ..._core import default_generator
from ...ops.create import arange, from_numpy
from ...ops.random import rand, randint, randperm
from ...ops.shape import cat


class Sampler:
    """Base of samplers: a subclass defines `__iter__` over indices (or lists of them) and usually `__len__`."""

    def __init__(self, data_source=None):
        pass

    def __iter__(self):
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class Ordered(Sampler):
    """Base of the samplers below."""

    generator = None

    def order(self, generator=None):
        """The indices of one epoch, int64."""
        raise NotImplementedError

    def __iter__(self):
        return iter(self.order(self.generator or default_generator).tolist())


class SequentialSampler(Ordered):
    """0, 1, 2, ..."""

    def __init__(self, data_source):
        self.data_source = data_source

    def order(self, generator=None):
        return arange(len(self.data_source))

    def __len__(self):
        return len(self.data_source)


def _positive(num_samples):
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples <= 0:
        raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")


def _boolean(name, value):
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be a boolean value, but got {name}={value}")


class RandomSampler(Ordered):
    """A permutation anew for each epoch, or independent draws (replacement).

    Args:
        data_source: anything with a length.
        replacement: bool.
        num_samples: draws in an epoch; None means one for each sample.
        generator: None means the global one.
    """

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None):
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples
        _boolean("replacement", replacement)
        if num_samples is not None:
            _positive(num_samples)

    @property
    def num_samples(self):
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self, generator=None):
        n, k = len(self.data_source), self.num_samples
        if self.replacement:
            return randint(0, n, (k,), generator=generator)
        if k == n:
            return randperm(n, generator=generator)
        return cat([randperm(n, generator=generator) for _ in range(-(-k // n))])[:k]

    def __len__(self):
        return self.num_samples


class SubsetRandomSampler(Ordered):
    """The given indices in random order."""

    def __init__(self, indices, generator=None):
        self.indices, self.generator = indices, generator

    def order(self, generator=None):
        indices = from_numpy(np.array(self.indices, dtype=np.int64).reshape(-1))
        return indices.index_select(0, randperm(len(self.indices), generator=generator))

    def __len__(self):
        return len(self.indices)


class WeightedRandomSampler(Ordered):
    """num_samples draws with probability proportional to weights.

    With replacement, by inverting the distribution function; without, the num_samples largest log(u) / w (Efraimidis
    and Spirakis 2006)."""

    def __init__(self, weights, num_samples, replacement=True, generator=None):
        _positive(num_samples)
        _boolean("replacement", replacement)
        weights = np.array(weights, dtype=np.float64)
        if weights.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {weights.shape}")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError("weights should be finite, not negative and not all zero")
        if not replacement and np.count_nonzero(weights) < num_samples:
            raise ValueError(f"num_samples={num_samples} without replacement needs as many weights above zero, "
                             f"got {np.count_nonzero(weights)}")
        self.weights, self.num_samples, self.replacement = from_numpy(weights), num_samples, replacement
        self.generator = generator

    def order(self, generator=None):
        weights = self.weights.numpy()
        n = self.num_samples if self.replacement else len(weights)
        u = rand(n, dtype=self.weights.dtype, generator=generator).numpy()
        if self.replacement:
            ends = np.cumsum(weights)
            picked = np.searchsorted(ends, u * ends[-1], side="right")
            picked = np.minimum(picked, np.flatnonzero(weights)[-1])
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                keys = np.where(weights > 0, np.log1p(-u) / weights, -np.inf)
            picked = np.argsort(-keys, kind="stable")[:self.num_samples]
        return from_numpy(picked.astype(np.int64))

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of batch_size indices from another sampler; the last may be shorter unless drop_last.

    Example:
        >>> from fastnn.utils.data import BatchSampler, SequentialSampler
        >>> list(BatchSampler(SequentialSampler(range(5)), 2, False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler, batch_size, drop_last):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def batches(self, indices):
        """`indices` cut into lists."""
        batch = []
        for index in indices:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __iter__(self):
        return self.batches(self.sampler)

    def __len__(self):
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
