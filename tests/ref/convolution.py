"""Convolution."""
import numpy as np


def _meetings(x_shape, w_shape, stride, padding, dilation, groups):
    """(k, channels of k's group, r, s, rows, columns) for each weight plane w[k,:,r,s]: the padded input rows and columns
    that it meets. padding is (above, below, left, right)."""
    (N, C, H, W), (K, I, R, S) = x_shape, w_shape
    (sh, sw), (dh, dw), (above, below, left, right) = stride, dilation, padding
    P, Q = (H + above + below - dh * (R - 1) - 1) // sh + 1, (W + left + right - dw * (S - 1) - 1) // sw + 1
    for k in range(K):
        g = k // (K // groups)
        for r in range(R):
            for s in range(S):
                rows, columns = slice(r * dh, r * dh + (P - 1) * sh + 1, sh), slice(s * dw, s * dw + (Q - 1) * sw + 1, sw)
                yield k, slice(g * I, (g + 1) * I), r, s, rows, columns


def _padded(x, padding):
    above, below, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (above, below), (left, right)))


def conv2d_fwd(x, w, b=None, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """y[n,k,p,q] = b[k] + sum over c,r,s of w[k,c,r,s] x[n, c, p stride + r dilation, q stride + s dilation], x padded."""
    y, seen = {}, _padded(x, padding)
    for k, c, r, s, rows, columns in _meetings(x.shape, w.shape, stride, padding, dilation, groups):
        y[k] = y.get(k, 0) + np.einsum("c,ncpq->npq", w[k, :, r, s], seen[:, c, rows, columns])
    return np.stack([y[k] + (0 if b is None else b[k]) for k in y], 1)


def conv2d_bwd_x(dy, w, shape, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """dx of the given shape: each product goes back to the input element it was made from."""
    dx = _padded(np.zeros(shape), padding)
    for k, c, r, s, rows, columns in _meetings(shape, w.shape, stride, padding, dilation, groups):
        dx[:, c, rows, columns] += w[k, :, r, s][:, None, None] * dy[:, k, None]
    above, _, left, _ = padding
    return dx[:, :, above:above + shape[2], left:left + shape[3]]


def conv2d_bwd_w(dy, x, shape, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    """dw of the given shape, db (K)."""
    dw, seen = np.zeros(shape), _padded(x, padding)
    for k, c, r, s, rows, columns in _meetings(x.shape, shape, stride, padding, dilation, groups):
        dw[k, :, r, s] = np.einsum("npq,ncpq->c", dy[:, k], seen[:, c, rows, columns])
    return dw, dy.sum((0, 2, 3))


winograd_fwd, winograd_bwd_x, winograd_bwd_w = depthwise_fwd, depthwise_bwd_x, depthwise_bwd_w = conv2d_fwd, conv2d_bwd_x, conv2d_bwd_w
