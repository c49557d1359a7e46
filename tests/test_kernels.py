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


@pytest.mark.parametrize("activation, f", [(None, lambda z: z), ("relu", lambda z: np.maximum(z, 0)),
                                           ("sigmoid", lambda z: 1 / (1 + np.exp(-z))), ("tanh", np.tanh)])
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


ON_X = [("leaky_relu", {"negative_slope": 0.2}), ("elu", {"alpha": 0.7, "scale": 1.3}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}),
        ("softplus", {"beta": 2.0, "threshold": 1.0}), ("hardtanh", {"min_val": -0.5, "max_val": 0.8})]


@pytest.mark.parametrize("name, options", ON_X, ids=str)
def test_activations_of_x(name, options):
    forward, backward = getattr(k, name + "_forward"), getattr(k, name + "_backward")
    dy, out = rng.standard_normal(X.shape), np.empty(X.shape)
    want = differences(lambda v: float((forward(v, **options) * dy).sum()), X)
    np.testing.assert_allclose(backward(dy, X, **options), want, rtol=1e-5, atol=1e-8)
    assert forward(X, **options, out=out) is out


@pytest.mark.parametrize("w", [np.array(0.3), np.array([0.3]), np.array([0.1, -0.2, 0.5])], ids=str)
def test_prelu(w):
    dy = rng.standard_normal(X.shape)
    dx, dw = k.prelu_backward(dy, X, w)
    np.testing.assert_allclose(dx, differences(lambda v: float((k.prelu_forward(v, w) * dy).sum()), X), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(dw, differences(lambda v: float((k.prelu_forward(X, v) * dy).sum()), w), rtol=1e-6, atol=1e-8)


P, T, V = rng.uniform(0.1, 0.9, X.shape), rng.uniform(0.1, 0.9, X.shape), rng.uniform(0.5, 2, X.shape)
LOSSES = [("l1", X, {}), ("smooth_l1", X, {"beta": 0.3}), ("huber", X, {"delta": 0.6}), ("binary_cross_entropy", P, {"weight": V}),
          ("binary_cross_entropy_with_logits", X, {"weight": V, "pos_weight": V[0]}), ("kl_div", X, {}), ("kl_div", X, {"log_target": True}), ("mse", X, {})]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name, x, options", LOSSES, ids=str)
def test_losses_of_elements(name, x, options, reduction):
    forward, backward = getattr(k, name + "_forward"), getattr(k, name + "_backward")
    loss, saved = forward(x, T, reduction=reduction, **options)
    dy = rng.standard_normal(loss.shape)
    want = differences(lambda v: float((forward(v, T, reduction=reduction, **options)[0] * dy).sum()), x)
    np.testing.assert_allclose(backward(np.asarray(dy), saved), want, rtol=1e-5, atol=1e-8)


def test_gaussian_nll_and_batchmean():
    loss, saved = k.gaussian_nll_forward(X, T, V, full=True)
    np.testing.assert_allclose(loss, (np.log(V) + (X - T) ** 2 / V + np.log(2 * np.pi)).mean() / 2, rtol=1e-12)
    for got, a, f in zip(k.gaussian_nll_backward(np.float64(1), saved), (X, V),
                         (lambda v: k.gaussian_nll_forward(v, T, V)[0], lambda v: k.gaussian_nll_forward(X, T, v)[0])):
        np.testing.assert_allclose(got, differences(lambda v: float(f(v)), a), rtol=1e-5, atol=1e-8)
    loss, saved = k.kl_div_forward(X, T, reduction="batchmean")
    np.testing.assert_allclose(loss, (T * (np.log(T) - X)).sum() / 5, rtol=1e-12)
    np.testing.assert_allclose(k.kl_div_backward(np.float64(1), saved), -T / 5, rtol=1e-12)


@pytest.mark.parametrize("f, error", [
    (lambda: k.huber_forward(X, T, delta=0.0), ValueError), (lambda: k.smooth_l1_forward(X, T, beta=-1.0), ValueError),
    (lambda: k.gelu_forward(X, approximate="erf"), ValueError),
    (lambda: k.gaussian_nll_forward(X, T, V[0]), RuntimeError), (lambda: k.l1_forward(X, T[:2]), RuntimeError), (lambda: k.prelu_forward(X, V), RuntimeError),
    (lambda: k.l1_backward(np.ones(3), k.l1_forward(X, T)[1]), RuntimeError), (lambda: k.silu_backward(X[:2], X), RuntimeError)])
def test_errors_of_elements(f, error):
    with pytest.raises(error):
        f()
