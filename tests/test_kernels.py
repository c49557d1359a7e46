"""The NumPy-level door: each pair against its formula and finite differences."""
import numpy as np
import pytest

from fastnn import kernels as k

rng = np.random.default_rng(0)


def differences(f, a, h=1e-6):
    """The gradient of the scalar f at a."""
    g = np.zeros_like(a)
    for i in np.ndindex(a.shape):
        up, down = a.copy(), a.copy()
        up[i] += h
        down[i] -= h
        g[i] = (f(up) - f(down)) / (2 * h)
    return g


X, W, B = rng.standard_normal((5, 3)), rng.standard_normal((4, 3)), rng.standard_normal(4)
Y = rng.integers(0, 3, 5)


@pytest.mark.parametrize("activation, f", [(None, lambda z: z), ("relu", lambda z: np.maximum(z, 0)), ("sigmoid", lambda z: 1 / (1 + np.exp(-z))), ("tanh", np.tanh)])
def test_linear(activation, f):
    np.testing.assert_allclose(k.linear_forward(X, W, B, activation=activation), f(X @ W.T + B), rtol=1e-12)


def test_linear_backward():
    dy = rng.standard_normal((5, 4))
    for got, a, at in zip(k.linear_backward(dy, X, W), (X, W, B), range(3)):
        args = [X, W, B]

        def f(v):
            args[at] = v
            return float((k.linear_forward(*args) * dy).sum())
        np.testing.assert_allclose(got, differences(f, a), rtol=1e-6, atol=1e-8)
    assert k.linear_backward(dy, X, W, bias=False)[2] is None


def test_matmul():
    a, b, dc = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 4, 5)), rng.standard_normal((2, 3, 5))
    np.testing.assert_allclose(k.matmul_forward(a, b), a @ b, rtol=1e-12)
    da, db = k.matmul_backward(dc, a, b)
    np.testing.assert_allclose(da, dc @ b.swapaxes(1, 2), rtol=1e-12)
    np.testing.assert_allclose(db, a.swapaxes(1, 2) @ dc, rtol=1e-12)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "softmax", "log_softmax"])
def test_unary(name):
    forward, backward = getattr(k, name + "_forward"), getattr(k, name + "_backward")
    dy = rng.standard_normal(X.shape)
    y = forward(X)
    want = {"relu": np.maximum(X, 0), "sigmoid": 1 / (1 + np.exp(-X)), "tanh": np.tanh(X), "softmax": np.exp(X) / np.exp(X).sum(-1, keepdims=True),
            "log_softmax": X - np.log(np.exp(X).sum(-1, keepdims=True))}[name]
    np.testing.assert_allclose(y, want, rtol=1e-12)
    np.testing.assert_allclose(backward(dy, y), differences(lambda v: float((forward(v) * dy).sum()), X), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"label_smoothing": 0.1}, {"ignore_index": 1}, {"weight": np.array([0.5, 1, 2])}], ids=str)
def test_softmax_cross_entropy(options):
    _, saved = k.softmax_cross_entropy_forward(X, Y, **options)
    got = k.softmax_cross_entropy_backward(np.float64(2), saved)
    np.testing.assert_allclose(got, differences(lambda v: 2 * float(k.softmax_cross_entropy_forward(v, Y, **options)[0]), X), rtol=1e-5, atol=1e-8)


def test_mse():
    t = rng.standard_normal(X.shape)
    loss, saved = k.mse_forward(X, t)
    np.testing.assert_allclose(loss, ((X - t) ** 2).mean(), rtol=1e-12)
    np.testing.assert_allclose(k.mse_backward(np.float64(1), saved), 2 * (X - t) / X.size, rtol=1e-12)


def test_dropout():
    x = np.ones((100, 10), np.float32)
    y, saved = k.dropout_forward(x, p=0.25, seed=3, count=5)
    again, _ = k.dropout_forward(x, p=0.25, seed=3, count=5)
    assert (y == again).all() and set(np.unique(y)) == {0, np.float32(1 / 0.75)} and abs((y == 0).mean() - 0.25) < 0.05
    assert (k.dropout_backward(x, saved) == y).all()
    assert (k.dropout_forward(x, p=0.25, seed=3, count=6)[0] != y).any()


def test_strides_and_out():
    x = np.asfortranarray(X)[::-1]
    out = np.empty((5, 4))
    assert k.linear_forward(x, W[:, ::-1], B, out=out) is out
    np.testing.assert_allclose(out, X[::-1] @ W[:, ::-1].T + B, rtol=1e-12)
    read_only = X.copy()
    read_only.flags.writeable = False
    np.testing.assert_allclose(k.relu_forward(read_only), np.maximum(X, 0))


@pytest.mark.parametrize("f, error", [
    (lambda: k.relu_forward([1.0]), TypeError), (lambda: k.relu_forward(X.astype(np.float16)), TypeError), (lambda: k.relu_forward(X.astype(">f8")), TypeError),
    (lambda: k.linear_forward(X, W.T), RuntimeError), (lambda: k.linear_forward(X, W, activation="selu"), ValueError),
    (lambda: k.linear_forward(X, W, out=np.empty((5, 3))), RuntimeError), (lambda: k.softmax_cross_entropy_forward(X, Y + 5), IndexError),
    (lambda: k.softmax_cross_entropy_forward(X, Y, reduction="all"), ValueError), (lambda: k.dropout_forward(X, p=1.5), ValueError),
    (lambda: k.linear_forward(X, W.astype(np.float32)), RuntimeError),
])
def test_errors(f, error):
    with pytest.raises(error):
        f()
