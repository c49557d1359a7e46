"""csrc/depthwise.c: convolutions whose groups are channels, forward and the gradient of input, over planes and over channels."""
import numpy as np
import pytest

import fastnn
import ref
from check import THREADS, compare, laid_images, machine, same_bits
from fastnn import _core
from fastnn.nn import functional as F

# x, filter, channels out of one, stride, padding, dilation
SHAPES = [((3, 5, 14, 14), (3, 3), 1, (1, 1), (1, 1), (1, 1)),           # tiles of seven rows
          ((2, 17, 9, 33), (3, 3), 1, (2, 2), (1, 1), (1, 1)),           # two rows or two segments of columns in turn
          ((2, 33, 8, 7), (3, 3), 1, (2, 1), (1, 2), (1, 1)), ((1, 20, 10, 13), (5, 5), 1, (1, 1), (2, 2), (1, 1)),
          ((2, 3, 15, 16), (3, 3), 1, (1, 1), (2, 2), (2, 2)), ((2, 4, 11, 40), (2, 7), 1, (3, 3), (0, 3), (1, 2)),
          ((1, 18, 23, 6), (9, 1), 1, (1, 1), (4, 0), (2, 1)), ((1, 3, 90, 130), (3, 3), 1, (1, 1), (1, 1), (1, 1)),       # blocks of rows
          ((1, 2, 3, 6007), (1, 5), 1, (1, 1), (0, 2), (1, 1)),          # windows of columns
          ((1, 2, 2, 13001), (2, 3), 1, (1, 2), (0, 9), (1, 3)), ((1, 2, 1, 19001), (1, 4), 1, (1, 3), (0, 5), (1, 1)),
          ((1, 2, 40, 60), (3, 3), 1, (1, 1), (30, 30), (30, 30)), ((2, 5, 7, 9), (3, 3), 3, (1, 1), (1, 1), (1, 1)),
          ((2, 3, 12, 11), (3, 2), 2, (2, 2), (1, 1), (1, 1)), ((9, 40, 1, 1), (1, 1), 1, (1, 1), (0, 0), (1, 1)),
          ((2, 6, 4, 5), (3, 3), 1, (3, 4), (3, 3), (1, 1)), ((1, 3, 9, 10), (2, 2), 1, (1, 1), (4, 5), (1, 1)),
          ((2, 33, 7, 7), (7, 7), 1, (1, 1), (3, 3), (1, 1)), ((1, 19, 13, 30), (5, 5), 1, (2, 2), (2, 2), (1, 1)),   # turned in the cache
          ((2, 16, 60, 9), (7, 7), 1, (2, 2), (3, 3), (1, 1)), ((1, 17, 5, 600), (3, 3), 1, (1, 1), (1, 1), (1, 1)),  # rings; windows of rows
          ((1, 18, 40, 70), (5, 3), 1, (2, 3), (2, 1), (1, 2)), ((3, 16, 3, 3), (3, 3), 1, (1, 1), (1, 1), (1, 1)),
          ((1, 70, 34, 33), (3, 3), 1, (1, 1), (1, 1), (1, 1)), ((1, 66, 33, 65), (3, 3), 1, (2, 2), (1, 1), (1, 1)),     # channels go down the rows
          ((1, 200, 5, 200), (3, 3), 1, (1, 1), (1, 1), (1, 1))]                                                          # together; in groups
# x, filter, groups, stride, padding, dilation
GROUPS = [((2, 24, 9, 11), (3, 3), 6, (1, 1), (1, 1), (1, 1)), ((1, 40, 14, 14), (3, 3), 5, (1, 1), (1, 1), (1, 1)),
          ((2, 16, 12, 13), (3, 3), 2, (2, 2), (1, 1), (1, 1)), ((1, 34, 10, 30), (5, 5), 17, (1, 2), (2, 2), (1, 1)),
          ((1, 24, 7, 90), (3, 4), 3, (1, 1), (1, 2), (2, 1)), ((3, 8, 4, 3), (1, 1), 2, (1, 1), (0, 0), (1, 1)),
          ((1, 48, 12, 12), (7, 7), 12, (2, 2), (3, 3), (1, 1)), ((2, 12, 8, 19), (2, 2), 6, (1, 1), (0, 1), (1, 1))]


def operands(shape, size, m, options, dtype, groups=None):
    """x, w, b, dy rounded to dtype, and the options as the meanings take them."""
    rng, (stride, padding, dilation), groups = np.random.default_rng(0), options, groups or shape[1]
    mean = stride, (padding[0],) * 2 + (padding[1],) * 2, dilation, groups
    x, w, b = (rng.standard_normal(n).astype(dtype) for n in (shape, (m * shape[1], shape[1] // groups, *size), m * shape[1]))
    return x, w, b, rng.standard_normal(ref.conv2d_fwd(x, w, b, *mean).shape).astype(dtype), mean


def mean_the_same(y, dx, arrays, mean):
    """relu of the convolution and the gradient of its input, against the meaning in float64; rounding grows with the sums of sizes."""
    dtype, shape = arrays[0].dtype.name, arrays[0].shape
    (x, w, b, dy), size = [a.astype(float) for a in arrays], [np.abs(a.astype(float)) for a in arrays]
    compare(y, np.maximum(ref.conv2d_fwd(x, w, b, *mean), 0), dtype, 12, ref.conv2d_fwd(*size[:3], *mean), "y")
    compare(dx, ref.conv2d_bwd_x(dy, w, shape, *mean), dtype, 12, ref.conv2d_bwd_x(size[3], size[1], shape, *mean), "dx")


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("shape, size, m, stride, padding, dilation", SHAPES, ids=range(len(SHAPES)))
def test_forms(shape, size, m, stride, padding, dilation, dtype, isa):
    """The meaning; the same bits for all threads, row-major, channels-last and strided images."""
    x, w, b, dy, mean = operands(shape, size, m, (stride, padding, dilation), dtype)
    options, first = {"stride": stride, "padding": padding, "dilation": dilation, "groups": shape[1]}, None
    for layout in range(3):
        for n in THREADS:
            with machine(isa, n):
                y = _core.conv2d_fwd(laid_images(x, layout), fastnn.tensor(w), fastnn.tensor(b), act=1, **options)
                dx = _core.conv2d_bwd_x(laid_images(dy, layout), fastnn.tensor(w), shape, **options)
            assert _core.guard_words_whole(y) and _core.guard_words_whole(dx)
            first = first or (y, dx)
            if m == 1:
                same_bits(first, (y, dx), f"layout {layout}, {n} threads, result")
            elif layout != 1:                # channels-last with several outputs of a channel: conv.c
                same_bits(first[0], y, f"layout {layout}, {n} threads, y")
    mean_the_same(*first, (x, w, b, dy), mean)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("shape, size, groups, stride, padding, dilation", GROUPS, ids=range(len(GROUPS)))
def test_groups_of_few(shape, size, groups, stride, padding, dilation, dtype, isa):
    """Two, four or eight channels a group: the meaning; the same bits for all threads and layouts, which stay."""
    x, w, b, dy, mean = operands(shape, size, 1, (stride, padding, dilation), dtype, groups)
    options, first = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}, None
    for layout in range(3):
        for n in THREADS:
            with machine(isa, n):
                y = _core.conv2d_fwd(laid_images(x, layout), fastnn.tensor(w), fastnn.tensor(b), act=1, **options)
                dx = _core.conv2d_bwd_x(laid_images(dy, layout), fastnn.tensor(w), shape, **options)
            assert _core.guard_words_whole(y) and _core.guard_words_whole(dx)
            assert layout == 2 or _core.is_nhwc(y) == _core.is_nhwc(dx) == (layout == 1)
            first = first or (y, dx)
            same_bits(first, (y, dx), f"layout {layout}, {n} threads, result")
    mean_the_same(*first, (x, w, b, dy), mean)


@pytest.mark.parametrize("captured", (False, True))
@pytest.mark.parametrize("m", (1, 2))
@pytest.mark.parametrize("layout, dy_layout", [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)])
def test_images_stay_as_they_lie(torch, layout, dy_layout, m, captured):
    """y and dx in the order of x, whatever dy's, and no copy between; values as PyTorch's."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n) for n in ((2, 18, 9, 7), (18 * m, 1, 3, 3), (18 * m,), (2, 18 * m, 9, 7))]
    theirs = [torch.tensor(a, requires_grad=i < 3) for i, a in enumerate(arrays)]
    want = torch.nn.functional.conv2d(*theirs[:3], padding=1, groups=18)
    want.backward(theirs[3])
    x, dy = laid_images(arrays[0], layout).requires_grad_(), laid_images(arrays[3], dy_layout)
    w, b = (fastnn.tensor(a).requires_grad_() for a in arrays[1:3])

    def step():
        for t in (x, w, b):
            t.grad = None
        y = F.conv2d(x, w, b, padding=1, groups=18)
        y.backward(dy)
        return y.detach()
    step = fastnn.capture(step) if captured else step
    for _ in range(3 if captured else 1):
        y = step()
    assert _core.is_nhwc(y) == (layout == 1 or layout == 2 and m == 1) and (layout == 2 or _core.is_nhwc(x.grad) == _core.is_nhwc(y))
    if captured and layout == dy_layout < 2 and m == 1:
        assert [op for op, _ in step.operations()[0]] == ["depthwise_fwd", "depthwise_bwd_x", "depthwise_bwd_w"]
    for a, t in zip((y, x.grad, w.grad, b.grad), (want.detach(), *(t.grad for t in theirs[:3]))):
        np.testing.assert_allclose(a.numpy(), t.numpy(), atol=1e-11)


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 2}, {"dilation": 3}, {"padding": "same"}], ids=str)
def test_lines(torch, options):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n) for n in ((3, 6, 31), (6, 1, 4), (6,))]
    ours, theirs = [fastnn.tensor(a).requires_grad_() for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, want = F.conv1d(*ours, groups=6, **options), torch.nn.functional.conv1d(*theirs, groups=6, **options)
    (y * y).sum().backward(), (want * want).sum().backward()
    for a, b in ((y.detach(), want.detach()), *((p.grad, q.grad) for p, q in zip(ours, theirs))):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-10)


@pytest.mark.parametrize("layout", (0, 1))
def test_not_finite(torch, layout):
    """NaN and infinity reach what they meet, and nothing else."""
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(n) for n in ((2, 18, 9, 20), (18, 1, 3, 3), (2, 18, 7, 18)))
    x[0, 0, 4, 3], x[1, 17, 0, 0], x[0, 3, 8, 19], dy[1, 1, 2, 3], dy[0, 0, 0, 0], dy[0, 2, 3, 17] = np.nan, np.inf, np.inf, np.nan, np.inf, np.inf
    ours, theirs = [laid_images(x, layout).requires_grad_(), fastnn.tensor(w).requires_grad_()], [torch.tensor(a, requires_grad=True) for a in (x, w)]
    y, want = F.conv2d(*ours, groups=18), torch.nn.functional.conv2d(*theirs, groups=18)
    y.backward(laid_images(dy, layout)), want.backward(torch.tensor(dy))
    for a, b in ((y.detach(), want.detach()), *((p.grad, q.grad) for p, q in zip(ours, theirs))):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-11)
