"""csrc/max_pool.c: which tap wins, and windows side by side; test_pool.py has what both pools have in common."""
import numpy as np
import pytest

import fastnn
from check import THREADS, machine, same_bits
from fastnn import _core
from fastnn.nn import functional as F


def test_what_wins():
    """Of equals the first, of NaN the last, -inf where there is nothing larger; zeros are equals."""
    inf, nan = float("inf"), float("nan")
    for layout in (lambda x: x, _core.nhwc):
        for isa in _core.isas():
            for row, where in (([1, 3, 3, 2], 1), ([nan, 5, nan, 7], 2), ([-inf] * 4, 0), ([0., -0., 0., -0.], 0),
                               ([-inf, nan, inf, inf], 1), ([2, inf, inf, 1], 1)):
                with machine(isa):
                    x = fastnn.tensor([row] * 20, dtype=fastnn.float32).view(1, 20, 1, 4)           # a vector of channels and more
                    y, k = F.max_pool2d(layout(x.clone()), (1, 4), return_indices=True)
                    assert set(k.view(-1).tolist()) == {where}
                    same_bits(y.reshape(20), x[0, :, 0, where])
                    y, k = F.max_pool2d(layout(x.view(1, 1, 1, 80)), (1, 4), return_indices=True)
                    assert k.view(-1).tolist() == [where + 4 * i for i in range(20)]


@pytest.mark.parametrize("k, pad, step", (((2, 2), (0, 0), 2), ((3, 3), (0, 0), 2), ((3, 3), (1, 1), 2), ((5, 3), (2, 1), 2), ((4, 3), (1, 1), 2),
                                          ((3, 3), (0, 0), 3), ((5, 4), (2, 2), 3), ((2, 2), (1, 1), 5), ((4, 5), (0, 2), 17), ((2, 33), (1, 9), 3),
                                          ((7, 40), (3, 20), 1), ((7, 40), (2, 18), 2), ((7, 47), (0, 0), 4)), ids=str)
def test_windows_side_by_side(k, pad, step):
    """A vector of windows at a time, the first of a row that begins in the padding, and windows from the maxima of columns give the bits of taps
    that contend one after another: zeros of both signs, infinities, NaN."""
    rng = np.random.default_rng(k)
    R, S = k
    for W in [W for W in (5, 32, 33, 47, 80) if W + 2 * pad[1] >= S]:
        for values in ([0., -0., -1.], [0., -0., -1., np.inf, -np.inf], [-np.inf], [1., -0., np.inf, -np.inf, np.nan]):
            x = rng.choice(values, (2, 18, 7, W)).astype("float32")
            if len(values) == 5 and np.isnan(values[4]):
                x[:, ::2][np.isnan(x[:, ::2]) & (rng.random(x[:, ::2].shape) < 0.98)] = -1              # windows without NaN, and of one
            wide = np.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
            lies = np.pad(np.ones((7, W), bool), ((pad[0],) * 2, (pad[1],) * 2))
            best, which = np.full((2, 18, (wide.shape[2] - R) // step + 1, (wide.shape[3] - S) // step + 1), -np.inf, "float32"), None
            for tap, (r, s) in enumerate(np.ndindex(R, S)):
                rows, columns = slice(r, r + step * best.shape[2] - step + 1, step), slice(s, s + step * best.shape[3] - step + 1, step)
                v, there = wide[:, :, rows, columns], lies[rows, columns]
                wins = there & ((v > best) | np.isnan(v))
                which = np.full(best.shape, -1) if which is None else which
                best, which = np.where(wins, v, best), np.where(wins | (there & (which < 0)), tap, which)
            p, q = np.ogrid[:best.shape[2], :best.shape[3]]
            where = (step * p - pad[0] + which // S) * W + step * q - pad[1] + which % S
            for dtype in ("float32", "float64"):
                for isa in _core.isas():
                    for layout in (lambda x: x, _core.nhwc):
                        with machine(isa):
                            y, flat = F.max_pool2d(layout(fastnn.tensor(x.astype(dtype))), k, step, pad, return_indices=True)
                            same_bits(y.contiguous(), fastnn.tensor(best.astype(dtype)))
                            assert (flat.numpy() == where).all()


@pytest.mark.parametrize("C", range(1, 10))
def test_few_channels_last_as_row_major(C):
    """2x2 windows side by side in a vector give the bits of the row-major form: ties, NaN, odd rows and columns that no window holds."""
    rng = np.random.default_rng(C)
    for shape in ((2, C, 4, 4), (3, C, 7, 9), (1, C, 2, 3), (2, C, 28, 28)):
        x = rng.integers(-3, 4, shape).astype("float32")
        x[rng.random(shape) < 0.05] = np.nan
        for dtype in ("float32", "float64"):
            for isa in _core.isas():
                for threads in THREADS:
                    with machine(isa, threads):
                        rows = fastnn.tensor(x.astype(dtype), requires_grad=True)
                        last = _core.nhwc(rows.detach()).requires_grad_()
                        for leaf in (rows, last):
                            y, leaf.where = F.max_pool2d(leaf, 2, return_indices=True)
                            y.backward(fastnn.arange(y.numel(), dtype=y.dtype).reshape(y.shape))
                            leaf.y = y.detach()
                        for name in ("y", "where", "grad"):
                            same_bits(getattr(last, name).contiguous(), getattr(rows, name))
