"""Copies, and indexing, where an index below zero counts from the end."""
import numpy as np

from .elementwise import isnan


def copy(x, kind="f"):
    """x as reals (kind 'f'), integers ('i', cut towards zero) or booleans ('b')."""
    return x.astype({"f": np.float64, "i": np.int64, "b": bool}[kind])


def fill(shape, value):
    return np.full(shape, value)


def arange(start, step, n):
    return np.array([start + i * step for i in range(n)])


def take(x, *index):
    """x[index], each an integer array for one leading dimension; their shapes broadcast."""
    index = np.broadcast_arrays(*index)
    y = np.empty(index[0].shape + x.shape[len(index):], x.dtype)
    for i in np.ndindex(index[0].shape):
        y[i] = x[tuple(int(k[i]) for k in index)]
    return y


def put(x, values, *index):
    """x with x[index] = values, in order: the last of equal indices stays."""
    return _put(x, values, index, lambda old, new: new)


def put_add(x, values, *index):
    return _put(x, values, index, lambda old, new: old + new)


def _put(x, values, index, join):
    y, index = x.copy(), np.broadcast_arrays(*index)
    values = np.broadcast_to(values, index[0].shape + x.shape[len(index):])
    for i in np.ndindex(index[0].shape):
        at = tuple(int(k[i]) for k in index)
        y[at] = join(y[at], values[i])
    return y


def _moved(i, axis, k):
    return i[:axis] + (int(k),) + i[axis + 1:]


def gather(x, axis, index):
    """y[i] = x[i with coordinate axis replaced by index[i]]."""
    y = np.empty(index.shape, x.dtype)
    for i in np.ndindex(index.shape):
        y[i] = x[_moved(i, axis, index[i])]
    return y


def scatter(x, axis, index, values):
    """x with x[i with coordinate axis replaced by index[i]] = values[i]."""
    y = x.copy()
    for i in np.ndindex(index.shape):
        y[_moved(i, axis, index[i])] = values[i]
    return y


def scatter_add(x, axis, index, values):
    y = x.copy()
    for i in np.ndindex(index.shape):
        y[_moved(i, axis, index[i])] += values[i]
    return y


def sort_(x, descending=False):
    """Rows sorted, NaN as the largest, equals in their old order; and where each came from."""
    def before(i, j):                    # does x[i] come before x[j]?
        a, b = (j, i) if descending else (i, j)
        return not isnan(a[0]) and (isnan(b[0]) or a[0] < b[0])
    values, order = np.empty_like(x), np.empty(x.shape, np.int64)
    for i in np.ndindex(x.shape[:-1]):
        row = []
        for item in zip(x[i], range(x.shape[-1])):
            at = len(row)
            while at and before(item, row[at - 1]):
                at -= 1
            row.insert(at, item)
        values[i], order[i] = [v for v, _ in row], [k for _, k in row]
    return values, order


def nonzero(x):
    return np.argwhere(x != 0)
