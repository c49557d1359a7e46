"""Indexing with every kind of key, gather and scatter (along.py), order and slices moved (order.py): against NumPy and PyTorch, with
gradients; errors."""
import itertools

import numpy as np
import pytest

import fastnn
import ref
from check import ALL, check_op, compare, everywhere, machine, same_bits

RNG = np.random.default_rng(11)
A = RNG.standard_normal((4, 3, 5))
I, J, M2, M1 = np.array([2, 0, -1]), np.array([[1], [2]]), RNG.random((4, 3)) < 0.5, np.array([True, False, True])

# as (name of) a key that both packages and, where it says so, NumPy take; `t` makes tensors of either package
BASIC = {"int": 1, "negative": -1, "slice": slice(1, 3), "step": slice(None, None, 2), "far": slice(-100, 100),
         "none": None, "dots": Ellipsis, "all": slice(None),
         "mixed": (1, slice(None), -2), "dots in front": (Ellipsis, 0), "dots between": (1, Ellipsis, slice(1, None, 3)),
         "new": (None, 1, None, Ellipsis, None),
         "empty": slice(3, 1), "numpy int": np.int64(2), "scalar": (1, 2, 3), "nothing": ()}
ADVANCED = {"vector": I, "list": [1, 0], "matrix": J, "at the end": (Ellipsis, I), "two": (I, M1.nonzero()[0][:1]),
            "pair": (I, np.array([0, 1, 2])), "outer": (J, I),
            "apart": (I, slice(None), np.array([4, 0, 3])), "behind a slice": (slice(1, 3), np.array([0, 2]), np.array([1, 1])),
            "slice and list": (slice(None), [2, 2]),
            "with none": (None, I), "none between": (I, None, np.array([0, 1, 1])), "all three": (I, np.array([0, 1, 2]), np.array([4, 3, 2])),
            "mask": A > 0, "mask of rows": np.array([True, False, True, True]), "mask of two": M2, "mask in the middle": (slice(None), M1),
            "mask and vector": (M2, np.array([1] * int(M2.sum()))), "mask and slice": (M2, slice(1, 3)), "nothing chosen": np.zeros((4, 3, 5), bool),
            "empty list": [], "zero dims": (np.array(1), slice(None), np.array(2)), "bool list": [True, False, False, True], "true": True, "false": False,
            "repeats": np.array([1, 1, 1, 3]), "int32": np.array([0, 3], np.int32), "int and vector": (1, slice(None), I), "range": range(1, 3)}


def tensors(f, key):
    """The key with its arrays as tensors of package f."""
    if isinstance(key, tuple):
        return tuple(tensors(f, k) for k in key)
    return f.from_numpy(key) if isinstance(key, np.ndarray) else list(key) if isinstance(key, range) else key


def run(f, program, *arrays):
    """The results of program(f, *leaves), and the leaves' gradients (zeros for none) when they are weighed."""
    leaves = [f.tensor(a, requires_grad=True) for a in arrays]
    ys = program(f, *leaves)
    ys = ys if isinstance(ys, tuple) else (ys,)
    real = [y for y in ys if y.requires_grad]
    if real:
        sum((y * f.tensor(np.random.default_rng(3).uniform(1, 2, tuple(y.shape)))).sum() for y in real).backward()
    return [y.detach().numpy() for y in ys] + [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in leaves]


def agree(torch, program, *arrays):
    for y, z in zip(run(fastnn, program, *arrays), run(torch, program, *arrays), strict=True):
        assert (y.shape, y.dtype) == (z.shape, z.dtype)
        np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-12)


# ---- x[key] ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [*BASIC, *ADVANCED])
def test_getitem(torch, name):
    key = {**BASIC, **ADVANCED}[name]
    agree(torch, lambda f, x: x[tensors(f, key)], A)
    agree(torch, lambda f, x: (x.transpose(0, 2) * 2).transpose(0, 2)[tensors(f, key)], A)


@pytest.mark.parametrize("key", [(slice(None), [0, 1], slice(None), [1, 2]), (slice(None), [0, 1], [1, 2]), (slice(1, None), [[0], [1]], 1, [1, 2])], ids=str)
def test_where_the_dimensions_of_indices_stand(torch, key):
    """In front if something is between them, else where the first was."""
    x = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert fastnn.tensor(x)[key].shape == x[key].shape
    agree(torch, lambda f, x: x[key], x)


@pytest.mark.parametrize("name", BASIC)
def test_basic_keys_are_views(name):
    x = fastnn.tensor(A)
    y = x[BASIC[name]]
    np.testing.assert_array_equal(y.numpy(), A[BASIC[name]])
    assert y._storage is x._storage and y is not x


@pytest.mark.parametrize("name", [n for n in ADVANCED if n not in ("int and vector", "range", "true", "false")])
@pytest.mark.parametrize("dtype", ALL)
def test_advanced_keys_as_numpy(isa, dtype, name):
    key, a = ADVANCED[name], (A * 3).astype(dtype)
    compare(fastnn.tensor(a)[key], a[np.asarray(key, np.int64) if name == "empty list" else key], dtype, tol=0)
    compare(fastnn.tensor(a)[tensors(fastnn, key)], a[np.asarray(key, np.int64) if name == "empty list" else key], dtype, tol=0)


VALUES = {"number": (), "tensor": (5,), "one": (1,), "scalar": (), "wide": (1, 1, 1, 5)}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", [n for n in [*BASIC, *ADVANCED] if n not in ("repeats",)])
def test_setitem(torch, name, value):
    key, v = {**BASIC, **ADVANCED}[name], RNG.standard_normal(VALUES[value])

    def program(f, x, v):
        y = x * 1
        y[tensors(f, key)] = 7.5 if value == "number" else v
        return y * x
    try:
        run(torch, program, A, v)
    except (RuntimeError, IndexError):
        with pytest.raises((RuntimeError, IndexError)):
            run(fastnn, program, A, v)
    else:
        agree(torch, program, A, v)


def test_setitem_converts_and_writes_in_place():
    x = fastnn.zeros(3, 4, dtype=fastnn.int64)
    row = x[1]
    x[:, 1] = 2.9
    x[[0, 2], [3, 0]] = np.array([5.7, -1.2])
    with pytest.raises(RuntimeError, match="dtypes match, got int64 for the destination and float32 for the source"):
        x[[0, 2], [3, 0]] = fastnn.tensor([5.7, -1.2])
    x[x == 2] = 8
    x[1, 2:] = np.array([6, 7])
    x[2] = [1, 2, 3, 4]
    assert x.tolist() == [[0, 8, 0, 5], [0, 8, 6, 7], [1, 2, 3, 4]] and row.tolist() == [0, 8, 6, 7]
    x[fastnn.tensor([0, 0])] = x[fastnn.tensor([1, 2])]
    assert x[0].tolist() == [1, 2, 3, 4]                     # the last value stays
    y = fastnn.arange(5)
    y[fastnn.tensor([1, 2, 3, 4])] = y[:4]
    assert y.tolist() == [0, 0, 1, 2, 3]                     # read before it is written
    z = fastnn.tensor([2, 0, 1])
    z[z] = fastnn.tensor([7, 8, 9])
    assert z.tolist() == [8, 9, 7]                           # so are indices
    w = fastnn.tensor([1.0, 2.0, 3.0])
    assert w.scatter_(0, fastnn.tensor([1, 2, 0]), w).tolist() == [3, 1, 2]
    v = fastnn.tensor([1, 2, 0])
    assert v.scatter_(0, v, fastnn.tensor([7, 8, 9])).tolist() == [9, 7, 8]


def test_a_leaf_takes_no_assignment():
    x = fastnn.zeros(3, requires_grad=True)
    for key in (0, [0, 1], fastnn.tensor([True, False, True])):
        with pytest.raises(RuntimeError, match="leaf"):
            x[key] = 1
    with fastnn.no_grad():
        x[[0, 1]] = 1
    assert x.tolist() == [1, 1, 0]


def test_assignment_of_a_gradient_into_a_plain_tensor():
    x, v = fastnn.zeros(4), fastnn.ones(2, requires_grad=True)
    x[fastnn.tensor([1, 3])] = v * 3
    x.sum().backward()
    assert v.grad.tolist() == [3, 3]


@pytest.mark.parametrize("key, error, text", [
    (4, IndexError, "index 4 is out of bounds for dimension 0 with size 4"), ((0, 0, 0, 0), IndexError, "too many indices for tensor of dimension 3"),
    (np.array([0, 4]), IndexError, "index 4 is out of bounds for dimension 0 with size 4"),
    ((slice(None), np.array([-4])), IndexError, "index -4 .*dimension 1"),
    ((np.array([0, 1]), np.array([0, 1, 2])), IndexError, r"\[2\], \[3\]"), (np.ones(3, bool), IndexError, r"mask \[3\] at index 0.*\[4, 3, 5\]"),
    ((Ellipsis, Ellipsis), IndexError, "ellipsis"), (1.5, TypeError, "float"), (np.array([1.5]), IndexError, "float64"),
    (slice(None, None, -1), ValueError, "step"),
    ("a", TypeError, "str"), ((slice(None), np.ones((4, 3), bool)), IndexError, "mask"),
])
def test_bad_keys(key, error, text):
    x = fastnn.tensor(A)
    with pytest.raises(error, match=text):
        x[tensors(fastnn, key)]
    with pytest.raises(error, match=text):
        x[tensors(fastnn, key)] = 1.0
    np.testing.assert_array_equal(x.numpy(), A)


# ---- many rows, many threads -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("rows, wide, n", [(300, 784, 64), (50, 3, 3000), (1000, 1, 5000), (9, 130, 700), (70, 64, 2000)])
def test_rows(rows, wide, n):
    x, index, dy = RNG.integers(0, 200, (rows, wide)).astype(float), RNG.integers(-rows, rows, n), RNG.standard_normal((n, wide))
    how = dict(layouts=("contiguous", "transposed", "sliced"), capture=False)
    check_op(lambda x, i: x[i], ref.take, x, index, dtypes=ALL, tol=0, **how)
    check_op(lambda x, i: x.index_select(0, i), lambda x, i: x[i], x, index % rows, tol=0, **how)
    check_op(lambda x, dy, i: x.index_add(0, i, dy), lambda x, dy, i: ref.put_add(x, dy, i), x, dy, index % rows, tol=8,
             bound=lambda x, dy, i: ref.put_add(x, np.abs(dy), i), **how)

    def last(x, v, i):
        y = x.clone()
        y[i] = v
        return y
    check_op(last, lambda x, v, i: ref.put(x, v, i), x, RNG.integers(0, 200, (n, wide)).astype(float), index,
             dtypes=ALL, tol=0, layouts=("contiguous", "sliced"),
             capture=False)


@pytest.mark.parametrize("wide", (33, 1000))
def test_columns_are_shared_where_rows_have_runs(wide):
    """A thread's share of a row ends within a run: what lies behind it is added once."""
    x, v, index = RNG.standard_normal((40, 5, wide)), RNG.standard_normal((40, 4, wide)), np.array([3, 1, 3, 0])
    mean = lambda x, v, i: ref.put_add(x.swapaxes(0, 1), v.swapaxes(0, 1), i).swapaxes(0, 1)                  # noqa: E731
    check_op(lambda x, v, i: x.index_add(1, i, v), mean, x, v, index, tol=8, bound=lambda x, v, i: mean(x * 0, np.abs(v), i) + np.abs(x),
             layouts=("contiguous", "transposed"), capture=False)


@pytest.mark.parametrize("shape, dim, k", [((300, 10), 1, 1), ((3, 900), 1, 2000), ((900, 3), 0, 2000), ((20, 30, 7), 1, 40), ((5000,), 0, 5000)])
def test_along(shape, dim, k):
    x, n = RNG.integers(0, 200, shape).astype(float), shape[:dim] + (k,) + shape[dim + 1:]
    index, v, how = RNG.integers(0, shape[dim], n), RNG.standard_normal(n), dict(layouts=("contiguous", "sliced"), capture=False)
    check_op(lambda x, i: x.gather(dim, i), lambda x, i: np.take_along_axis(x, i, dim), x, index, dtypes=ALL, tol=0, **how)
    check_op(lambda x, i, v: x.scatter_add(dim, i, v), lambda x, i, v: ref.scatter_add(x, dim, i, v), x, index, v, tol=8,
             bound=lambda x, i, v: ref.scatter_add(x, dim, i, np.abs(v)), **how)
    check_op(lambda x, i, v: x.scatter(dim, i, v), lambda x, i, v: ref.scatter(x, dim, i, v), x, index, v, tol=0, **how)


def test_replays_with_other_indices_are_safe():
    """A replay looks at the indices it is given (tests/test_capture_refusals.py); with wrong ones of its own making it reads zero and writes nothing.
    Keys count from the end where they are negative, gather and scatter take no such index."""
    x, table = (fastnn.arange(7.0) + 1)[:5], fastnn.ones(7, 5)[:5]           # what lies behind them is not zero

    def step(i, d):
        y, i, d = fastnn.zeros(5), i * 1, d * 1
        y[i] = 9.0
        return x[i], y, x.gather(0, d), fastnn.zeros(5).scatter_add(0, d, fastnn.ones(3)), fastnn.zeros(5).scatter(0, d, 4.0), table[i, d * 0 + 1]
    f, good = fastnn.capture(step), fastnn.tensor([0, 4, -1])
    for _ in range(3):
        f(good, good.abs())
    assert f.replays
    wrong = fastnn.tensor([1, 5, -2 ** 62])
    read, wrote, gathered, added, put, both = f(wrong, wrong)
    assert both.tolist() == [1, 0, 0]
    assert read.tolist() == gathered.tolist() == [2, 0, 0] and wrote.tolist() == [0, 9, 0, 0, 0]
    assert added.tolist() == [0, 1, 0, 0, 0] and put.tolist() == [0, 4, 0, 0, 0]
    read, _, gathered, added, put, _ = f(good, good)
    assert read.tolist() == [1, 5, 5] and gathered.tolist() == [1, 5, 0] and added.tolist() == [1, 0, 0, 0, 1] and put.tolist() == [4, 0, 0, 0, 4]


def test_masks_in_a_captured_step():
    x = fastnn.tensor(A)
    with pytest.raises(fastnn.CaptureError, match="boolean mask"):
        fastnn.capture(lambda x: x[x > 0])(x)

    def clipped(x):
        y = x.clone()
        y[y > 0] = 0.0                                       # its shape does not depend on the mask
        return y
    f = fastnn.capture(clipped)
    for _ in range(3):
        same_bits(f(x), clipped(x))


# ---- functions beside PyTorch ----------------------------------------------------------------------------------------

D = RNG.integers(0, 3, (4, 2, 5))
PROGRAMS = {
    "index_select": lambda f, x: (x.index_select(1, f.tensor([2, 0, 2])), f.index_select(x, -1, f.tensor(3)), x[0, 0, 0].index_select(0, f.tensor([0]))),
    "index_add": lambda f, x: (x.index_add(1, f.tensor([2, 2]), x[:, :2] * 3), x.index_add(0, f.tensor([1, 3]), x[:2], alpha=-2)),
    "index_copy": lambda f, x: (x.index_copy(1, f.tensor([2, 0]), x[:, :2] * 3),), "index_fill": lambda f, x: (x.index_fill(2, f.tensor([4, 1]), -1.5),),
    "index_put": lambda f, x: (x.index_put((f.tensor([0, 1]), f.tensor([2, 2])), x[0, 0] * 2), x.index_put((f.tensor([1, 1]),), x[2], accumulate=True),
                               x.index_put((x > 0.5,), f.tensor(0.0, dtype=f.float64))),
    "gather": lambda f, x: (x.gather(1, f.tensor(D)), f.gather(x, -1, f.tensor(D % 3)), x[0, 0, 0].gather(0, f.tensor(0))),
    "scatter": lambda f, x: (x.scatter(1, f.tensor(D[:, :1]), x[:, :1] * 2), x.scatter(2, f.tensor(D), 3.5), f.scatter(x, 0, f.tensor(D[:3]), value=1)),
    "scatter_add": lambda f, x: (x.scatter_add(1, f.tensor(D), x[:, 1:]), f.scatter_add(x, 0, f.tensor(D), x[:, :2] * 2)),
    "take": lambda f, x: (x.take(f.tensor([[0, -1], [17, 3]])), f.take_along_dim(x, f.tensor(D[:, :1]), 1), f.take_along_dim(x, f.tensor([5, 2]))),
    "take_along_dim": lambda f, x: (f.take_along_dim(x, f.tensor([[[4, 0]]]), 2), x.take_along_dim(x.argsort(1), dim=1)),
    "masked": lambda f, x: (x.masked_select(x > 0), f.masked_select(x, f.tensor([True, False, True, False, True])),
                            x.nonzero(), *(x > 1).nonzero(as_tuple=True),
                            f.argwhere(x < 0), *f.where(x > 0.3)),
    "sort": lambda f, x: (*x.sort(), *x.sort(1, descending=True), *f.sort(x, dim=0, stable=True), x.argsort(0), *x[0, 0, 0].sort()),
    "topk": lambda f, x: (*x.topk(2), *x.topk(3, 0, largest=False), *f.topk(x, 1, dim=1), *x[0, 0, 0].topk(1)),
    "flip": lambda f, x: (x.flip(0), x.flip((0, 2)), f.flip(x, [1]), x.transpose(0, 2).flip(1, 2)),
    "roll": lambda f, x: (x.roll(2), x.roll(-1, 2), f.roll(x, (1, 7), (0, 1)), x.roll(0, 0)),
    "repeat_interleave": lambda f, x: (x.repeat_interleave(2), x.repeat_interleave(3, 1), f.repeat_interleave(x, f.tensor([1, 0, 2]), dim=1)),
    "triangles": lambda f, x: (x.tril(), x.triu(1), f.tril(x, -1), x.triu(-2), f.triu(x, 9)),
    "in place": lambda f, x: tuple(g(x * 1) for g in (
        lambda y: y.scatter_(1, f.tensor(D), 2.0), lambda y: y.scatter_add_(1, f.tensor(D), x[:, :2]),
        lambda y: y.index_add_(0, f.tensor([1]), x[:1]), lambda y: y.tril_(),
        lambda y: y.index_fill_(1, f.tensor([0]), 4.0), lambda y: y.index_copy_(2, f.tensor([3]), x[:, :, :1]), lambda y: y.triu_(1),
        lambda y: y.index_put_((f.tensor([1, 1]),), x[0], accumulate=True), lambda y: y[1:].scatter_(0, f.tensor(D[:3]), x[1:, :2]))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_functions_as_torch(torch, name):
    agree(torch, lambda f, x: tuple(PROGRAMS[name](f, x)), A)


@pytest.mark.parametrize("dtype", ALL)
def test_sort(isa, torch, dtype):
    for n in (1, 2, 33, 64, 65, 700):
        x = (RNG.standard_normal((5, n)) * 20).astype(dtype)
        if dtype.startswith("float"):
            x.reshape(-1)[::7], x.reshape(-1)[3::11], x.reshape(-1)[5::13] = np.nan, -0.0, 0.0
            x.reshape(-1)[1::17], x.reshape(-1)[2::19], x.reshape(-1)[4::23] = np.inf, -np.inf, -np.nan
        if dtype == "int64" and n > 2:
            x[:, :2] = -2 ** 63, 2 ** 63 - 1
        for descending in (False, True):
            ours, theirs = fastnn.tensor(x).sort(1, descending), torch.tensor(x).sort(dim=1, descending=descending, stable=True)
            same_bits([o.numpy() for o in ours], [t.numpy() for t in theirs])


@pytest.mark.parametrize("dtype", ("float32", "float64", "int32", "int64", "uint8"))
@pytest.mark.parametrize("n", (1, 15, 33, 34, 100, 1000, 5001))
def test_topk_is_the_front_of_sort(n, dtype, isa):
    """Equals and NaN too; rising and falling rows, in which every number and none is a candidate."""
    rng = np.random.default_rng(n)
    x = np.stack([rng.integers(0, 7, n), rng.permutation(n), np.arange(n), np.arange(n)[::-1], np.zeros(n)]).astype(dtype)
    if dtype.startswith("float"):
        x[0, rng.random(n) < 0.1] = np.nan
        x[1] -= n / 2
    x = fastnn.tensor(x)
    for largest in (False, True):
        values, places = x.sort(1, descending=largest)
        for k in {0, 1, 2, 16, 17, n // 2, n - 1, n} & set(range(n + 1)):
            top = x.topk(k, largest=largest)
            same_bits(tuple(top), (values[:, :k].contiguous(), places[:, :k].contiguous()), f"k={k}")


@pytest.mark.parametrize("dtype", ("float32", "int64"))
def test_sort_of_long_rows(dtype):
    """Threads sort rows at the same time, each in scratch of its own."""
    x = (RNG.standard_normal((7, 100000)) * 1e6).astype(dtype)
    for values, places in everywhere(lambda: fastnn.tensor(x).sort(1)):
        np.testing.assert_array_equal(values.numpy(), np.sort(x, 1))
        np.testing.assert_array_equal(np.take_along_axis(x, places.numpy(), 1), values.numpy())


def test_flip_everywhere():
    for n in ((7, 33), (3, 4, 130), (5,), (2, 0)):
        for dims in [d for k in range(1, len(n) + 1) for d in itertools.combinations(range(len(n)), k)]:
            check_op(lambda x: x.flip(dims), lambda x: np.flip(x, dims), RNG.integers(0, 9, n).astype(float), dtypes=ALL, tol=0, threads=(1, 3), grads=(0,),
                     layouts=("contiguous", "transposed"))


def test_embedding_and_one_hot(torch):
    from fastnn.ops.index import embedding, one_hot
    index = np.array([[1, 3, 1], [0, 3, 3]])
    rows = {fastnn: embedding, torch: torch.nn.functional.embedding}
    for padding in (None, 3, -2):
        agree(torch, lambda f, w: rows[f](f.tensor(index), w, padding), A[:, 0])
    np.testing.assert_array_equal(one_hot(fastnn.tensor(index)).numpy(), torch.nn.functional.one_hot(torch.tensor(index)).numpy())
    np.testing.assert_array_equal(one_hot(fastnn.tensor(index), 6).numpy(), np.eye(6, dtype=int)[index])
    with pytest.raises(IndexError, match="index 4 is out of bounds for dimension 0 with size 4"):
        embedding(fastnn.tensor([4]), fastnn.zeros(4, 2))
    with pytest.raises(IndexError, match="index -1"):
        embedding(fastnn.tensor([-1]), fastnn.zeros(4, 2))


def test_named_results_and_empty():
    r = fastnn.tensor([1.0, 3.0]).topk(1)
    assert (r.values.item(), r.indices.item()) == (3, 1)
    x = fastnn.zeros(0, 3)
    assert x.sort(0)[0].shape == (0, 3) and x.flip(0).shape == (0, 3) and x.nonzero().shape == (0, 2) and x[fastnn.zeros(0, dtype=fastnn.int64)].shape == (0, 3)
    assert x.gather(0, fastnn.zeros(0, 3, dtype=fastnn.int64)).shape == (0, 3) and x.tril().shape == (0, 3) and fastnn.zeros(()).nonzero().shape == (0, 0)
    assert fastnn.zeros(2, 0)[:, []].shape == (2, 0) and fastnn.ones(()).nonzero().shape == (1, 0)


@pytest.mark.parametrize("f, error, text", [
    (lambda x, i: x.index_select(0, i + 9), IndexError, "index 10 is out of bounds for dimension 0 with size 4"),
    (lambda x, i: x.index_select(0, -i), IndexError, "-1"),
    (lambda x, i: x.index_select(0, x[0, 0]), RuntimeError, "float64"), (lambda x, i: x.gather(0, i), RuntimeError, "same number of dimensions"),
    (lambda x, i: x.gather(0, i.expand(1, 9, 1)), RuntimeError, "no larger than"),
    (lambda x, i: x.gather(1, i.view(1, 1, 1) + 2), RuntimeError, "index 3 is out of bounds"),
    (lambda x, i: x.gather(1, i.view(1, 1, 1) - 2), RuntimeError, "index -1"), (lambda x, i: x.gather(1, x), RuntimeError, "int32/int64"),
    (lambda x, i: x.scatter(0, i.view(1, 1, 1), x.float()), RuntimeError, "dtype"),
    (lambda x, i: x.scatter(0, i, 1.0, reduce="add"), NotImplementedError, "reduce"),
    (lambda x, i: x.scatter(0, i.expand(4, 3, 5), x[:2]), RuntimeError, "no larger than src"), (lambda x, i: x.topk(6), RuntimeError, r"k=6.*\(4, 3, 5\)"),
    (lambda x, i: x.index_add(0, i, x), IndexError, r"source of shape \(1, 3, 5\)"),
    (lambda x, i: x.index_put((i,), x.float()[0]), RuntimeError, "dtypes match"),
    (lambda x, i: x.index_put(i, x[0]), TypeError, "tuple of Tensors"), (lambda x, i: x.index_fill(0, i, x), RuntimeError, "0-dimensional"),
    (lambda x, i: x.masked_select(x), RuntimeError, "BoolTensor"), (lambda x, i: x.flip(0, 0), RuntimeError, "multiple times"),
    (lambda x, i: x.roll(1, (0, 1)), RuntimeError, "align"),
    (lambda x, i: x.repeat_interleave(-1), RuntimeError, "non-negative"),
    (lambda x, i: x.repeat_interleave(fastnn.tensor([1, 2]), 0), RuntimeError, "same size"), (lambda x, i: x[0, 0].tril(), RuntimeError, "at least 2"),
    (lambda x, i: x[[0, 1]].__setitem__([0, 1], fastnn.zeros(7, dtype=x.dtype)), RuntimeError,
     r"\[7\] cannot be broadcast to indexing result of shape \[2, 3, 5\]"),
])
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f(fastnn.tensor(A), fastnn.tensor([1]))


def test_gradients_do_not_depend_on_threads():
    first, index = None, RNG.integers(0, 50, 3000)
    for n in (1, 2, 3, 7):
        with machine(threads=n):
            x = fastnn.ones(50, 40, requires_grad=True)
            (x[index] * fastnn.from_numpy(np.random.default_rng(5).random((3000, 40), np.float32))).sum().backward()
        first = x.grad if first is None else first
        same_bits(first, x.grad)
