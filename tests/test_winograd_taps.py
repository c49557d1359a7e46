"""csrc/winograd_taps.c: tiles of each size of taps, whole and over every rim, against the direct form's integers; and lines as conv1d has them."""
import numpy as np
import pytest

import fastnn
from check import check_op, machine
from fastnn import kernels
from fastnn.nn import functional as F

# filters, strides: 3x3, 2x2, 4x4, 5x5 and 5x3 taps, lines, both phases in a tile, and a phase in each
FILTERS = [(3, 3, 1), (2, 2, 1), (4, 4, 1), (5, 5, 1), (5, 3, 1), (1, 3, 1), (1, 4, 1), (1, 5, 1), (3, 3, 2), (4, 4, 2), (5, 6, 2), (7, 8, 2), (9, 5, 2), (10, 6, 2)]


@pytest.mark.parametrize("R, S, stride", FILTERS)
def test_every_rim(R, S, stride, isa):
    """Of so many rows and columns that a tile's outputs end at each of its own."""
    rng = np.random.default_rng(R * S)
    w, b = rng.integers(-3, 4, (48, 32, R, S)).astype(np.float64), rng.integers(-3, 4, 48).astype(np.float64)
    taken = [0, 0, 0]
    with machine(isa):
        for more in range(5 * stride):
            H = 1 if R == 1 else (12 if R == 3 else 4) * stride + R + more
            W = (40 if R == 1 else 13 if R == 3 else 5) * stride + S + (3 * more) % (5 * stride)
            x, options = rng.integers(-3, 4, (3 if R > 3 else 6, 32, H, W)).astype(np.float64), {"stride": stride, "padding": (more % R, (2 * more) % S)}
            y, want = (kernels.conv2d_forward(x, w, b, **options, winograd=win) for win in (True, False))
            dy = rng.integers(-3, 4, y.shape).astype(np.float64)
            pairs = [(y, want), *zip(*(kernels.conv2d_backward(dy, x, w, **options, winograd=win)[:2] for win in (True, False)))]
            for i, (got, want) in enumerate(pairs):
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-8, err_msg=f"{('y', 'dx', 'dw')[i]} of {x.shape}, {options}")
                taken[i] += not np.array_equal(got, want)
    assert taken[0] and taken[1] and bool(taken[2]) == (-(-R // stride) < 5 and -(-S // stride) < 5)


def lines(x, w, b, stride, padding, dilation):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
    Q = (x.shape[2] - dilation * (w.shape[2] - 1) - 1) // stride + 1
    return b[:, None] + sum(np.einsum("ncq,kc->nkq", x[:, :, s * dilation:s * dilation + (Q - 1) * stride + 1:stride], w[:, :, s]) for s in range(w.shape[2]))


@pytest.mark.parametrize("channels, filters, size, padding, dilation", [(32, 48, 3, 1, 1), (16, 32, 3, 8, 8), (64, 16, 5, 2, 1), (32, 32, 4, 0, 2), (48, 16, 5, 8, 4), (20, 32, 3, 1, 1),
                                                                        (32, 20, 3, 2, 2)])
def test_lines(channels, filters, size, padding, dilation):
    """conv1d and its gradients, of row-major lines, turned ones and every other number of some, and where vectors of channels are not whole."""
    rng = np.random.default_rng(size)
    arrays = [rng.standard_normal(n) for n in ((3, channels, 75), (filters, channels, size), (filters,))]
    check_op(lambda x, w, b: F.conv1d(x, w, b, padding=padding, dilation=dilation), lambda x, w, b: lines(x, w, b, 1, padding, dilation), *arrays,
             op="conv2d_fwd" if 20 in (channels, filters) else "winograd_fwd", tol=40, bound=lambda *a: lines(*map(np.abs, a), 1, padding, dilation), grads=(0, 1, 2), layouts=("contiguous", "transposed", "sliced"))


@pytest.mark.parametrize("dilation", [1, 3])
def test_transposed_lines(dilation):
    """conv_transpose1d is conv1d's gradient, and the reverse."""
    fastnn.manual_seed(0)
    x, w, g = (fastnn.randn(*n, dtype=fastnn.float64, requires_grad=True) for n in ((3, 32, 80), (48, 32, 3), (3, 48, 80)))
    y = F.conv1d(x, w, padding=dilation, dilation=dilation)
    dx, dw = fastnn.autograd.grad(y, (x, w), g.detach())
    z = F.conv_transpose1d(g, w, padding=dilation, dilation=dilation)
    dg, dv = fastnn.autograd.grad(z, (g, w), x.detach())
    for a, b in ((z, dx), (dg, y), (dv, dw)):
        assert a.shape == b.shape and (a - b).abs().max().item() < 1e-11
