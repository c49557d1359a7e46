"""Making tensors: values, types, shapes, and what is refused."""
import numpy as np
import pytest

import fastnn

MADE = {
    "zeros": (lambda lib: lib.zeros(2, 3), np.zeros((2, 3), np.float32)), "ones tuple": (lambda lib: lib.ones((2,)), np.ones(2, np.float32)),
    "full int": (lambda lib: lib.full((2,), 3), np.full(2, 3)), "full float": (lambda lib: lib.full((2,), 1.5), np.full(2, 1.5, np.float32)),
    "full bool": (lambda lib: lib.full((2,), True), np.full(2, True)), "full 0-d": (lambda lib: lib.full((), 2.0), np.float32(2)),
    "eye": (lambda lib: lib.eye(2, 3), np.eye(2, 3, dtype=np.float32)), "eye 0": (lambda lib: lib.eye(0), np.eye(0, dtype=np.float32)),
    "arange": (lambda lib: lib.arange(5), np.arange(5)), "arange step": (lambda lib: lib.arange(1, 10, 3), np.arange(1, 10, 3)),
    "arange down": (lambda lib: lib.arange(5, 0, -2), np.arange(5, 0, -2)),
    "arange float": (lambda lib: lib.arange(0, 1, 0.25), np.arange(0, 1, 0.25, np.float32)),
    "arange empty": (lambda lib: lib.arange(0), np.arange(0)), "linspace": (lambda lib: lib.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32)),
    "linspace 1": (lambda lib: lib.linspace(2, 9, 1), np.array([2], np.float32)), "like": (lambda lib: lib.zeros_like(lib.arange(3)), np.zeros(3, np.int64)),
    "like typed": (lambda lib: lib.ones_like(lib.arange(3), dtype=lib.float64), np.ones(3)),
    "full_like": (lambda lib: lib.full_like(lib.zeros(2), 7), np.full(2, 7, np.float32)),
    "new_zeros": (lambda lib: lib.arange(2).new_zeros(3), np.zeros(3, np.int64)),
    "new_full": (lambda lib: lib.zeros(1).new_full((2,), 4), np.full(2, 4, np.float32)),
    "new_tensor": (lambda lib: lib.zeros(1).new_tensor([1, 2]), np.array([1, 2], np.float32)),
    "empty dims": (lambda lib: lib.zeros(0, 3), np.zeros((0, 3), np.float32)),
    "negative zero": (lambda lib: lib.tensor([-0.0]), np.array([-0.0], np.float32)), "nested": (lambda lib: lib.tensor([[1], [2]]), np.array([[1], [2]])),
    "uint8": (lambda lib: lib.tensor([1, 255], dtype=lib.uint8), np.array([1, 255], np.uint8)),
    "float to int": (lambda lib: lib.tensor([1.9, -1.9], dtype=lib.int64), np.array([1, -1])),
}


@pytest.mark.parametrize("name", MADE)
def test_values(name):
    make, want = MADE[name]
    t = make(fastnn)
    assert t.dtype.name == want.dtype.name and tuple(t.shape) == want.shape
    assert t.numpy().tobytes() == np.ascontiguousarray(want).tobytes()


@pytest.mark.parametrize("name", MADE)
def test_as_pytorch(name, torch):
    t, want = MADE[name][0](fastnn), MADE[name][0](torch)
    assert str(t.dtype).split(".")[1] == str(want.dtype).split(".")[1] and tuple(t.shape) == tuple(want.shape)
    assert t.numpy().tobytes() == want.numpy().tobytes()


@pytest.mark.parametrize("call, error, text", [
    (lambda: fastnn.zeros(-1), RuntimeError, "negative dimension"), (lambda: fastnn.zeros(2.5), TypeError, "ints"),
    (lambda: fastnn.zeros(2, dtype="float32"), TypeError, "dtype"), (lambda: fastnn.arange(0, 5, 0), RuntimeError, "nonzero"),
    (lambda: fastnn.arange(0, 5, -1), RuntimeError, "step sign"), (lambda: fastnn.arange(float("nan")), RuntimeError, "range"),
    (lambda: fastnn.linspace(0, 1, -1), RuntimeError, "non-negative"), (lambda: fastnn.eye(-1), RuntimeError, "greater or equal"),
    (lambda: fastnn.zeros(1 << 40, 1 << 40), RuntimeError, "more elements"), (lambda: fastnn.zeros(1 << 45), MemoryError, "bytes"),
    (lambda: fastnn.zeros([1] * 9), RuntimeError, "at most 8"), (lambda: fastnn.device("tpu"), RuntimeError, "device type"),
    (lambda: fastnn.set_default_dtype(fastnn.int64), TypeError, "floating"),
    (lambda: fastnn.zeros(2, dtype=fastnn.int64, requires_grad=True), RuntimeError, "floating point"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_default_dtype():
    fastnn.set_default_dtype(fastnn.float64)
    assert fastnn.zeros(1).dtype == fastnn.float64 and fastnn.tensor(1.5).dtype == fastnn.float64
    fastnn.set_default_dtype(fastnn.float32)


def test_python_numbers_keep_their_digits():
    assert fastnn.tensor([0.1], dtype=fastnn.float64).item() == fastnn.as_tensor(0.1, dtype=fastnn.float64).item() == 0.1
    assert fastnn.tensor([16777217.9], dtype=fastnn.int64).item() == 16777217
    assert fastnn.tensor(0.1).item() == fastnn.tensor(0.1, dtype=fastnn.float32).item() == np.float32(0.1)


def test_as_tensor_shares_where_it_can():
    a = np.zeros(3)
    assert fastnn.as_tensor(a).data_ptr() == a.ctypes.data
    t = fastnn.ones(2)
    assert fastnn.as_tensor(t) is t and fastnn.as_tensor(t, dtype=fastnn.float64).dtype == fastnn.float64
    assert fastnn.tensor(a).data_ptr() != a.ctypes.data
    with pytest.warns(UserWarning, match="copy construct"):
        fastnn.tensor(t)


def test_device():
    d = fastnn.device("cpu:0")
    assert d.type == "cpu" and d.index == 0 and str(d) == "cpu:0" and repr(fastnn.device("cpu")) == "device(type='cpu')"
    assert fastnn.zeros(1, device="cpu").device == fastnn.device("cpu") and len({fastnn.device("cpu"), fastnn.device("cpu")}) == 1
