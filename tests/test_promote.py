"""Types of results against PyTorch's and against a table; casts and broadcasts back, with gradients."""
import itertools

import numpy as np
import pytest

import fastnn
from fastnn.ops.promote import promote, reduce_to

TYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")            # by rank
OPERANDS = [(d, n) for d in TYPES for n in (1, 0)] + [(True, None), (2, None), (2.5, None)]


def operand(lib, kind, dims):
    return kind if dims is None else lib.ones((1,) * dims, dtype=getattr(lib, kind))


def test_promote_types():
    for (i, a), (j, b) in itertools.product(enumerate(TYPES), repeat=2):
        assert fastnn.promote_types(getattr(fastnn, a), getattr(fastnn, b)).name == TYPES[max(i, j)]


@pytest.mark.parametrize("a, b, want", [
    (("int32", 1), ("int64", 0), "int32"), (("uint8", 1), (2, None), "uint8"), (("int64", 1), (2.5, None), "float32"),
    (("bool", 1), (2, None), "int64"),
    (("float32", 1), ("float64", 0), "float32"), (("int64", 1), ("float64", 0), "float64"),
    (("float64", 0), (2.5, None), "float64"),
    (("bool", 1), (True, None), "bool"), (("int32", 0), ("uint8", 1), "uint8"), (("bool", 1), ("uint8", 0), "uint8"),
    ((2, None), (2.5, None), "float32")])
def test_result_type(a, b, want):
    assert fastnn.result_type(operand(fastnn, *a), operand(fastnn, *b)).name == want


def test_default_dtype_is_what_numbers_become():
    fastnn.set_default_dtype(fastnn.float64)
    assert (fastnn.ones(1, dtype=fastnn.int64) + 1.5).dtype is fastnn.float64
    assert fastnn.ones(1, dtype=fastnn.int64).exp().dtype is fastnn.float64
    assert (fastnn.ones(1, dtype=fastnn.float32) + 1.5).dtype is fastnn.float32


def test_all_pairs_as_torch(torch):
    for a, b in itertools.product(OPERANDS, repeat=2):
        want = str(torch.result_type(operand(torch, *a), operand(torch, *b)))[6:]
        assert fastnn.result_type(operand(fastnn, *a), operand(fastnn, *b)).name == want, (a, b)
        if a[1] is None and b[1] is None:
            continue
        for name in ("mul", "div", "add", "eq"):
            x, y = (getattr(lib, name)(operand(lib, *a) if a[1] is not None else lib.tensor(a[0]),
                                       operand(lib, *b)) for lib in (fastnn, torch))
            assert x.dtype.name == str(y.dtype)[6:] and x.tolist() == y.tolist(), (name, a, b)
    for a, b in itertools.product(TYPES, repeat=2):
        assert fastnn.can_cast(getattr(fastnn, a), getattr(fastnn, b)) == torch.can_cast(getattr(torch, a),
                                                                                         getattr(torch, b))


def test_result_type_of_three(torch):
    for kinds in itertools.product(OPERANDS[::2], repeat=3):
        if any(n is not None for _, n in kinds):
            state = fastnn.result_type(*(operand(fastnn, *k) for k in kinds))
            whole = promote("f", *(operand(fastnn, *k) for k in kinds))
            assert all(x.dtype is state for x in whole if isinstance(x, fastnn.Tensor))


def test_numbers_of_numpy_and_errors():
    x = fastnn.ones(2, dtype=fastnn.int32)
    assert (x + np.float64(1.5)).dtype is fastnn.float32 and (x + np.int64(2)).dtype is fastnn.int32
    assert (x + np.bool_(True)).tolist() == [2, 2]
    for bad in ("a", None, [1], 1j, object()):
        with pytest.raises(TypeError, match=r"add\(\): argument 'other' must be Tensor or Number, not"):
            fastnn.add(x, bad)
    with pytest.raises(OverflowError):
        x + 2 ** 70
    assert fastnn.add(1, 2).item() == 3 and fastnn.mul(2, 2.5).dtype is fastnn.float32


def test_cast_has_a_gradient():
    x = fastnn.tensor([1.5, -2.5], requires_grad=True)
    y = x.double()
    (y * fastnn.tensor([1., 2.], dtype=fastnn.float64)).sum().backward()
    assert y.dtype is fastnn.float64 and x.grad.dtype is fastnn.float32 and x.grad.tolist() == [1, 2]
    assert not x.long().requires_grad and x.long().tolist() == [1, -2] and x.to(fastnn.float32) is x
    with pytest.raises(TypeError, match="dtype must be one of"):
        fastnn.ops.elementwise.cast(x, "float32")


def test_mixed_types_give_each_operand_a_gradient_of_its_own_type():
    a, b = fastnn.ones(3, requires_grad=True), fastnn.full((), 2.0, dtype=fastnn.float64, requires_grad=True)
    c = fastnn.ones(3, dtype=fastnn.float64, requires_grad=True)
    (a * b + c).sum().backward()
    assert (a * b).dtype is fastnn.float32 and (a * c).dtype is fastnn.float64
    assert [t.grad.dtype.name for t in (a, b, c)] == ["float32", "float64", "float64"] and b.grad.item() == 3
    assert a.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 4), (3, 4), (2, 1, 1), (2, 3, 4), (1, 1, 1), (2, 1, 4)])
def test_reduce_to(shape):
    dy = np.arange(24.0).reshape(2, 3, 4)
    got = reduce_to(fastnn.tensor(dy), fastnn.Size(shape))
    lead = dy.ndim - len(shape)
    want = dy.sum(tuple(i for i in range(3) if i < lead or shape[i - lead] == 1), keepdims=True).reshape(shape)
    assert got.shape == shape and np.array_equal(got.numpy(), want)


def test_reduce_to_of_nothing():
    assert reduce_to(fastnn.zeros(0, 3), fastnn.Size((1, 3))).tolist() == [[0, 0, 0]]
    assert reduce_to(fastnn.zeros(2, 0), fastnn.Size((0,))).shape == (0,)
