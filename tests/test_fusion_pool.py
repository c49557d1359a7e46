"""fastnn/_fusion_pool.pxi: a first layer and the maximum behind it become one, with eager's bits; traps are left as they were."""
import numpy as np
import pytest

import fastnn
from check import THREADS, machine
from fastnn import _core, nn
from fastnn.nn import functional as F
from test_capture_fusion import Net, bits, train


def same(make, **options):
    """Eager's bits from the captured steps; returns the names of the program's operations."""
    eager, (captured, f) = train(make, False, **options)[0], train(make, True, **options)
    for i, (a, b) in enumerate(zip(eager, captured)):
        assert a == b, f"step {i}"
    assert f.info()["replays"] >= 1 and not f.info()["eager"]
    return [name for name, _ in f.operations()[-1]]


def layer(k=6, r=5, s=None, bias=True, pad=None):
    s = s or r
    return nn.Conv2d(1, k, (r, s), padding=(r // 2, s // 2) if pad is None else pad, bias=bias)


def pooled(m, x):
    return F.relu(F.max_pool2d(m.a(x), 2))


ORDERS = {"pool, relu": pooled, "relu, pool": lambda m, x: F.max_pool2d(F.relu(m.a(x)), 2), "pool": lambda m, x: F.max_pool2d(m.a(x), 2),
          "twice": lambda m, x: F.relu(m.b(F.max_pool2d(m.a(x), 2))) * 2, "tanh": lambda m, x: F.max_pool2d(m.a(x), 2).tanh()}


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_one_of_two(order, threads, isa):
    """No pool is left in training; with a gradient or without, the bits are eager's."""
    make = lambda: Net(ORDERS[order], a=layer(), b=nn.Conv2d(6, 16, 5))     # noqa: E731
    with machine(isa, threads=threads):
        ops = same(make, shape=(5, 1, 28, 28))
        assert not {"max_pool2d_fwd", "max_pool2d_bwd"} & set(ops), ops
        ops = same(make, shape=(5, 1, 28, 28), mode="no_grad")
        assert "max_pool2d_fwd" not in ops, ops
        if order == "pool, relu":
            assert ops == ["conv2d_fwd"], ops


# N, H, W, channels, filter, padding; rows and columns that no window holds, vectors with few and many windows, parts of an image, one image
SIZES = [(3, 28, 28, 6, (5, 5), None, True), (1, 28, 28, 6, (5, 5), None, True), (2, 29, 31, 4, (5, 5), None, False),
         (2, 11, 27, 8, (3, 3), None, True), (9, 12, 20, 6, (2, 13), (0, 2), True),
         (2, 15, 30, 5, (5, 3), (1, 0), True), (2, 13, 26, 3, (3, 5), (2, 2), True),
         (1, 150, 150, 6, (5, 5), None, True), (2, 24, 56, 7, (2, 4), (3, 3), True), (70, 8, 8, 8, (3, 3), 0, True),
         (1, 150, 60, 6, (5, 5), None, True), (2, 3, 3, 6, (2, 7), (0, 4), True),
         (3, 5, 30, 6, (5, 6), (4, 5), True), (2, 14, 14, 6, (1, 8), (0, 3), True)]


@pytest.mark.parametrize("N, H, W, k, filter, pad, bias", SIZES)
def test_sizes(N, H, W, k, filter, pad, bias, isa):
    make = lambda: Net(pooled, a=layer(k, *filter, bias=bias, pad=pad))     # noqa: E731
    first = None
    for threads in THREADS:
        with machine(isa, threads=threads):
            ops = same(make, shape=(N, 1, H, W), steps=4)
            assert not {"max_pool2d_fwd", "max_pool2d_bwd"} & set(ops), ops
            out = train(make, True, shape=(N, 1, H, W), steps=4)[0]
        first = first or out
        assert out == first, f"{threads} threads"


def numbers(captured, data):
    """[y, dw, db] of each of the data; the first calls of a captured step run as written."""
    fastnn.manual_seed(1)
    net = Net(lambda m, x: F.max_pool2d(F.relu(m.a(x)), 2), a=layer())

    def step(x):
        net.zero_grad()
        y = net(x)
        (y.clamp(-3, 3) * 0.5).sum().backward()
        return y
    f, out = fastnn.capture(step) if captured else step, []
    for x in data:
        y = f(fastnn.tensor(x))
        out.append([t.detach().numpy().copy() for t in (y, net.a.weight.grad, net.a.bias.grad)])
    if captured:
        ops = [name for name, _ in f.operations()[-1]]
        assert f.info()["replays"] == len(data) - 3 and not {"max_pool2d_fwd", "max_pool2d_bwd"} & set(ops), ops
    return out


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [28, 29])
def test_bad_numbers(size, threads, isa):
    """Of x: zeros of the map's gradient meet them too; of 29 rows and columns the last are of no window."""
    rng, last = np.random.default_rng(0), size - 1
    data = [rng.standard_normal((3, 1, size, size)).astype("float32") for _ in range(3)]
    for at in ((0, 0, 0, 0), (1, 0, 13, 14), (2, 0, last, last), (0, 0, last, 5), (2, 0, 3, last), (1, 0, 8, 9)):
        for bad in (np.nan, np.inf, -np.inf):
            data.append(rng.standard_normal((3, 1, size, size)).astype("float32"))
            data[-1][at] = bad
    data.append(data[0])
    with machine(isa, threads=threads):
        eager, captured = numbers(False, data), numbers(True, data)
    for i, (a, b) in enumerate(zip(eager, captured)):
        for p, q, what in zip(a, b, ("y", "dw", "db")):
            assert np.array_equal(p, q, equal_nan=True), f"{what}, step {i}"
            assert np.array_equal(np.signbit(p[~np.isnan(p)]), np.signbit(q[~np.isnan(q)])), f"{what}, step {i}"
        assert np.isfinite(a[1]).all() == (i < 3 or i == len(data) - 1)


def test_ties_and_nans(isa):
    """Whole numbers tie; of equals the first wins, of NaN the last."""
    def forward(m, x):
        with fastnn.no_grad():
            m.a.weight.copy_((m.a.weight * 8).round())
        return F.max_pool2d(m.a(x.round()), 2)
    make = lambda: Net(forward, a=layer(6, 3, bias=False))     # noqa: E731
    with machine(isa):
        ops = same(make, shape=(4, 1, 28, 28))
        assert "max_pool2d_bwd" not in ops, ops


APART = {   # a reader of the map, another pooling, another convolution: left as it was
    "map read": lambda m, x: (lambda y: F.max_pool2d(y, 2) + y[:, :, ::2, ::2])(m.a(x)),
    "map kept": lambda m, x: (setattr(m, "kept", m.a(x)), F.max_pool2d(m.kept, 2))[1],
    "padding": lambda m, x: F.max_pool2d(m.a(x), 2, padding=1), "stride": lambda m, x: F.max_pool2d(m.a(x), 2, 1),
    "window": lambda m, x: F.max_pool2d(m.a(x), 3, 2), "dilation": lambda m, x: F.max_pool2d(m.a(x), 2, 2, dilation=2),
    "indices": lambda m, x: F.max_pool2d(m.a(x), 2, return_indices=True)[0], "average": lambda m, x: F.avg_pool2d(m.a(x), 2)}


@pytest.mark.parametrize("name", APART)
def test_left_apart(name):
    ops = same(lambda: Net(APART[name], a=layer()), shape=(3, 1, 28, 28))
    assert {"max_pool2d_fwd", "avg_pool2d_fwd"} & set(ops), ops
    if name in ("padding", "stride", "window", "dilation", "average", "map read"):
        assert {"max_pool2d_bwd", "avg_pool2d_bwd"} & set(ops), ops


@pytest.mark.parametrize("H, W, whole", [(28, 28, True), (27, 28, False), (28, 27, False), (27, 27, False)])
def test_ceil_mode(H, W, whole):
    """Of odd sizes the last window reaches over the end."""
    ops = same(lambda: Net(lambda m, x: F.max_pool2d(m.a(x), 2, ceil_mode=True), a=layer()), shape=(3, 1, H, W))
    assert ("max_pool2d_fwd" not in ops) == ("max_pool2d_bwd" not in ops) == whole, ops


@pytest.mark.parametrize("k, filter, options", [(6, 5, {"stride": 2}), (6, 3, {"dilation": 2}), (9, 5, {}), (6, 7, {}), (2, 5, {})])
def test_other_convolutions(k, filter, options):
    ops = same(lambda: Net(pooled, a=nn.Conv2d(1, k, filter, **options)), shape=(3, 1, 28, 28))
    assert {"max_pool2d_fwd", "max_pool2d_bwd"} <= set(ops), ops


def test_the_maps_gradient_read_elsewhere():
    """The input wants a gradient too; or the map's is kept."""
    def inner(m, x):
        x = m.c(x)
        return F.max_pool2d(m.a(x), 2)
    ops = same(lambda: Net(inner, a=layer(), c=nn.Conv2d(1, 1, 1)), shape=(3, 1, 28, 28))
    assert "max_pool2d_bwd" in ops, ops

    def kept(m, x):
        m.y = m.a(x)
        m.y.retain_grad()
        return F.max_pool2d(m.y, 2)
    after = lambda net: bits(net.y.grad)                       # noqa: E731
    make = lambda: Net(kept, a=layer())                        # noqa: E731
    assert train(make, False, after=after, shape=(3, 1, 28, 28))[0] == train(make, True, after=after, shape=(3, 1, 28, 28))[0]


def test_double_precision_stays_apart():
    ops = same(lambda: Net(pooled, a=layer()), shape=(3, 1, 28, 28), dtype=fastnn.float64)
    assert {"max_pool2d_fwd", "max_pool2d_bwd"} <= set(ops), ops
