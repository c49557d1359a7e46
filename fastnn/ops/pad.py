"""Padding: an input in the middle of something larger, with its gradient."""
from .. import _core
from .._core import attach
from . import shape
from .promote import number, tensor_only

_MODES = ("constant", "reflect", "replicate", "circular")


def _amounts(input, pad, mode):
    """{dimension: (before, after)}, the last first, as pad lists them."""
    if not isinstance(pad, (tuple, list)):
        raise TypeError(f"pad(): argument 'pad' (position 2) must be tuple of ints, not {type(pad).__name__}")
    for i, n in enumerate(pad):
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"pad(): argument 'pad' (position 2) must be tuple of ints, but found element of type {type(n).__name__} at pos {i}")
    n, pad = input.dim(), [int(v) for v in pad]
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2: pad: {tuple(pad)}")
    if len(pad) > 2 * n:
        raise RuntimeError(f"Padding length should be less than or equal to two times the input dimension but got padding length {len(pad)} and input of "
                           f"dimension {n}")
    if mode not in _MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if mode != "constant" and (len(pad) not in (2, 4, 6) or n - len(pad) // 2 not in (1, 2)):
        raise NotImplementedError(f"Padding size {len(pad)} is not supported for {n}D input tensor. pad: mode={mode!r} pads the last 1, 2 or 3 dimensions "
                                  "and leaves 1 or 2")
    return {n - 1 - i: (pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)}


def _check(x, amounts, mode):
    given = f"pad: input {tuple(x.shape)}, mode={mode!r}"
    for d, (before, after) in amounts.items():
        n = x.shape[d]
        if n + before + after < 0:
            raise RuntimeError(f"padding ({before}, {after}) cuts off more than dimension {d} has: {given}")
        if mode != "constant" and n == 0:
            raise RuntimeError(f"Expected non-zero size for padded dimensions, but dimension {d} is empty: {given}")
        if mode == "reflect" and max(before, after) >= n:
            raise RuntimeError(f"Padding size should be less than the corresponding input dimension, but got: padding ({before}, {after}) at dimension {d} of "
                               f"input {list(x.shape)} ({given})")
        if mode == "circular" and max(before, after) > n:
            raise RuntimeError(f"Padding value causes wrapping around more than once. padding ({before}, {after}) at dimension {d} ({given})")


def _middle(y, amounts, sizes):
    """Where the input, of these sizes, lies in y."""
    for d, (before, _) in amounts.items():
        y = _core.slice_dim(y, d, before, before + sizes[d], 1)
    return y


def _strips(y, amounts, sizes, mode):
    """(a strip at a border of y, where its elements come from, the dimension): of each dimension in turn, the strips of those before included."""
    left = dict(amounts)
    for d, (before, after) in amounts.items():
        del left[d]
        t, n = _middle(y, left, sizes), sizes[d]
        lows = {"reflect": before + 1, "replicate": before, "circular": n}
        highs = {"reflect": before + n - 1 - after, "replicate": before + n - 1, "circular": before}
        for at, size, source in ((0, before, lows[mode]), (before + n, after, highs[mode])):
            if size:
                yield _core.slice_dim(t, d, at, at + size, 1), _core.slice_dim(t, d, source, source + (1 if mode == "replicate" else size), 1), d


def _padded(x, amounts, mode, value):
    sizes = tuple(x.shape)
    out = [n + sum(amounts.get(d, (0, 0))) for d, n in enumerate(sizes)]
    start = value if mode == "constant" else None            # None: not yet written
    if len(out) == 4 and _core.is_nhwc(x) and _core.pools_last(x):
        N, C, P, Q = out
        y = _core.as_images(_core.full((N, P * Q, C), start, x.dtype), P, Q)
    else:
        y = _core.full(out, start, x.dtype)
    _core.copy_into(_middle(y, amounts, sizes), x)
    if mode != "constant":
        for strip, source, d in _strips(y, amounts, sizes, mode):
            _core.copy_into(strip, _core.flip(source, (d,)) if mode == "reflect" else source)
    return attach(y, _pad_backward, (x,), meta=(amounts, sizes, mode))


def _pad_backward(node, dy):
    """The middle of dy; strips are added to where they came from, the last first."""
    amounts, sizes, mode = node.meta
    if mode == "constant":
        return (_middle(dy, amounts, sizes),)
    g = _core.clone(dy)
    for strip, source, d in reversed(list(_strips(g, amounts, sizes, mode))):
        share = _core.flip(strip, (d,)) if mode == "reflect" else _core.sum_(strip, (d,), True) if mode == "replicate" else strip
        _core.add(source, share, out=source)
    return (_middle(g, amounts, sizes),)


def _cut(x, amounts):
    """x without what negative amounts take away."""
    for d, (before, after) in amounts.items():
        if min(before, after) < 0:
            x = shape.slice_dim(x, d, max(-before, 0), x.shape[d] - max(-after, 0))
    return x


def pad(input, pad, mode="constant", value=None):
    """input with elements added before and after; a negative amount takes some away.

    Args:
        input: any shape.
        pad: amounts before and after the last dimension, then the one before it, and so on.
        mode: what is added: 'constant', value; 'reflect', the elements beyond the first and last in turn; 'replicate', the first and last again;
            'circular', those of the other end. The latter three pad the last 1, 2 or 3 dimensions and leave 1 or 2.
        value: a number, 0 if None; of 'constant' only.

    Returns: input's type, channels-last if input is.

    Errors: RuntimeError for amounts that do not fit; NotImplementedError for other modes and numbers of dimensions; TypeError for what is not a
        number.

    Example:
        >>> import fastnn, fastnn.nn.functional as F
        >>> x = fastnn.tensor([[1., 2., 3.]])
        >>> F.pad(x, (1, 2))
        tensor([[0., 1., 2., 3., 0., 0.]])
        >>> F.pad(x, (1, 2), "reflect")
        tensor([[2., 1., 2., 3., 2., 1.]])
    """
    amounts = _amounts(tensor_only(input, "pad"), pad, mode)
    value = 0 if value is None else number(value, "pad", "value")
    if mode != "constant" and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    _check(input, amounts, mode)
    grown = {d: (max(before, 0), max(after, 0)) for d, (before, after) in amounts.items() if max(before, after) > 0}
    if not grown:
        return shape.clone(_cut(input, amounts))
    if mode in ("constant", "circular"):
        return _padded(_cut(input, amounts), grown, mode, value)
    return _cut(_padded(input, grown, mode, value), amounts)


METHODS = ("pad",)
FUNCTIONS = ()
INPLACE = ()
