"""The rules of fastnn/_fusion.pxi: each takes the operations away that it promises, and no bit changes; traps are left as they were."""
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from check import machine
from fastnn import _core, nn, optim
from fastnn.nn import functional as F


def bits(t):
    return t.detach().numpy().tobytes()


class Net(nn.Module):
    """A forward of one's own, in which no Sequential joins anything."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def conv(k=8):
    return nn.Conv2d(8, k, 3, padding=1)


def train(make, captured, dtype=fastnn.float32, steps=5, shape=(4, 8, 6, 7), mode="train", after=lambda net: None):
    """[losses, gradients, parameters and buffers, what `after` reads], each step; and the captured function."""
    fastnn.manual_seed(0)
    net = make().to(dtype)
    net.train(mode == "train")
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    data = [fastnn.randn(*shape, dtype=dtype) for _ in range(steps)]

    def step(x):
        if mode == "no_grad":
            with fastnn.no_grad():
                return net(x)
        optimizer.zero_grad()
        y = net(x)
        loss = F.mse_loss(y, y.detach() * 0.5 + 0.1)
        loss.backward()
        optimizer.step()
        return y, loss

    f = fastnn.capture(step) if captured else step
    out = []
    for x in data:
        y = f(x)
        out.append([*map(bits, y if isinstance(y, tuple) else [y]), *map(bits, net.state_dict().values()),
                    *[None if p.grad is None else bits(p.grad) for p in net.parameters()], after(net)])
    return out, f


LOSS = "mse_fwd with gradient"


def same(make, **options):
    """Eager's bits from the captured steps; returns (names of the program's operations, how many fewer than recorded, those of the loss aside)."""
    eager, _ = train(make, False, **options)
    captured, f = train(make, True, **options)
    for i, (a, b) in enumerate(zip(eager, captured)):
        assert a == b, f"step {i}"
    info = f.info()
    assert info["replays"] >= 1 and not info["eager"]
    assert info["alive"][-1] <= info["temporaries"][-1] <= 1.1 * info["alive"][-1] + 4096
    ops = [name for name, _ in f.operations()[-1]]
    return ops, info["recorded"][-1] - info["operations"][-1] - 2 * ops.count(LOSS)


BASIC = {   # net: (operations fewer in training, of them in evaluation without a gradient)
    "conv": (lambda: Net(lambda m, x: F.relu(m.a(x)), a=conv()), 1, 1),
    "conv of stride 2": (lambda: Net(lambda m, x: F.relu(m.a(x)), a=nn.Conv2d(8, 20, 3, 2)), 1, 1),
    "winograd": (lambda: Net(lambda m, x: F.relu(m.b(F.relu(m.a(x)))), a=conv(32), b=nn.Conv2d(32, 32, 3, padding=1)), 2, 2),
    "linear": (lambda: Net(lambda m, x: F.relu(m.a(x.flatten(1))), a=nn.Linear(336, 9)), 2, 1),
    "sigmoid": (lambda: Net(lambda m, x: m.a(x.flatten(1)).sigmoid(), a=nn.Linear(336, 50)), 2, 1),
    "tanh": (lambda: Net(lambda m, x: m.a(x.flatten(1)).tanh(), a=nn.Linear(336, 33)), 2, 1),
    "matmul": (lambda: Net(lambda m, x: F.relu(x.flatten(1) @ m.a.weight.t()), a=nn.Linear(336, 9, bias=False)), 1, 1),
    "norm": (lambda: Net(lambda m, x: F.relu(m.n(m.a(x))), a=conv(), n=nn.BatchNorm2d(8)), 2, 1),
    "norm of vectors": (lambda: Net(lambda m, x: m.n(m.a(x.flatten(1))).relu(), a=nn.Linear(336, 9), n=nn.BatchNorm1d(9)), 2, 1),
    "norm without weights": (lambda: Net(lambda m, x: F.relu(m.n(m.a(x))), a=conv(), n=nn.BatchNorm2d(8, affine=False)), 2, 1),
    "residual": (lambda: Net(lambda m, x: (lambda s: F.relu(m.n(m.b(s)) + s))(F.relu(m.a(x))), a=conv(), b=conv(), n=nn.BatchNorm2d(8)), 3, 3),
    "shortcut first": (lambda: Net(lambda m, x: F.relu(m.p(m.b(x)) + m.n(m.a(x))), a=conv(), b=conv(), n=nn.BatchNorm2d(8), p=nn.BatchNorm2d(8)), 2, 2),
    "shortcut last": (lambda: Net(lambda m, x: F.relu(m.n(m.a(x)) + m.p(m.b(x))), a=conv(), b=conv(), n=nn.BatchNorm2d(8), p=nn.BatchNorm2d(8)), 2, 2),
}


@pytest.mark.parametrize("name", BASIC)
def test_activations_and_residuals(name):
    make, training, quiet = BASIC[name]
    ops, fewer = same(make)
    assert fewer == training, ops
    if "norm" in name:
        assert not [o for o in ops if o.startswith("relu")], ops
    if "shortcut" in name or name == "residual":
        assert not {"add", "relu_fwd"} & set(ops[:ops.index("mul")]), ops
    ops, fewer = same(make, mode="no_grad")
    assert fewer == quiet, ops
    same(make, mode="eval")
    same(make, dtype=fastnn.float64)


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("threads", [1, 3])
def test_on_every_machine(isa, threads):
    def forward(m, x):
        x = F.relu(m.n(m.a(x)))
        x = F.max_pool2d(F.relu(m.b(F.relu(m.p(m.b(x)) + x))), 2)
        return m.d(m.c(x.flatten(1)).tanh()).sigmoid()
    with machine(isa, threads=threads):
        same(lambda: Net(forward, a=conv(17), b=nn.Conv2d(17, 17, 3, padding=1), n=nn.BatchNorm2d(17), p=nn.BatchNorm2d(17), c=nn.Linear(153, 45),
                         d=nn.Linear(45, 130)))


def wide(c=32, groups=1):
    return nn.Conv2d(c, c, 3, padding=1, groups=groups)


MEET = {    # where the gradients of two branches meet in a filtering's: the block before ends in a sum, in a norm, in a convolution; three branches
    "sum": lambda m, x: (lambda s: F.relu(m.p(m.b(s)) + s))(F.relu(m.n(m.a(x)) + m.c(x))),
    "norm": lambda m, x: (lambda s: F.relu(m.p(m.b(s)) + s))(F.relu(m.n(m.a(x)))),
    "convolution": lambda m, x: (lambda s: F.relu(m.p(m.b(s)) + s))(F.relu(m.a(x))),
    "blocks": lambda m, x: (lambda s: (lambda r: F.relu(m.p(m.b(r)) + r))(F.relu(m.n(m.c(s)) + s)))(F.relu(m.q(m.a(x))))}


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("name", MEET)
def test_gradients_meet(name, isa, threads):
    def make(c, groups):
        return Net(MEET[name], a=nn.Conv2d(8, c, 3, padding=1), b=wide(c, groups), c=nn.Conv2d(8, c, 1) if name == "sum" else wide(c),
                   n=nn.BatchNorm2d(c), p=nn.BatchNorm2d(c), q=nn.BatchNorm2d(c))
    with machine(isa, threads=threads):
        for c, groups, dtype in ((16, 1, fastnn.float32), (48, 1, fastnn.float32), (48, 3, fastnn.float32), (17, 1, fastnn.float64)):    # of 17 the direct form makes it
            ops, _ = same(lambda: make(c, groups), shape=(4, 8, 9, 13), dtype=dtype)
            back = ops[ops.index(LOSS):]
            assert "add" not in back[back.index("winograd_bwd_x"):], ops
            assert back.count("relu_bwd") == 1, ops                     # the last: its gradient is the loss's alone


@pytest.mark.parametrize("size, padding", [(4, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("threads", [1, 3])
def test_gradients_meet_at_a_stride(isa, threads, size, padding):
    """Four phases of a filtering's gradient, each with its pixels of the other branch's, or tiles of all."""
    def forward(m, x):
        s = F.relu(m.a(x))
        return F.relu(m.u(F.relu(m.b(s))) + s)

    def make():
        return Net(forward, a=nn.Conv2d(8, 32, 3, padding=1), b=nn.Conv2d(32, 64, size, 2, padding), u=nn.ConvTranspose2d(64, 32, size, 2, padding, 4 - size))
    with machine(isa, threads=threads):
        for dtype in fastnn.float32, fastnn.float64:
            ops, _ = same(make, shape=(4, 8, 24, 40), dtype=dtype)
            back = ops[ops.index(LOSS):]
            assert back.count("winograd_bwd_x") == 1 and "add" not in back[back.index("winograd_bwd_x"):], ops


def test_gradients_meet_where_filtering_fails():
    """An infinity among the weights: the direct form redoes it all, and the other branch is added then."""
    def forward(m, x):
        with fastnn.no_grad():
            m.b.weight[3, 2, 1, 1] = float("inf")
        s = F.relu(m.a(x))
        return m.b(s).clamp(max=1) + s

    def make():
        return Net(forward, a=nn.Conv2d(8, 32, 3, padding=1), b=wide())
    eager, captured = train(make, False, shape=(4, 8, 12, 12), steps=4)[0], train(make, True, shape=(4, 8, 12, 12), steps=4)
    ops = [name for name, _ in captured[1].operations()[-1]]
    assert "add" not in ops[ops.index("winograd_bwd_x"):], ops
    for i, (a, b) in enumerate(zip(eager, captured[0])):
        for p, q in zip(a[:-1], b[:-1]):
            assert np.array_equal(np.frombuffer(p, np.float32), np.frombuffer(q, np.float32), equal_nan=True), f"step {i}"
    assert np.isnan(np.frombuffer(eager[0][-5], np.float32)).any()         # a's gradient


MEET_NOT = {    # the sum has another reader, or the other branch may hold denormals
    "three branches": lambda m, x: (lambda s: F.relu(m.p(m.b(s)) + m.n(m.c(s)) + s))(F.relu(m.a(x))),
    "product": lambda m, x: (lambda s: F.relu(m.p(m.b(s))) + s * 0.5)(F.relu(m.a(x))),
    "no flush": lambda m, x: (lambda s: F.relu(m.p(m.b(s)) + s))(m.a(x).exp()),
    "halves": lambda m, x: (lambda s: F.relu(m.p(m.b(s)) + fastnn.cat([s[:, 1:], s[:, :1]], 1)))(F.relu(m.a(x)))}


@pytest.mark.parametrize("name", MEET_NOT)
def test_gradients_that_stay_apart(name):
    ops, _ = same(lambda: Net(MEET_NOT[name], a=nn.Conv2d(8, 32, 3, padding=1), b=wide(), c=wide(), n=nn.BatchNorm2d(32), p=nn.BatchNorm2d(32)),
                  shape=(4, 8, 9, 13))
    back = ops[ops.index(LOSS):]
    assert "add" in back[back.index("winograd_bwd_x"):], ops


def test_gradients_kept_where_they_meet():
    """A hook and retain_grad see the sum, which so is made."""
    def forward(m, x):
        m.y = F.relu(m.a(x))
        m.y.retain_grad()
        return F.relu(m.n(m.b(m.y)) + m.y)
    make = lambda: Net(forward, a=nn.Conv2d(8, 32, 3, padding=1), b=wide(), n=nn.BatchNorm2d(32))      # noqa: E731
    after = lambda net: bits(net.y.grad)                                                               # noqa: E731
    assert train(make, False, after=after)[0] == train(make, True, after=after)[0]


def test_in_place_forms():
    def forward(m, x):
        x = F.relu(m.a(x))
        y = m.n(m.b(x))
        y += x
        return F.relu(y, inplace=True)
    ops, fewer = same(lambda: Net(forward, a=conv(), b=conv(), n=nn.BatchNorm2d(8)))
    assert not {"add", "relu_fwd", "copy"} & set(ops[:ops.index("mul")]), ops
    same(lambda: Net(forward, a=conv(), b=conv(), n=nn.BatchNorm2d(8)), mode="no_grad")


@pytest.mark.parametrize("pool", [lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
                                  lambda x: F.max_pool2d(x, 3, 1)], ids=["2", "padded", "overlapping"])
def test_pooling_comes_first(pool):
    """Ties among zeros and negative windows give another tap, and gradients of 0 all the same."""
    def forward(m, x):
        with fastnn.no_grad():
            m.a.weight[0].fill_(0), m.a.bias[:3].fill_(-0.0), m.a.bias[3].fill_(-9)
        return pool(F.relu(m.a(x))) * 2
    ops, _ = same(lambda: Net(forward, a=conv()))
    assert ops.index("max_pool2d_fwd") < ops.index("relu_fwd") and ops.index("relu_bwd") < ops.index("max_pool2d_bwd"), ops
    ops, fewer = same(lambda: Net(forward, a=conv()), mode="no_grad")
    assert "relu_fwd" not in ops


POOLS_THAT_STAY = {
    "dilation": lambda y: F.max_pool2d(F.relu(y), 2, 1, dilation=3),
    "indices": lambda y: sum(F.max_pool2d(F.relu(y), 2, return_indices=True)),
    "read twice": lambda y: (lambda r: F.max_pool2d(r, 2).sum() + r)(F.relu(y)),
    "written": lambda y: (lambda p: (p.detach()[1].fill_(2), p)[1])(F.max_pool2d(F.relu(y), 2))}


@pytest.mark.parametrize("name", POOLS_THAT_STAY)
def test_pooling_stays_behind(name):
    ops, _ = same(lambda: Net(lambda m, x: POOLS_THAT_STAY[name](m.a(x)), a=conv()))
    assert ops.index("relu_bwd") > ops.index("max_pool2d_bwd"), ops


def test_results_that_nobody_reads():
    def forward(m, x):
        m.a(x).exp().sum()
        y = fastnn.zeros(4, 8)
        y[:] = x[:, :, 0, 0] * 2
        return m.b(y.clone().detach() + 0)
    ops, fewer = same(lambda: Net(forward, a=conv(), b=nn.Linear(8, 3)))
    assert not {"conv2d_fwd", "exp", "fill"} & set(ops[:ops.index("dense_fwd")]), ops
    assert ops[:2] == ["mul", "add"], ops


def test_random_numbers_that_nobody_reads_are_counted():
    def forward(m, x):
        fastnn.randn(3)
        return F.dropout(m.a(x), 0.5, True)
    ops, fewer = same(lambda: Net(forward, a=conv()))
    assert fewer == 1 and "normal" not in ops


def test_no_gradient_for_inputs_is_recorded():
    ops, _ = same(lambda: Net(lambda m, x: m.b(F.relu(m.a(x)).flatten(1)), a=conv(), b=nn.Linear(336, 3)))
    assert ops.count("conv2d_bwd_w") == 1 and "conv2d_bwd_x" not in ops


PLACES = {
    "elementwise": lambda x: (((x * 0.1).exp() * 2 + 1).sigmoid() - 0.3).abs().sqrt(), "softmax": lambda x: (x * 2).softmax(1).log_softmax(0),
    "layer_norm": lambda x: F.layer_norm(x * 3, (1000,)) * 2, "group_norm": lambda x: F.group_norm(x * 3, 5) * 2,
    "batch_norm": lambda x: F.relu(F.batch_norm(x * 3, None, None, training=True)) - 1, "dropout": lambda x: F.dropout(x * 3, 0.5, True) * 2}


@pytest.mark.parametrize("name", PLACES)
def test_results_take_their_operands_places(name):
    def step(x):
        with fastnn.no_grad():
            return PLACES[name](x).sum(0)
    f, x, out = fastnn.capture(step), fastnn.randn(100, 1000), []
    for g in (step, f):
        fastnn.manual_seed(0)
        out.append([bits(g(x)) for _ in range(5)])
    assert out[0] == out[1]
    assert f.info()["temporaries"][0] < 1.4 * 400_000, f.operations()


# ---- what is seen from outside stays --------------------------------------------------------------------------------------

KEEPS = {
    "normed": lambda kept, m, x: (lambda y: (kept.append(y), F.relu(y))[1])(m.n(m.a(x))),
    "convolved": lambda kept, m, x: (lambda y: (kept.append(y.detach()), F.relu(m.n(y)))[1])(m.a(x)),
    "sum": lambda kept, m, x: (lambda y: (kept.append(y), F.relu(y))[1])(m.n(m.a(x)) + F.relu(x)),
    "pooled": lambda kept, m, x: (lambda y: (kept.append(y), F.max_pool2d(y, 2))[1])(F.relu(m.a(x))),
    "copied": lambda kept, m, x: (lambda y: (kept.append(y.clone()), y * 2)[1])(m.n(m.a(x))),
    "view": lambda kept, m, x: (lambda y: (kept.append(y[1:]), F.relu(y))[1])(m.n(m.a(x))),
}


@pytest.mark.parametrize("name", KEEPS)
def test_kept_in_a_list(name):
    """What the user took out of the second recording shows the latest replay's values, as it always did."""
    kept = []

    def look(net):
        now = bits(kept[-1])
        return now
    for mode in ("train", "no_grad"):
        same(lambda: Net(lambda m, x: KEEPS[name](kept, m, x), a=conv(), n=nn.BatchNorm2d(8)), after=look, mode=mode)


def test_what_was_kept_and_dropped_is_not_written_over():
    """A replay writes where a kept tensor lay; the memory is not given to a later recording, whose gradients would suffer."""
    w, kept = fastnn.ones(1000, requires_grad=True), []

    def step(x):
        y = x * 3
        kept.append(y)
        if fastnn.is_grad_enabled():
            (w * y).sum().backward()
        return y.sum()
    f, x = fastnn.capture(step), fastnn.ones(1000)
    with fastnn.no_grad():
        for _ in range(3):
            f(x)
    kept.clear()
    for _ in range(3):
        w.grad = None
        f(x * 2)
    g = bits(w.grad)
    with fastnn.no_grad():
        f(x * 5)
    assert bits(w.grad) == g


def test_gradients_kept_by_hooks():
    """The gradient between ReLU and the norm is seen by a hook that keeps it."""
    grads = []

    def make():
        net = Net(lambda m, x: F.relu(m.n(m.a(x))), a=conv(), n=nn.BatchNorm2d(8))
        net.n.register_full_backward_hook(lambda module, dx, dy: grads.append(dy[0]))
        return net
    ops, _ = same(make, after=lambda net: bits(grads[-1]))
    assert "relu_bwd" in ops, ops


def test_retained_gradients():
    def forward(m, x):
        m.y = m.n(m.a(x))
        m.y.retain_grad()
        return F.relu(m.y)
    make = lambda: Net(forward, a=conv(), n=nn.BatchNorm2d(8))                                         # noqa: E731
    after = lambda net: (bits(net.y), bits(net.y.grad))                                                # noqa: E731
    assert train(make, False, after=after)[0] == train(make, True, after=after)[0]


TRAPS = {   # what looks like a pattern and is not: the operation that must remain
    "norm read twice": (lambda m, x: (lambda y: F.relu(y) + y)(m.n(m.a(x))), "relu_fwd"),
    "norm written after": (lambda m, x: (lambda y: (F.relu(y), y.detach().add_(1)))(m.n(m.a(x)))[0], "relu_fwd"),
    "sum read twice": (lambda m, x: (lambda t: F.relu(t) * t)(m.n(m.a(x)) + m.a(x)), "add"),
    "scaled sum": (lambda m, x: F.relu(fastnn.add(m.n(m.a(x)), m.a(x), alpha=0.5)), "add"),
    "broadcast sum": (lambda m, x: F.relu(m.n(m.a(x)) + m.a(x)[:1]), "add"),
    "input as residual": (lambda m, x: F.relu(m.n(m.a(x)) + x), "add"),
    "relu of a part": (lambda m, x: F.relu(m.a(x)[:, 1:3]), "relu_fwd"),
    "relu turned": (lambda m, x: F.relu(m.n(m.a(x)).permute(1, 0, 2, 3).contiguous()), "relu_fwd"),
    "relu of a copy that lives beside": (lambda m, x: (lambda y: F.relu(y.clone()) * y)(m.n(m.a(x))), "relu_fwd"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps(name):
    forward, stays = TRAPS[name]
    ops, _ = same(lambda: Net(forward, a=conv(), n=nn.BatchNorm2d(8)))
    assert stays in ops, ops


def test_denormals_of_a_residual_are_kept():
    """The norm flushes them, a sum does not: beside numbers as small they count."""
    def forward(m, x):
        return F.relu(m.n(m.a(x)) + x)
    with fastnn.no_grad():
        make = lambda: Net(forward, a=nn.Conv2d(2, 2, 1), n=nn.BatchNorm2d(2, affine=False))           # noqa: E731
        fastnn.manual_seed(0)
        net = make()
        net.n.running_var.fill_(1e30)
        net.eval()
        f = fastnn.capture(lambda x: F.relu(net.n(net.a(x) * 1e-22) + x))
        for _ in range(4):
            x = fastnn.randn(2, 2, 3, 3) * 1e-39
            assert bits(f(x)) == bits(F.relu(net.n(net.a(x) * 1e-22) + x))


def test_random_graphs():
    """Nets put together by chance, of what the rules look for and what disturbs them."""
    rng = np.random.default_rng(0)
    for trial in range(40):
        choice = rng.integers(0, 12, 9)

        def forward(m, x, choice=choice):
            held = [m.a(x)]
            for i, c in enumerate(choice):
                y, other = held[-1], held[int(c) * 7 % len(held)]
                y = (F.relu(y), m.n(y), m.a(y), y + other, y.clone(), F.relu(m.n(y) + other), F.relu(m.p(y)), y * 0.5, other + m.p(y), F.relu(m.a(y)),
                     F.max_pool2d(F.relu(m.a(y)), 3, 1, 1), y.clone().add_(other).relu_())[c]
                held.append(y)
            return held[-1]
        make = lambda: Net(forward, a=conv(), n=nn.BatchNorm2d(8), p=nn.BatchNorm2d(8))                 # noqa: E731
        same(make, shape=(3, 8, 4, 5), mode=("train", "no_grad", "eval")[trial % 3], steps=4, dtype=(fastnn.float32, fastnn.float64)[trial % 2])


# ---- memory --------------------------------------------------------------------------------------------------------------

def test_memory_is_what_is_alive():
    """Programs of one function share an area as large as the largest needs; beside it lie inputs alone."""
    fastnn.manual_seed(0)
    net = Net(lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))), a=nn.Conv2d(8, 32, 3, padding=1), b=nn.Conv2d(32, 32, 3, padding=1), c=nn.Conv2d(32, 8, 1))

    def step(x):
        net.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        return loss
    f, sizes = fastnn.capture(step), []
    for n in (64, 48, 16, 64, 48, 16, 64, 48, 16, 64):
        f(fastnn.randn(n, 8, 32, 32))
        sizes.append(f.info()["arena_bytes"])
    info = f.info()
    assert info["programs"] == 3 and info["replays"] >= 1
    inputs = (64 + 48 + 16) * 8 * 32 * 32 * 4
    assert sizes[-1] <= 1.1 * max(info["alive"]) + inputs + 3 * 2 ** 21, (sizes, info)


def test_area_moves_with_recordings():
    """Programs recorded between replays of others: each finds its temporaries where the area is then."""
    w = fastnn.randn(64, 64)
    f = fastnn.capture(lambda x: ((x @ w).tanh() @ w).softmax(1) @ w)
    for n in (100, 100, 100, 300, 100, 300, 100, 300, 50, 100, 50, 300, 50, 100, 700, 700, 700, 50, 100, 300):
        x = fastnn.randn(n, 64)
        assert bits(f(x)) == bits(((x @ w).tanh() @ w).softmax(1) @ w)
    assert f.info()["programs"] == 4


def test_pointers_are_those_of_args_h():
    """How many words are pointers, and how many of them not const, as the structs say."""
    root = Path(__file__).resolve().parent.parent
    table = dict(re.findall(r'"(\w+)": \(([^)]*)\)', re.search(r"_POINTERS = \{(.*?)\}", (root / "fastnn/_tape.pxi").read_text(), re.S)[1]))
    assert len(table) > 10
    for family, numbers in table.items():
        body = re.search(r"typedef struct \{((?:(?!typedef).)*)\} fn_%s_args;" % family, (root / "csrc/args.h").read_text(), re.S)[1]
        written = []
        for line in re.sub(r"/\*.*?\*/", "", body, flags=re.S).split(";"):
            if "*" not in line:
                if line.strip():
                    break
                continue
            count = sum(8 if "[" in name else 1 for name in line.split(","))
            written += ["const" not in line] * count
        assert not any(written[sum(written):]), family
        assert [eval(n, {"FN_DIMS": 8}) for n in numbers.split(",")] == [len(written), sum(written)], family
