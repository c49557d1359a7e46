"""csrc/winograd_fold.c: few channels from images of any layout and width. What becomes of them is in test_winograd.py."""
import numpy as np
import pytest
from test_winograd import FOLDED, operands

import fastnn
from fastnn import _core, kernels


@pytest.mark.parametrize("layout", range(4))
def test_layouts_of_few_channels(layout):
    """Rows that lie as they should, channels side by side, every other image and column, turned columns: the same bits."""
    x, w, b, options = operands(FOLDED[0], "float32")
    y = kernels.conv2d_forward(x, w, b, **options)
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(np.float32)
    laid = fastnn.from_numpy([x, x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), np.repeat(np.repeat(x, 2, 0), 2, 3)[::2, :, :, ::2],
                              x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)][layout])
    assert np.array_equal(laid.numpy(), x)
    given = laid, fastnn.from_numpy(w), fastnn.from_numpy(b)
    assert np.array_equal(_core.conv2d_fwd(*given, 2, 3).numpy(), y)
    for g in fastnn.from_numpy(dy), _core.nhwc(fastnn.from_numpy(dy)):
        for a, c in zip(_core.conv2d_bwd_w(g, laid, w.shape, 2, 3), kernels.conv2d_backward(dy, x, w, **options)[1:]):
            assert np.array_equal(a.numpy(), c)


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("stride, size", [(2, 7), (3, 9), (4, 11)])
def test_widths(stride, size, isa):
    """Rows that are shorter than a vector, whole ones and all between, at each place beside the rim: integers, whose sums are exact."""
    before, rng = _core.get_isa(), np.random.default_rng(stride)
    w = rng.integers(-4, 5, (64, 3, size, size)).astype(np.float64)
    _core.set_isa(isa)
    try:
        for width in range(size, size + 36):
            x, options = rng.integers(-4, 5, (12, 3, 2 * size + 5, width)).astype(np.float64), {"stride": stride, "padding": (size // 2, width % size)}
            y = kernels.conv2d_forward(x, w, **options, winograd=False)
            assert np.abs(kernels.conv2d_forward(x, w, **options) - y).max() < 1e-8
            dy = rng.integers(-4, 5, y.shape).astype(np.float64)
            dw, want = (kernels.conv2d_backward(dy, x, w, **options, winograd=win)[1] for win in (True, False))
            assert np.abs(dw - want).max() < 1e-7 and (width < 3 * size or not np.array_equal(dw, want))
    finally:
        _core.set_isa(before)
