"""fastnn/_fusion_stats.pxi: batch norm's statistics taken where its input is made, with eager's bits; traps are left as they were."""
import numpy as np
import pytest

import fastnn
from check import THREADS, machine
from fastnn import _core, nn
from fastnn.nn import functional as F
from test_capture_fusion import Net, train


def same(make, ahead, **options):
    """Eager's bits from captured steps, of whose norms so many find their sums taken."""
    eager = train(make, False, **options)[0]
    captured, f = train(make, True, **options)
    for i, (a, b) in enumerate(zip(eager, captured)):
        assert a == b, f"step {i}"
    assert f.info()["replays"] >= 1 and not f.info()["eager"]
    assert [[op for op, _ in ops].count("batch_norm_fwd of sums") for ops in f.operations()] == [ahead] * len(f.operations())
    return captured


def wide(c, k=None, **options):
    return nn.Conv2d(c, k or c, 3, padding=1, **options)


def block(m, x):
    return F.relu(m.p(m.b(F.relu(m.n(m.a(x)))))) + x


NETS = {
    "norm": (lambda m, x: m.n(m.a(x)), 1),
    "relu": (lambda m, x: F.relu(m.n(m.a(x))), 1),
    "relu before": (lambda m, x: m.n(F.relu(m.a(x))), 1),
    "block": (block, 2),
    "residual": (lambda m, x: F.relu(m.n(m.a(x)) + x), 1),
    "of stride 2": (lambda m, x: F.relu(m.p(m.d(F.relu(m.n(m.c(x)))))), 2),
    "of stride 2, both phases in a tile": (lambda m, x: F.relu(m.n(m.h(x))), 1),
    "of rows": (lambda m, x: F.relu(m.p(m.g(F.relu(m.n(m.f(x)))))), 2),
    "of folded channels": (lambda m, x: F.relu(m.n(m.e(x[:, :20]))), 1),
    "read again afterwards": (lambda m, x: (lambda y: m.n(y) * y.sigmoid())(m.a(x)), 1),
    "two norms, of which the second reads what the first has read": (lambda m, x: (lambda y: m.n(y) + m.p(y))(m.a(x)), 1),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_where_it_is_made(name, threads, isa):
    forward, ahead = NETS[name]
    make = lambda: Net(forward, a=wide(32, bias=False), b=wide(32), n=nn.BatchNorm2d(32), p=nn.BatchNorm2d(32),     # noqa: E731
                       c=nn.Conv2d(32, 32, 4, 2, 3), d=nn.Conv2d(32, 32, 5, 2, 4), e=nn.Conv2d(20, 32, 7, 2, 6), f=nn.Conv2d(32, 32, (1, 3), padding=(0, 1)),
                       g=nn.Conv2d(32, 32, (5, 3), padding=(2, 1)), h=nn.Conv2d(32, 32, 3, 2, 3))
    with machine(isa, threads=threads):
        same(make, ahead, shape=(5, 32, 13, 18), steps=4)
        same(make, ahead, shape=(5, 32, 13, 18), steps=4, dtype=fastnn.float64)


# N, C, K, H, W: parts that end within a row and within an image, one part, parts of many images, more threads than groups of tiles; filters whose
# columns are folded and that are no power of two; weights that pass panel after panel; one group of tiles, whose
# panels a team shares
SIZES = [(7, 16, 16, 37, 29), (3, 64, 64, 50, 41), (2, 16, 16, 8, 8), (90, 32, 32, 9, 7), (5, 16, 48, 21, 40), (1, 32, 16, 130, 67), (1, 32, 32, 16, 16), (1, 64, 112, 9, 10), (4, 288, 272, 24, 21)]


@pytest.mark.parametrize("N, C, K, H, W", SIZES)
def test_sizes(N, C, K, H, W):
    make = lambda: Net(lambda m, x: F.relu(m.n(m.a(x))), a=wide(C, K), n=nn.BatchNorm2d(K))     # noqa: E731
    first = None
    for threads in THREADS:
        with machine(_core.get_isa(), threads=threads):
            out = same(make, 1, shape=(N, C, H, W), steps=4)
        first = first or out
        assert out == first, f"{threads} threads"


def test_statistics_are_those_of_the_result():
    fastnn.manual_seed(0)
    a, n, x = wide(16), nn.BatchNorm2d(16, momentum=1.0), fastnn.randn(6, 16, 40, 33)
    step = fastnn.capture(lambda x: n(a(x)))
    for _ in range(3):
        step(x)
    assert "batch_norm_fwd of sums" in dict(step.operations()[-1])
    y = np.moveaxis(a(x).detach().numpy().astype(np.float64), 1, -1).reshape(-1, 16)
    assert np.allclose(n.running_mean.numpy(), y.mean(0), rtol=0, atol=1e-6)
    assert np.allclose(n.running_var.numpy(), y.var(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("value", [np.inf, np.nan, 3e37])
@pytest.mark.parametrize("threads", [1, 3])
def test_where_filtering_fails(value, threads):
    """The direct form does all again, and the sums are of its results."""
    fastnn.manual_seed(0)
    x = fastnn.randn(5, 16, 30, 31)
    x[3, 7, 11, 12] = value
    runs = []
    with machine(_core.get_isa(), threads=threads), np.errstate(all="ignore"):
        for wrap in (lambda f: f, fastnn.capture):
            fastnn.manual_seed(1)
            a, n = wide(16), nn.BatchNorm2d(16)
            step = wrap(lambda x: (lambda y: (y, n(y)))(a(x)))
            runs.append([[t.detach().numpy().tobytes() for t in (*step(x), n.running_mean, n.running_var)] for _ in range(3)])
    assert runs[0] == runs[1]


def changed(m, x):
    y = m.a(x)
    y += 1
    return m.n(y)


def read_first(m, x):
    y = m.a(x)
    z = y.sigmoid()
    return m.n(y) * z


TRAPS = {
    "changed in between": changed,
    "read in between": read_first,
    "other channels": lambda m, x: m.p(m.a(x).reshape(-1, 16, 26, 18)),
    "not the convolution's result": lambda m, x: m.n(m.a(x)[1:]),
    "of unequal strides": lambda m, x: m.n(m.s(x)),
    "of groups": lambda m, x: m.n(m.t(x)),
    "dilated": lambda m, x: m.n(m.q(x)),
    "dilated along rows": lambda m, x: m.n(m.r(x)),
    "by the running statistics": lambda m, x: F.batch_norm(m.a(x), m.n.running_mean, m.n.running_var),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps(name):
    def make():
        return Net(TRAPS[name], a=wide(32), s=nn.Conv2d(32, 32, 3, (2, 1), 1), t=nn.Conv2d(32, 32, 3, padding=1, groups=2),
                   q=nn.Conv2d(32, 32, 3, 1, 2, 2), r=nn.Conv2d(32, 32, 3, 1, (1, 2), (1, 2)), n=nn.BatchNorm2d(32), p=nn.BatchNorm2d(16))
    same(make, 0, shape=(5, 32, 13, 18), steps=4)


def test_a_norm_in_evaluation_takes_no_sums():
    same(lambda: Net(NETS["norm"][0], a=wide(32), n=nn.BatchNorm2d(32)), 0, shape=(5, 32, 13, 18), steps=4, mode="eval")
