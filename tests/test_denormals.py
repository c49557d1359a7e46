"""Denormals, as docs/design.md has them: heavy kernels take them for zeros and make none, arithmetic keeps them, and the mode of
the calling thread is left as it was."""
import time

import numpy as np
import pytest

import fastnn
from check import THREADS, everywhere, machine, same_bits
from fastnn import _core, nn, optim
from fastnn.nn import functional as F

REALS = ("float32", "float64")
TINY = {"float32": 2.0 ** -140, "float64": 2.0 ** -1060}       # denormal; its half too
SMALL = {"float32": 2.0 ** -70, "float64": 2.0 ** -530}        # normal; its square is denormal
FLUSH = 2


@pytest.fixture(params=REALS)
def dtype(request):
    return request.param


def full(shape, value, dtype):
    return fastnn.full(shape, value, dtype=getattr(fastnn, dtype))


def kept(dtype):
    """Does this thread compute with denormals, in this library and outside?"""
    t, a = full((3,), TINY[dtype], dtype), np.full(3, TINY[dtype], dtype)
    return (t * 0.5).tolist() == (a * np.asarray(0.5, dtype)).tolist() == [TINY[dtype] / 2] * 3


# ---- kept ------------------------------------------------------------------------------------------------------------

def test_a_state_decays_into_denormals(dtype):
    """x *= 0.5, forty times: exact to the last bit, eagerly and replayed, on any number of threads."""
    start = TINY[dtype] * 2.0 ** 38
    for isa in _core.isas():
        for n in THREADS:
            with machine(isa, n):
                eager, replayed = (full((37,), start, dtype) for _ in range(2))

                @fastnn.capture
                def step():
                    replayed.mul_(0.5)
                for k in range(1, 41):
                    eager *= 0.5
                    step()
                    assert eager.tolist() == replayed.tolist() == [start * 0.5 ** k] * 37
                assert step.replays >= 38 and bool((eager > 0).all()) and not bool((eager == 0).any())


ARITHMETIC = {
    "add": lambda t: t + t, "sub": lambda t: t * 3 - t, "mul": lambda t: t * 2, "div": lambda t: t * 4 / 2, "neg": lambda t: -t * -2,
    "abs": lambda t: (t * -2).abs(), "maximum": lambda t: fastnn.maximum(t * 2, t), "where": lambda t: fastnn.where(t > 0, t * 2, t),
    "clamp": lambda t: (t * 2).clamp(min=0), "sum": lambda t: t.view(-1, 2).sum(1), "cumsum": lambda t: t.view(-1, 2).cumsum(1)[:, 1],
    "max": lambda t: fastnn.stack([t, t * 2]).max(0).values, "amin": lambda t: fastnn.stack([t * 2, t * 3]).amin(0),
    "clone": lambda t: (t * 2).clone(), "contiguous": lambda t: (t * 2).view(-1, 2).t().contiguous(), "take": lambda t: (t * 2)[[0, 1]],
    "index_add": lambda t: t.index_add(0, fastnn.arange(len(t)), t), "double": lambda t: (t * 2).double(),
    "fill": lambda t: t.clone().fill_(t.tolist()[0] * 2), "max_pool": lambda t: F.max_pool2d((t * 2).view(1, 1, -1, 2), 2),
    "avg_pool": lambda t: F.avg_pool2d((t * 2).view(1, 1, -1, 2), 2)}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_keeps_them(name, dtype, isa, threads):
    y = ARITHMETIC[name](full((64,), TINY[dtype], dtype))
    assert set(y.reshape(-1).tolist()) == {TINY[dtype] * 2} and bool((y != 0).all())


# ---- flushed ---------------------------------------------------------------------------------------------------------

def square(f):
    """f of two operands whose products are too small."""
    return lambda small, tiny: f(small, small)


HEAVY = {
    "gemm": square(lambda a, b: a.view(8, 8) @ b.view(8, 8)), "gemm of denormals": lambda small, tiny: tiny.view(8, 8) @ (tiny.view(8, 8) * 0 + 1),
    "linear": square(lambda a, b: F.linear(a.view(8, 8), b.view(8, 8))),
    "conv2d": square(lambda a, b: F.conv2d(a.view(1, 1, 8, 8), b[:9].view(1, 1, 3, 3), padding=1)),
    "conv2d of denormals": lambda small, tiny: F.conv2d(tiny.view(1, 4, 4, 4), tiny.view(16, 4, 1, 1) * 0 + 1),
    "depthwise": square(lambda a, b: F.conv2d(a.view(1, 4, 4, 4), b[:36].view(4, 1, 3, 3), groups=4)),
    "batch_norm": lambda small, tiny: F.batch_norm(tiny.view(16, 4), tiny[:4] * 0, tiny[:4] * 0 + 1),
    "layer_norm": lambda small, tiny: F.layer_norm((tiny > 0).to(tiny.dtype).cumsum(0).view(8, 8), (8,), tiny[:8]),
    "group_norm": lambda small, tiny: F.group_norm((tiny > 0).to(tiny.dtype).cumsum(0).view(2, 8, 4), 2, tiny[:8]),
    "relu": lambda small, tiny: F.relu(tiny), "gelu": lambda small, tiny: F.gelu(tiny), "tanh": lambda small, tiny: fastnn.tanh(tiny),
    "relu's gradient": lambda small, tiny: _core.relu_backward(tiny, tiny * 0 + 1),
    "silu": lambda small, tiny: F.silu(tiny), "dropout": lambda small, tiny: F.dropout(tiny, 0.5),
    "softmax": lambda small, tiny: fastnn.softmax(fastnn.cat([tiny[:1] * 0, tiny[1:] * 0 + np.log(TINY[tiny.dtype.name])]), 0)[1:],
    "mse_loss": square(lambda a, b: F.mse_loss(a, b * 0)), "huber_loss": square(lambda a, b: F.huber_loss(a, b * 0)),
    "l1_loss": lambda small, tiny: F.l1_loss(tiny, tiny * 0, reduction="none")}


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_kernels_make_zeros(name, dtype):
    small, tiny = full((64,), SMALL[dtype], dtype), full((64,), TINY[dtype], dtype)
    for y, in everywhere(lambda: [HEAVY[name](small, tiny)]):
        assert not np.count_nonzero(y.numpy()), y
        assert kept(dtype)


OPTIMIZERS = {"momentum": lambda p: optim.SGD(p, 0.5, momentum=0.5), "adam": lambda p: optim.Adam(p, 1e-3, betas=(0.5, 0.5)),
              "rmsprop": lambda p: optim.RMSprop(p, 1e-3, alpha=0.5, eps=1.0, momentum=0.5)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_averages_of_optimizers_end_at_zero(name, dtype, isa, threads):
    """Of a gradient that came once they shrink by halves, and stop at zero instead of among the denormals."""
    p = full((70,), 1.0, dtype).requires_grad_()
    o = OPTIMIZERS[name]([p])
    p.grad = full((70,), SMALL[dtype] * 2.0 ** 10, dtype)                  # its square is normal
    for _ in range({"float32": 70, "float64": 505}[dtype]):
        o.step()
        p.grad.zero_()
    averages = {k: v for k, v in o.state[p].items() if k != "step"}
    assert averages and not any(np.count_nonzero(v.numpy()) for v in averages.values()) and kept(dtype)


def test_a_conv_net_of_tiny_activations(dtype):
    """Each layer shrinks by 2^-20 (2^-150): exact while normal, zero from the first denormal on, forward and backward."""
    shrink, least = {"float32": (2.0 ** -20, 2.0 ** -126), "float64": (2.0 ** -150, 2.0 ** -1022)}[dtype]
    for channels in (1, 3, 17):
        layers = nn.Sequential(*[nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(8)]).to(getattr(fastnn, dtype))
        with fastnn.no_grad():
            for m in layers:
                m.weight.zero_()
                for c in range(channels):
                    m.weight[c, c, 1, 1] = shrink
        x = full((2, channels, 7, 9), 1.0, dtype).requires_grad_()
        wants = [shrink ** k if shrink ** k >= least else 0.0 for k in range(9)]
        assert wants[6] > 0 == wants[7]

        def run():
            results, y = [], x
            for m in layers:
                y = F.relu(m(y))
                results.append(y)
            x.grad = None
            results[5].backward(fastnn.ones_like(y))
            return [y.detach() for y in results] + [x.grad]
        for *results, grad in everywhere(run):
            for y, want in zip([*results, grad], [*wants[1:], wants[6]], strict=True):
                assert set(y.numpy().reshape(-1).tolist()) == {want}
        captured = fastnn.capture(lambda: [t.detach() for t in layers(x.detach())])
        with machine(threads=3):
            for _ in range(4):
                same_bits(captured(), [t for t in layers(x.detach()).detach()])
        assert kept(dtype)


def lstm_like(dtype):
    """c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c): the state decays, in arithmetic that keeps denormals."""
    w = fastnn.randn(512, 128, dtype=dtype) * 0.01

    def step(h, c):
        i, f, g, o = F.linear(h, w).chunk(4, 1)
        c = fastnn.sigmoid(f) * c + fastnn.sigmoid(i) * fastnn.tanh(g)
        return fastnn.sigmoid(o) * fastnn.tanh(c), c
    return step, [(64, 128)] * 2


def conv_net(dtype):
    net = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 5), nn.Tanh()).to(dtype)
    with fastnn.no_grad():
        for m in net[::4]:
            m.bias.zero_()

    def step(x, dy):
        net.zero_grad()
        net(x).backward(dy)
    return step, [(4, 16, 20, 20), (4, 16, 6, 6)]


@pytest.mark.parametrize("make", (lstm_like, conv_net))
def test_tiny_numbers_cost_little(make, dtype):
    """The quickest of many captured steps, turn by turn with those on ordinary numbers. A kernel that computes with denormals takes ten times as
    long and more where the processor does so by microcode; of the LSTM-like step these are the two products with the state alone."""
    step, shapes = make(getattr(fastnn, dtype))
    step, seen = fastnn.capture(step), ([], [])
    for _ in range(30):
        for value, times in zip((1.0, TINY[dtype]), seen):
            given = [full(n, value, dtype) for n in shapes]
            start = time.perf_counter()
            step(*given)
            times.append(time.perf_counter() - start)
    assert step.replays > 50 and min(seen[1]) < 3 * min(seen[0]), [min(s) for s in seen]


@pytest.mark.parametrize("flush", (False, True))
def test_an_lstm_like_state_decays_to_zero(flush, dtype):
    """Captured on three threads as eagerly on one; what is left at last is no denormal."""
    step, (shape, _) = lstm_like(getattr(fastnn, dtype))
    ends = []
    try:
        fastnn.set_flush_denormal(flush)
        for n, run in ((1, step), (3, fastnn.capture(step))):
            with machine(threads=n):
                h, c = full(shape, 0.0, dtype), full(shape, SMALL[dtype], dtype)
                for _ in range({"float32": 140, "float64": 640}[dtype]):
                    h, c = run(h, c)
                ends.append((h, c))
    finally:
        fastnn.set_flush_denormal(False)
    same_bits(*ends)
    assert not np.count_nonzero(ends[0][0].numpy()) and not np.count_nonzero(ends[0][1].numpy()) and kept(dtype)


# ---- the modes -------------------------------------------------------------------------------------------------------

def test_set_flush_denormal_reaches_arithmetic_and_is_undone(dtype):
    tiny = full((40,), TINY[dtype], dtype)
    try:
        assert fastnn.set_flush_denormal(True)
        assert (tiny * 0.5).tolist() == [0.0] * 40
        F.relu(tiny)
        assert (tiny * 0.5).tolist() == [0.0] * 40               # a flushing kernel leaves the mode on
    finally:
        fastnn.set_flush_denormal(False)
    assert kept(dtype)


def test_who_flushes():
    """By family in csrc/ops.inc: all of one kind, so that a reader need not look each up."""
    flushing = {family: {name for name, f, flags in _core.ops() if f == family and flags & FLUSH} for _, family, _ in _core.ops()}
    every = {family: {name for name, f, _ in _core.ops() if f == family} for family in flushing}
    for family in ("dense", "conv", "norm", "layer_norm", "softmax", "loss", "dropout"):
        assert flushing[family] == every[family], family
    assert every["optim"] - flushing["optim"] == {"optim_tick"}
    for family in ("reduce", "copy", "index", "pool2d", "random"):
        assert not flushing[family], family
    assert not flushing["elem"] & {"add", "sub", "mul", "div", "neg", "abs", "exp", "log", "sqrt", "eq", "lt", "le", "maximum", "minimum", "where"}
    assert flushing["elem"] >= {"relu_fwd", "relu_bwd", "sigmoid_fwd", "tanh_fwd", "gelu_fwd", "silu_fwd"}
