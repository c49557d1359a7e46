"""Datasets: samples by index, or one after another.

A dataset that lies in memory as tensors may define `_gatherer()`: a function from indices (int64, 1-d) to a collated
batch, or None. The loader then makes a batch by one gather per tensor, without touching single samples. The function's
attribute `random`, if there is one, says that it draws random numbers.
"""
import bisect
import math
import warnings
from itertools import accumulate

import numpy as np

from ..._core import default_generator, take
from ...ops.create import from_numpy
from ...ops.random import randperm
from ...tensor import Tensor


class Dataset:
    """Samples by index: a subclass defines `__getitem__(index)` and usually `__len__()`, and `__getitems__(indices)`
    where a list of samples is cheaper at once."""

    def __getitem__(self, index):
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other):
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Samples one after another: a subclass defines `__iter__()`. Each worker of a loader iterates on its own; see
    get_worker_info."""

    def __iter__(self):
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")

    def __add__(self, other):
        raise NotImplementedError("adding an IterableDataset: not supported")


def gatherer_of(dataset):
    """Its function from indices to a batch; None where there is none, or a subclass has changed what a sample is."""
    for cls in type(dataset).__mro__:
        if "_gatherer" in vars(cls):
            return dataset._gatherer()
        if "__getitem__" in vars(cls) or "__getitems__" in vars(cls):
            return None
    return None


class TensorDataset(Dataset):
    """Sample i is the tuple of row i of each tensor.

    Raises:
        ValueError: no tensor, or their first sizes differ.

    Example:
        >>> import fastnn
        >>> from fastnn.utils.data import TensorDataset
        >>> data = TensorDataset(fastnn.zeros(5, 2), fastnn.arange(5))
        >>> len(data), data[3][1].item()
        (5, 3)
    """

    def __init__(self, *tensors):
        for i, t in enumerate(tensors):
            if not isinstance(t, Tensor):
                raise TypeError(f"TensorDataset: argument {i} is a {type(t).__name__}, not a Tensor")
        if not tensors or any(t.dim() == 0 or t.shape[0] != tensors[0].shape[0] for t in tensors):
            raise ValueError("TensorDataset: Size mismatch between tensors: "
                             f"{[tuple(t.shape) for t in tensors]} need one first size")
        self.tensors = tensors

    def __getitem__(self, index):
        return tuple(t[index] for t in self.tensors)

    def __len__(self):
        return self.tensors[0].shape[0]

    def _gatherer(self):
        tensors = [t.detach() for t in self.tensors]
        return lambda index: [take(t, (index,)) for t in tensors]


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order.

    Example:
        >>> import fastnn
        >>> from fastnn.utils.data import Subset
        >>> list(Subset([5, 6, 7], [2, 0]))
        [7, 5]
    """

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index):
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices):
        indices = [self.indices[i] for i in indices]
        if hasattr(self.dataset, "__getitems__"):
            return self.dataset.__getitems__(indices)
        return [self.dataset[i] for i in indices]

    def __len__(self):
        return len(self.indices)

    def _gatherer(self):
        gather = gatherer_of(self.dataset)
        if gather is None:
            return None
        places = from_numpy(np.array(self.indices, dtype=np.int64).reshape(-1))

        def gather_places(index):
            return gather(take(places, (index,)))
        gather_places.random = getattr(gather, "random", False)
        return gather_places


class ConcatDataset(Dataset):
    """Datasets one behind the other.

    Raises:
        ValueError: no dataset. IndexError: an index out of range.
        TypeError: one is an IterableDataset.

    Example:
        >>> import fastnn
        >>> from fastnn.utils.data import ConcatDataset
        >>> len(ConcatDataset([range(3), range(2)])), ConcatDataset([range(3), range(2)])[4]
        (5, 1)
    """

    def __init__(self, datasets):
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise TypeError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(accumulate(map(len, self.datasets)))

    def __len__(self):
        return self.cumulative_sizes[-1]

    def __getitem__(self, index):
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"ConcatDataset: index {index} is out of range for {n} samples")
        index %= n
        k = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[k][index - (self.cumulative_sizes[k - 1] if k else 0)]


def random_split(dataset, lengths, generator=default_generator):
    """Subsets of given lengths, or fractions that sum to 1, by a random permutation.

    Example:
        >>> import fastnn
        >>> from fastnn.utils.data import random_split
        >>> [len(part) for part in random_split(range(10), [0.7, 0.3], generator=fastnn.Generator())]
        [7, 3]
    """
    n, lengths = len(dataset), list(lengths)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
        lengths = [math.floor(n * fraction) for fraction in lengths]
        for i in range(n - sum(lengths)):
            lengths[i % len(lengths)] += 1
        for i, length in enumerate(lengths):
            if length == 0:
                warnings.warn(f"Length of split at index {i} is 0. This might result in an empty dataset.",
                              stacklevel=2)
    if sum(lengths) != n:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset! "
                         f"({' + '.join(map(str, lengths))} and {n})")
    order = randperm(n, generator=generator).tolist()
    return [Subset(dataset, order[end - length:end]) for end, length in zip(accumulate(lengths), lengths)]
