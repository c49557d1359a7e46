"""fastnn selftest: a handful of results of this installation against their plain meaning, in NumPy."""
import os
import tempfile

import numpy as np

import fastnn
from fastnn import nn, optim


def _close(got, want, tolerance):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return got.shape == want.shape and bool(np.all(np.abs(got - want) <= tolerance * (1 + np.abs(want))))


def _inputs(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [fastnn.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


def matrix_product():
    """a matrix product against float64, on every instruction set"""
    a, b = _inputs(0, (65, 130), (130, 37))
    want = a.numpy().astype(np.float64) @ b.numpy().astype(np.float64)
    before, good = fastnn._core.get_isa(), True
    try:
        for isa in fastnn._core.isas():
            fastnn._core.set_isa(isa)
            good = good and _close((a @ b).numpy(), want, 1e-4)
    finally:
        fastnn._core.set_isa(before)
    return good


def gradients():
    """gradients of a small network against finite differences, in float64"""
    x, = _inputs(1, (6, 5))
    x, y = x.double(), fastnn.tensor([0, 1, 2, 0, 1, 2])
    net, loss = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double(), nn.CrossEntropyLoss()
    loss(net(x), y).backward()
    for p in net.parameters():
        flat, grad = p.data.view(-1), p.grad.view(-1).tolist()
        for i in range(flat.numel()):
            at, sides = flat[i].item(), []
            for h in (1e-6, -1e-6):
                flat[i] = at + h
                sides.append(loss(net(x), y).item())
            flat[i] = at
            if not _close((sides[0] - sides[1]) / 2e-6, grad[i], 1e-6):
                return False
    return True


def _trained(steps, threads, captured):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        generator = fastnn.Generator().manual_seed(3)
        net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))
        for p in net.parameters():
            nn.init.uniform_(p, -0.1, 0.1, generator=generator)
        loss, adam = nn.CrossEntropyLoss(), optim.Adam(net.parameters())

        def step(x, y):
            adam.zero_grad()
            value = loss(net(x), y)
            value.backward()
            adam.step()
            return value
        step = fastnn.capture(step) if captured else step
        x, = _inputs(4, (128, 64))
        y = fastnn.from_numpy(np.arange(128) % 10)
        losses = [step(x, y).item() for _ in range(steps)]
        return losses, [p.detach().numpy().copy() for p in net.parameters()]
    finally:
        fastnn.set_num_threads(before)


def same_bits():
    """the same training, bit for bit, eager and captured, with 1, 2 and 3 threads"""
    losses, want = _trained(6, 1, False)
    runs = [_trained(6, threads, captured) for threads in (1, 2, 3) for captured in (False, True)]
    return losses[-1] < losses[0] and all(run[0] == losses and all(map(np.array_equal, run[1], want)) for run in runs)


def files():
    """tensors through a file"""
    value = {"a": fastnn.arange(5), 3: [fastnn.ones(2, 2).double(), None, (1.5, "x")]}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.safetensors")
        fastnn.save(value, path)
        back = fastnn.load(path)
    return (list(back) == ["a", 3] and np.array_equal(back["a"].numpy(), np.arange(5))
            and back[3][0].dtype is fastnn.float64 and np.array_equal(back[3][0].numpy(), np.ones((2, 2)))
            and back[3][1:] == [None, (1.5, "x")])


CHECKS = (matrix_product, gradients, same_bits, files)


def run():
    """Run all checks, print a line for each; returns whether all passed."""
    good = True
    for check in CHECKS:
        try:
            passed, why = check(), ""
        except Exception as error:
            passed, why = False, f": {type(error).__name__}: {error}"
        good = good and passed
        print(f"{'ok' if passed else 'FAILED':<7} {check.__doc__}{why}")
    return good
