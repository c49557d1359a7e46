"""Pooling: x (N,C,H,W); options are a number, or one for rows and one for columns."""
import numpy as np


def _two(option):
    return tuple(option) if isinstance(option, (tuple, list)) else (option, option)


def _lines(n, k, stride, pad, dilation, ceil_mode):
    """The coordinates of the taps of each window along a dimension of n, also those outside."""
    out = (n + 2 * pad - dilation * (k - 1) - 1 + (stride - 1) * ceil_mode) // stride + 1
    if ceil_mode and (out - 1) * stride >= n + pad:          # a window begins inside or in the padding before
        out -= 1
    return [p * stride - pad + dilation * np.arange(k) for p in range(out)]


def _windows(shape, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The windows of rows and those of columns."""
    k, p, d = _two(kernel_size), _two(padding), _two(dilation)
    s = k if stride is None else _two(stride)
    return [_lines(shape[2 + i], k[i], s[i], p[i], d[i], ceil_mode) for i in range(2)]


def _inside(taps, n):
    return taps[(taps >= 0) & (taps < n)]


def max_pool2d_fwd(x, **options):
    """(y, h W + w of each maximum): of equals the first, of NaN the last."""
    (N, C, H, W), (rows, columns) = x.shape, _windows(x.shape, **options)
    y, where = (np.zeros((N, C, len(rows), len(columns)), kind) for kind in (float, np.int64))
    for p, q in np.ndindex(y.shape[2:]):
        h, w = _inside(rows[p], H), _inside(columns[q], W)
        v = x[:, :, h][..., w].reshape(N, C, len(h) * len(w))
        last = v.shape[2] - 1 - np.argmax(np.isnan(v)[..., ::-1], 2)
        k = np.where(np.isnan(v).any(2), last, np.argmax(v, 2))
        y[:, :, p, q] = np.take_along_axis(v, k[..., None], 2)[..., 0]
        where[:, :, p, q] = h[k // len(w)] * W + w[k % len(w)]
    return y, where


def max_pool2d_bwd(dy, x, **options):
    """Each dy goes to the element that was the maximum."""
    dx = np.zeros(x.shape)
    for (n, c, p, q), k in np.ndenumerate(max_pool2d_fwd(x, **options)[1]):
        dx[n, c].reshape(-1)[k] += dy[n, c, p, q]
    return dx


def _averages(shape, kernel_size=None, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
              divisor_override=None, output_size=None):
    """(p, q, rows, columns, divisor) of each window; given output_size, those of the adaptive pool."""
    pad, count = _two(padding), lambda h, w: len(h) * len(w)
    if output_size:
        rows, columns = ([np.arange(p * n // out, -(-(p + 1) * n // out)) for p in range(out)]
                         for n, out in zip(shape[2:], output_size))
    else:
        rows, columns = _windows(shape, kernel_size, stride, padding, 1, ceil_mode)
    for p, h in enumerate(rows):
        for q, w in enumerate(columns):
            inside, padded = ((_inside(h, shape[2]), _inside(w, shape[3])),
                              (h[h < shape[2] + pad[0]], w[w < shape[3] + pad[1]]))
            yield p, q, *inside, divisor_override or count(*(padded if count_include_pad else inside))


def avg_pool2d_fwd(x, **options):
    windows = list(_averages(x.shape, **options))
    y = np.zeros(x.shape[:2] + (windows[-1][0] + 1, windows[-1][1] + 1))
    for p, q, h, w, divisor in windows:
        y[:, :, p, q] = x[:, :, h][..., w].sum((2, 3)) / divisor
    return y


def avg_pool2d_bwd(dy, x, **options):
    dx = np.zeros(x.shape)
    for p, q, h, w, divisor in _averages(x.shape, **options):
        dx[:, :, h[:, None], w] += dy[:, :, p, q, None, None] / divisor
    return dx
