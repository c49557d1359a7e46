"""The array class, tensor.py and printing.py: making, showing, converting, exchanging."""
import copy

import numpy as np
import pytest

import fastnn

torch = None
try:
    import torch
except ImportError:
    pass
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed; this compares with it")


def test_tensor_types():
    assert fastnn.tensor(1).dtype == fastnn.int64 and fastnn.tensor(1.0).dtype == fastnn.float32
    assert fastnn.tensor(True).dtype == fastnn.bool and fastnn.tensor([1, 2.5]).dtype == fastnn.float32
    assert fastnn.tensor(np.float64(1)).dtype == fastnn.float64 and fastnn.tensor(np.arange(3, dtype=np.int32)).dtype == fastnn.int32
    assert fastnn.tensor([[1, 2], [3, 4]], dtype=fastnn.float64).tolist() == [[1, 2], [3, 4]]
    assert fastnn.tensor([fastnn.tensor(1), fastnn.tensor(2)]).tolist() == [1, 2]
    for bad in ("x", [[1], [1, 2]], {"a": 1}, [object()], 1j):
        with pytest.raises((TypeError, ValueError)):
            fastnn.tensor(bad)


def test_numpy_shares_memory_both_ways():
    a = np.zeros((2, 3), np.float32)
    t = fastnn.from_numpy(a)
    a[0, 1] = 5
    t[1, 2] = 7
    assert t[0, 1].item() == 5 and a[1, 2] == 7 and t.numpy().base is not None
    b = t.numpy()
    b[0, 0] = 9
    assert a[0, 0] == 9
    s = fastnn.from_numpy(a[:, ::2])
    assert s.tolist() == a[:, ::2].tolist() and s.stride() == (3, 2)
    f = fastnn.from_numpy(np.asfortranarray(a))
    assert f.stride() == (1, 2) and f.tolist() == a.tolist()


def test_numpy_outlives_the_tensor():
    a = (fastnn.ones(1000) * 3).numpy()
    fastnn.ones(1000)
    assert (a == 3).all()
    t = fastnn.from_numpy(np.full(1000, 4.0))
    assert (t == 4).all().item()


def test_dlpack():
    t = fastnn.arange(6).view(2, 3)
    a = np.from_dlpack(t)
    assert a.tolist() == t.tolist() and a.ctypes.data == t.data_ptr()
    assert fastnn.from_dlpack(np.arange(4.0)).tolist() == [0, 1, 2, 3]
    with pytest.raises(BufferError):
        np.from_dlpack(fastnn.ones(1, requires_grad=True))


@needs_torch
def test_dlpack_with_pytorch():
    x = torch.arange(6.0).view(2, 3)
    t = fastnn.from_dlpack(x)
    assert t.tolist() == x.tolist() and t.data_ptr() == x.data_ptr()
    back = torch.from_dlpack(fastnn.ones(3))
    assert back.tolist() == [1, 1, 1]


SHOWN = [
    [1.0, 2.0], [1.5, 2.25], [[1, 2], [3, 40]], [True, False], 3.0, 2, [], [[]], [1e-5, 1.0], [1e10, 1.0], [float("nan"), 1.0], [float("inf"), -2.5],
    [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], [0.1, 1234.5], [100000.0, 1.0], [-1, 10, -100], [1e-3, 0.5], list(range(30)),
]


@needs_torch
@pytest.mark.parametrize("value", SHOWN, ids=str)
def test_repr_as_pytorch(value):
    assert repr(fastnn.tensor(value)) == repr(torch.tensor(value))


@needs_torch
def test_repr_as_pytorch_large_and_typed():
    for a in (np.arange(2000.0, dtype=np.float32), np.random.default_rng(0).standard_normal((40, 50)), np.arange(12, dtype=np.uint8).reshape(3, 4),
              np.zeros((0, 3), np.float32), np.random.default_rng(1).standard_normal((20, 30)).astype(np.float32)):
        assert repr(fastnn.tensor(a)) == repr(torch.tensor(a)).replace("torch.", "fastnn.")
    for make in (lambda lib: lib.ones(2, requires_grad=True), lambda lib: lib.ones(2, 2)):
        assert repr(make(fastnn)) == repr(make(torch))
    assert repr(fastnn.ones(2).shape) == "fastnn.Size([2])" and repr(fastnn.float32) == "fastnn.float32"


def test_repr_without_a_peer():
    assert repr(fastnn.tensor([1.0, 2.5])) == "tensor([1.0000, 2.5000])"
    assert repr(fastnn.ones(2, requires_grad=True)) == "tensor([1., 1.], requires_grad=True)"
    assert "grad_fn=<MulBackward" in repr(fastnn.ones(2, requires_grad=True) * 2)


def test_conversions():
    t = fastnn.tensor([1.7, 0.0, -2.2])
    assert t.long().tolist() == [1, 0, -2] and t.bool().tolist() == [True, False, True]
    assert t.double().dtype == fastnn.float64 and t.to(fastnn.int32).dtype == fastnn.int32 and t.to("cpu") is t
    assert float(fastnn.tensor(2.5)) == 2.5 and int(fastnn.tensor(3)) == 3 and [10, 20][fastnn.tensor(1)] == 20
    assert t.type() == "fastnn.FloatTensor" and f"{fastnn.tensor(1.25):.1f}" == "1.2"
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(t)
    with pytest.raises(NotImplementedError):
        t.half()
    with pytest.raises(RuntimeError, match="cuda"):
        t.to("cuda")


def test_data_and_make_subclass():
    p = fastnn.nn.Parameter(fastnn.ones(2))
    q = copy.deepcopy(p)
    q.data = fastnn.zeros(3)
    assert isinstance(q, fastnn.nn.Parameter) and q.tolist() == [0, 0, 0] and p.tolist() == [1, 1]
    q.data.fill_(4)
    assert q.tolist() == [4, 4, 4] and q.requires_grad


def test_operators_with_numpy_and_scalars():
    t = fastnn.tensor([1.0, 2.0])
    assert (1 + t).tolist() == [2, 3] and (2 - t).tolist() == [1, 0] and (2 / t).tolist() == [2, 1] and (2 ** t).tolist() == [2, 4]
    assert (t + np.float32(1)).tolist() == [2, 3] and (t == 1).tolist() == [True, False] and (-t).tolist() == [-1, -2]
    t += 1
    t *= 2
    assert t.tolist() == [4, 6]
    with pytest.raises(TypeError):
        t + "a"
    assert t.where(t > 5, 0).tolist() == [0, 6]
    assert len(t) == 2 and 4.0 in t and [v.item() for v in t] == [4, 6]
