"""fastnn/_fusion_step.pxi: a weight that takes its step where its gradient is made has the eager step's bits; traps are left alone."""
import numpy as np
import pytest

import fastnn
import ref
from check import REALS, compare, machine
from fastnn import _core, nn, optim
from fastnn.nn import functional as F

KINDS = {"SGD": dict(lr=0.1), "momentum": dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), "Adam": dict(lr=0.01),
         "AdamW": dict(lr=0.01, amsgrad=True), "RMSprop": dict(lr=0.01, centered=True, momentum=0.5), "Adagrad": dict(lr=0.1, maximize=True)}
OPS = {"sgd", "adam", "rmsprop", "adagrad"}


def optimizer_of(kind, params):
    return getattr(optim, "SGD" if kind == "momentum" else kind)(params, **KINDS[kind])


def bits(t):
    return None if t is None else t.detach().numpy().tobytes()


def mlp(*sizes, bias=True):
    return nn.Sequential(*sum([[nn.Linear(i, o, bias=bias), nn.Tanh()] for i, o in zip(sizes, sizes[1:])], [])[:-1])


def train(make, captured, kind="momentum", batch=6, dtype="float32", zero="last", step=None, steps=6):
    """([losses, parameters, gradients, state] of each step, the captured function). step(net, optimizer, loss): what follows the forward."""
    fastnn.manual_seed(1)
    net = make().to(getattr(fastnn, dtype))
    optimizer = optimizer_of(kind, net.parameters())

    def one(x):
        if zero == "first":
            optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        if step:
            loss = step(net, optimizer, loss)
        else:
            loss.backward()
            optimizer.step()
        if zero != "first":
            optimizer.zero_grad(set_to_none=zero == "last")
        return loss
    f, history = fastnn.capture(one) if captured else one, []
    width = next(net.parameters()).shape[-1]
    for _ in range(steps):
        y = f(fastnn.randn(batch, width, dtype=getattr(fastnn, dtype)))
        history.append([*map(bits, y if isinstance(y, tuple) else [y]), *map(bits, net.parameters()), *[bits(p.grad) for p in net.parameters()],
                        *[bits(t) for s in optimizer.state.values() for t in s.values()]])
    return history, f


def same(make, **options):
    """Eager's bits from the captured steps; the names of the program's operations."""
    want = train(make, False, **options)[0]
    got, f = train(make, True, **options)
    for i, (a, b) in enumerate(zip(want, got)):
        assert a == b, f"step {i}"
    assert f.info()["replays"] >= 2 and not f.info()["eager"]
    return [name for name, _ in f.operations()[-1]]


@pytest.mark.parametrize("zero", ["first", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer(kind, zero):
    for dtype in REALS:
        ops = same(lambda: mlp(20, 300, 33, 3), kind=kind, zero=zero, dtype=dtype)
        assert ops.count("dense_step") == 3 and not OPS & set(ops) and "dense_bwd_w" not in ops, ops
        assert ops.count("optim_tick") == (kind != "SGD") and (kind == "SGD" or ops.index("optim_tick") < ops.index("dense_step")), ops


@pytest.mark.parametrize("outputs", [1, 2, 10, 64])
def test_few_outputs_of_wide_rows(outputs):
    """Their gradient is one sum over the batch, eager and fused, though c is small and both operands are large."""
    for batch in (130, 250):
        assert same(lambda: mlp(1024, outputs), batch=batch).count("dense_step") == 1


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("batch, sizes", [(1, (784, 300, 17)), (1, (5003, 9)), (1, (3, 700, 2)), (1, (40, 1100, 130, 1050, 5)), (2, (1, 1, 5)), (3, (33, 150, 1)),
                                          (64, (130, 71, 10)), (300, (45, 340, 16)), (1023, (7, 40))])
def test_shapes_and_threads(isa, batch, sizes):
    for bias in (True, False):
        for zero in ("first", "last"):
            for threads in (1, 2, 3, 7):
                with machine(isa, threads):
                    ops = same(lambda: mlp(*sizes, bias=bias), batch=batch, zero=zero, kind="Adam")
                    assert ops.count("dense_step") == len(sizes) - 1, ops
                    assert ops.count("dense_bwd_x") == (0 if batch == 1 else len(sizes) - 2), ops     # a single row's is made with the step


@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_meaning(kind, dtype):
    steps = {"SGD": lambda p, g: ref.sgd(p, g, **KINDS[kind])[0], "Adam": lambda p, g: ref.adam(p, g, 0, 0, 1, **KINDS[kind])[0],
             "RMSprop": lambda p, g: ref.rmsprop(p, g, 0 * p, 0 * p, 0 * p, lr=0.01, centered=True, momentum=0.5)[0],
             "Adagrad": lambda p, g: ref.adagrad(p, g, 0 * p, 1, **KINDS[kind])[0]}
    for isa in _core.isas():
        with machine(isa):
            fastnn.manual_seed(0)
            layer = nn.Linear(21, 13).to(getattr(fastnn, dtype))
            x, dy = (fastnn.randn(5, n, dtype=layer.weight.dtype) for n in (21, 13))
            first = [p.detach().clone() for p in layer.parameters()]

            def step(x, dy):
                layer(x).backward(dy)
                optimizer.step()
                optimizer.zero_grad()
            f = None
            for _ in range(3):                                         # recorded twice, then replayed; each from the beginning
                with fastnn.no_grad():
                    for p, start in zip(layer.parameters(), first):
                        p.copy_(start)
                if f is None:
                    optimizer = optimizer_of(kind, layer.parameters())
                    f = fastnn.capture(step)
                elif kind != "SGD":
                    for state in optimizer.state.values():
                        for t in state.values():
                            t.zero_()
                f(x, dy)
            assert f.info()["replays"] == 1 and ("dense_step", dtype) in f.operations()[0]
            wide = [t.numpy().astype(float) for t in (*first, dy, x)]
            for got, want in zip(layer.parameters(), ref.dense_step(steps[kind], *wide)):
                compare(got.detach(), want, dtype, tol=60, bound=np.abs(want) + 1, what=f"{kind} {isa}")


def test_options_change_between_replays():
    """The learning rate, a frozen layer, a loaded state: what a captured step follows, it follows here."""
    def run(captured):
        fastnn.manual_seed(0)
        net = mlp(9, 40, 4)
        optimizer, out = optim.Adam(net.parameters(), lr=0.1), []

        def one(x):
            loss = (net(x) ** 2).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss
        f = fastnn.capture(one) if captured else one
        for i in range(16):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + i)
            net[0].weight.requires_grad_(i not in (6, 7, 8, 9))
            if i == 11:
                optimizer.load_state_dict(saved)
            out.append([bits(f(fastnn.randn(5, 9))), *map(bits, net.parameters())])
            if i == 3:
                saved = optimizer.state_dict()
        return out
    assert run(False) == run(True)


def after_backward(act):
    """A step that does something between backward() and optimizer.step(), and returns what it gives beside the loss."""
    def step(net, optimizer, loss):
        loss.backward()
        seen = act(net, optimizer)
        optimizer.step()
        return loss if seen is None else (loss, seen)
    return step


def twice(net, optimizer, loss):
    loss.backward(retain_graph=True)
    loss.backward()
    optimizer.step()
    return loss


def stepped_twice(net, optimizer, loss):
    loss.backward()
    optimizer.step()
    optimizer.step()
    return loss


TRAPS = {   # name: (step, dense_step's that remain of the two layers)
    "weight read": (after_backward(lambda net, o: net[0].weight.detach().sum()), 1),
    "part of a weight read": (after_backward(lambda net, o: net[0].weight.detach()[1:, 2] * 2), 1),
    "weight read by another layer": (after_backward(lambda net, o: F.linear(fastnn.ones(2, 9), net[0].weight.detach())), 1),
    "state read": (after_backward(lambda net, o: o.state[net[2].weight]["momentum_buffer"] * 1), 1),
    "weight written": (after_backward(lambda net, o: net[2].weight.detach().mul_(0.5)), 1),
    "gradient read": (after_backward(lambda net, o: net[0].weight.grad.abs().sum()), 1),
    "gradient scaled": (after_backward(lambda net, o: (net[0].weight.grad.mul_(0.5), None)[1]), 1),
    "clipped": (after_backward(lambda net, o: nn.utils.clip_grad_norm_(net.parameters(), 0.1)), 0),
    "accumulated": (twice, 0),
    "two steps": (stepped_twice, 0)}


@pytest.mark.parametrize("zero", ["first", "last"])
@pytest.mark.parametrize("name", TRAPS)
def test_traps(name, zero):
    step, remain = TRAPS[name]
    ops = same(lambda: mlp(9, 40, 4), step=step, zero=zero)
    assert ops.count("dense_step") == remain, ops


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.b(F.linear(self.a(x), self.a.weight))


class Flat(nn.Module):
    """Two weights lie in one storage: the input gradient of a names b's."""

    def __init__(self):
        super().__init__()
        self.first, self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        flat = fastnn.randn(128)
        self.a.weight, self.b.weight = (nn.Parameter(t.view(8, 8)) for t in (flat[:64], flat[64:]))

    def forward(self, x):
        return self.b(self.a(self.first(x)))


class Hyper(nn.Module):
    """One layer's weight is another's input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8, bias=False), nn.Linear(8, 5, bias=False)

    def forward(self, x):
        return self.b(self.a.weight.detach()) * self.a(x).sum()


@pytest.mark.parametrize("make, remain", [(Tied, 1), (Flat, 2), (Hyper, 1)])
def test_weights_that_are_known_twice(make, remain):
    ops = same(make, batch=3)
    assert ops.count("dense_step") == remain, ops


def test_two_optimizers():
    """Each steps the one weight: neither may go first."""
    def step(net, optimizer, loss):
        loss.backward()
        net.other.step()
        optimizer.step()
        return loss

    def make():
        net = mlp(9, 40, 4)
        net.other = optim.SGD(net.parameters(), lr=0.01)
        return net
    assert "dense_step" not in same(make, step=step)


def test_gradients_that_are_added_to_stay():
    """zero_grad(set_to_none=False) leaves gradients that lie outside of the step."""
    assert "dense_step" not in same(lambda: mlp(9, 40, 4), zero="zeros")


@pytest.mark.parametrize("batch, width", [(1024, 4), (700, 500)])
def test_long_batches_stay(batch, width):
    """Their sums are cut in parts, or x does not lie in the cache."""
    assert "dense_step" not in same(lambda: mlp(width, 3), batch=batch)


def test_a_gradient_that_nobody_sees_has_no_memory():
    """A step that ends with zero_grad does not hold dw."""
    alive = {}
    for zero in ("first", "last"):
        _, f = train(lambda: mlp(500, 2000, 4), True, zero=zero)
        alive[zero] = f.info()["temporaries"][0] + f.info()["arena_bytes"]
    assert alive["first"] - alive["last"] > 3 << 20


@pytest.mark.parametrize("zero", ["first", "last"])
def test_rows_of_a_large_weight(zero):
    """Threads make their rows of dw at the same time, each in scratch of its own."""
    for threads in (2, 3):
        with machine(threads=threads):
            ops = same(lambda: mlp(784, 900, 10), batch=96, zero=zero, kind="Adam")
            assert ops.count("dense_step") == 2, ops
