"""Reading and writing by indices, and order."""
from functools import partial

import numpy as np

import fastnn
import ref
from check import ALL, NUMS
from .common import APART, RNG, case, grad, randn, whole


def assigned(x, values, *index):
    y = x.clone()
    y[index] = values
    return y


def joined(x, values, *index):
    return x.clone().index_put_(index, values, accumulate=True)


ROWS, COLUMNS = RNG.integers(-6, 6, (4, 2)), RNG.integers(0, 5, (2,))
ONCE = RNG.permutation(6)[:4]                # no place twice, so that the order of writing does not matter
for n, index in (((6, 5), (ROWS,)), ((6, 5), (ROWS, COLUMNS)), ((6, 33), (ROWS,)), ((6,), (ROWS,)),
                 ((6, 5, 3), (COLUMNS,))):
    rows = np.broadcast_shapes(*[i.shape for i in index]) + n[len(index):]
    case("take", lambda x, *i: x[i], whole(0, 9, *n), *index, dtypes=ALL, tol=0, grads=(0,))
    case("put_add", joined, whole(0, 9, *n), whole(0, 9, *rows), *index, dtypes=NUMS, layouts=APART)
    case("put_add", lambda dy, x, *i: grad(lambda x: x[i], dy, x), randn(*rows), randn(*n), *index, layouts=APART,
         mean=lambda dy, x, *i: ref.put_add(0 * x, dy, *i), bound=lambda dy, x, *i: ref.put_add(0 * x, np.abs(dy), *i))
for n in ((6, 5), (6,), (6, 70)):
    case("put", assigned, whole(0, 9, *n), whole(0, 9, 4, *n[1:]), ONCE, dtypes=ALL, tol=0, layouts=APART, grads=(0, 1))
case("put", assigned, whole(0, 9, 6, 5), whole(0, 9, 4), ONCE, np.array([0, 4, 2, 1]), dtypes=ALL, tol=0, layouts=APART)
for axis, n, k in ((0, (6, 5), (4, 5)), (1, (6, 5), (6, 9)), (2, (3, 4, 7), (3, 4, 7)), (0, (8,), (3,))):
    index = RNG.integers(0, n[axis], k)
    case("gather", lambda x, i, a=axis: x.gather(a, i), whole(0, 9, *n), index, dtypes=ALL, tol=0, grads=(0,),
         mean=lambda x, i, a=axis: ref.gather(x, a, i))
    case("scatter_add", lambda x, i, v, a=axis: x.scatter_add(a, i, v), whole(0, 9, *n), index, whole(0, 9, *k),
         mean=lambda x, i, v, a=axis: ref.scatter_add(x, a, i, v), dtypes=NUMS, grads=(0, 2), layouts=APART)
    if k[axis] <= n[axis]:
        index = np.argsort(RNG.random(n), axis)[tuple(slice(0, m) for m in k)]
        case("scatter", lambda x, i, v, a=axis: x.scatter(a, i, v), whole(0, 9, *n), index, whole(0, 9, *k),
             mean=lambda x, i, v, a=axis: ref.scatter(x, a, i, v), dtypes=ALL, tol=0, grads=(0, 2), layouts=APART)
for descending in (False, True):
    run = lambda x, d=descending: tuple(fastnn.sort(x, descending=d, stable=True))                 # noqa: E731
    mean = partial(ref.sort_, descending=descending)
    for n in ((4, 33), (1,), (3, 0), (2, 3, 5)):
        case("sort", run, whole(0, 20, *n), mean=mean, dtypes=NUMS, tol=0, out=(None, "int64"), threads=(1, 3))
    case("sort", run, np.array([[2, np.nan, 1, 2, -np.inf, np.nan]]), mean=mean, tol=0, out=(None, "int64"))
for n in ((5, 7), (300,), (2, 3, 4), (0, 3)):                # the result's shape depends on the data: no capture
    case("nonzero", fastnn.nonzero, whole(0, 1, *n), dtypes=ALL, out="int64", capture=False)
