"""How samples are fetched and become a batch."""
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from ...ops.create import as_tensor, float64, tensor
from ...ops.shape import stack
from ...tensor import Tensor


def _no_numbers(array):
    return array.dtype.kind not in "biuf"


def _rebuild(like, items):
    """A sequence of items of the type of `like`, or a list where that type cannot be made of one."""
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*items)
    try:
        return type(like)(items)
    except TypeError:
        return items


def _rebuild_map(like, items):
    try:
        return type(like)(items)
    except TypeError:
        return items


def default_convert(data):
    """NumPy arrays and numbers inside `data` as tensors; the rest as it is."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if _no_numbers(data) else as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return _rebuild_map(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and not hasattr(data, "_fields"):
        return [default_convert(item) for item in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild(data, [default_convert(item) for item in data])
    return data


def default_collate(batch):
    """Samples as one batch: tensors and arrays are stacked, numbers become a tensor, and tuples, lists and dicts of
    samples become lists and dicts of batches; strings stay as they are.

    Raises:
        RuntimeError: samples differ in length or shape.
        TypeError: samples hold something else.

    Example:
        >>> from fastnn.utils.data import default_collate
        >>> default_collate([(1, "a"), (2, "b")])
        [tensor([1, 2]), ('a', 'b')]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, (np.ndarray, np.generic)):
        if _no_numbers(first):
            raise TypeError(f"default_collate: an array of dtype {first.dtype} cannot become a tensor")
        return stack([as_tensor(np.asarray(item)) for item in batch], 0)
    if isinstance(first, float):
        return tensor(batch, dtype=float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _rebuild_map(first, {key: default_collate([item[key] for item in batch]) for key in first})
    if isinstance(first, Sequence):
        if any(len(item) != len(first) for item in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch)]
        return columns if isinstance(first, tuple) and not hasattr(first, "_fields") else _rebuild(first, columns)
    raise TypeError("default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
                    f"found {type(first)}")


class FetchSamples:
    """Batch from indices (or one sample from one index)."""

    def __init__(self, dataset, collate, batched):
        self.dataset, self.collate, self.batched = dataset, collate, batched

    def __call__(self, indices):
        if not self.batched:
            return self.collate(self.dataset[indices])
        if hasattr(self.dataset, "__getitems__"):
            return self.collate(self.dataset.__getitems__(indices))
        return self.collate([self.dataset[i] for i in indices])


class FetchStream:
    """Batches of an IterableDataset, one after another."""

    def __init__(self, dataset, collate, batch_size, drop_last):
        self.dataset, self.collate, self.batch_size, self.drop_last = dataset, collate, batch_size, drop_last

    def __call__(self, _):
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate, samples)
            return
        while batch := list(islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate(batch)
