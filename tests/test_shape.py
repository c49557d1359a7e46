"""Views, joining, splitting: against NumPy, and gradients as views of the output's."""
import numpy as np
import pytest

import fastnn
from fastnn import _core

A = np.arange(24.0).reshape(2, 3, 4)
VIEWS = {
    "view": (lambda x: x.view(6, 4), lambda a: a.reshape(6, 4)), "view -1": (lambda x: x.view(-1, 2), lambda a: a.reshape(-1, 2)),
    "reshape of transposed": (lambda x: x.transpose(0, 2).reshape(4, 6), lambda a: a.transpose(2, 1, 0).reshape(4, 6)),
    "view of transposed": (lambda x: x.transpose(0, 1).view(3, 2, 2, 2), lambda a: a.transpose(1, 0, 2).reshape(3, 2, 2, 2)),
    "flatten": (lambda x: x.flatten(1), lambda a: a.reshape(2, 12)), "unflatten": (lambda x: x.unflatten(2, (2, -1)), lambda a: a.reshape(2, 3, 2, 2)),
    "squeeze": (lambda x: x[:1].squeeze(0), lambda a: a[0]), "unsqueeze": (lambda x: x.unsqueeze(-1), lambda a: a[..., None]),
    "permute": (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)), "T": (lambda x: x[0].T, lambda a: a[0].T),
    "mT": (lambda x: x.mT, lambda a: a.swapaxes(-1, -2)), "movedim": (lambda x: x.movedim(0, -1), lambda a: np.moveaxis(a, 0, -1)),
    "expand": (lambda x: x[:, :1].expand(-1, 5, -1), lambda a: np.broadcast_to(a[:, :1], (2, 5, 4))),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda a: np.tile(a, (2, 1, 3))), "select": (lambda x: x.select(1, -1), lambda a: a[:, -1]),
    "narrow": (lambda x: x.narrow(2, 1, 2), lambda a: a[:, :, 1:3]), "diagonal": (lambda x: x.diagonal(0, 1, 2), lambda a: a.diagonal(0, 1, 2)),
    "contiguous": (lambda x: x.transpose(0, 1).contiguous(), lambda a: a.transpose(1, 0, 2)), "clone": (lambda x: x.clone(), lambda a: a),
    "cat": (lambda x: fastnn.cat([x, x[:1]], 0), lambda a: np.concatenate([a, a[:1]])),
    "stack": (lambda x: fastnn.stack([x, x], 1), lambda a: np.stack([a, a], 1)),
    "split": (lambda x: x.split([1, 2], 1)[1], lambda a: a[:, 1:]), "chunk": (lambda x: x.chunk(3, 2)[1], lambda a: a[:, :, 2:4]),
    "unbind": (lambda x: x.unbind(1)[2], lambda a: a[:, 2]), "ravel": (lambda x: x.ravel(), lambda a: a.ravel()),
}


@pytest.mark.parametrize("name", VIEWS)
def test_values_and_gradient(name):
    f, g = VIEWS[name]
    x = fastnn.tensor(A, requires_grad=True)
    y = f(x)
    np.testing.assert_array_equal(y.detach().numpy(), g(A))
    weight = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(fastnn.tensor(weight))
    want = np.zeros(A.size)
    np.add.at(want, g(np.arange(24).reshape(2, 3, 4)).ravel(), weight.ravel())
    np.testing.assert_allclose(x.grad.numpy().ravel(), want, rtol=1e-12)


def test_views_share_memory():
    x = fastnn.zeros(2, 3)
    for v in (x.view(3, 2), x.t(), x[0], x[:, 1:], x.unsqueeze(0), x.expand(2, 2, 3)):
        assert v.data_ptr() >= x.data_ptr() and v._storage is x._storage
    assert x.reshape(6)._storage is x._storage and x.t().reshape(6)._storage is not x._storage


@pytest.mark.parametrize("f, error, text", [
    (lambda x: x.view(5), RuntimeError, "invalid for input of size 24"), (lambda x: x.view(-1, -1), RuntimeError, "only one dimension can be inferred"),
    (lambda x: x.view(-1, 5), RuntimeError, "invalid"), (lambda x: x.transpose(0, 2).view(24), RuntimeError, "reshape"),
    (lambda x: x.permute(0, 1), RuntimeError, "number of dimensions"), (lambda x: x.permute(0, 0, 1), RuntimeError, "duplicate"),
    (lambda x: x.transpose(0, 3), IndexError, "out of range"), (lambda x: x.expand(5, 3, 4), RuntimeError, "must match the existing size"),
    (lambda x: x.expand(3, 4), RuntimeError, "greater or equal"), (lambda x: x.select(0, 2), IndexError, "out of bounds"),
    (lambda x: x.narrow(0, 1, 5), RuntimeError, "exceeds dimension size"), (lambda x: x.split(-1), RuntimeError, "non-negative"),
    (lambda x: x.split([1, 3]), RuntimeError, "sum exactly"), (lambda x: x.chunk(0), RuntimeError, "greater than 0"),
    (lambda x: fastnn.cat([]), RuntimeError, "non-empty"), (lambda x: fastnn.cat([x, x[:, :1]]), RuntimeError, "Sizes of tensors must match"),
    (lambda x: fastnn.cat([x, 1]), TypeError, "element 1"), (lambda x: fastnn.stack([x, x[0]]), RuntimeError, "equal size"),
    (lambda x: x.unflatten(2, (3, 2)), RuntimeError, "multiply up"), (lambda x: x.t(), RuntimeError, "<= 2 dimensions"),
    (lambda x: x.view(1.5), TypeError, "ints"), (lambda x: x.view([1] * 9), RuntimeError, "at most 8"), (lambda x: x.unsqueeze(5), IndexError, "range"),
    (lambda x: x.flatten(2, 1), RuntimeError, "start_dim"),
])
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f(fastnn.zeros(2, 3, 4))


def test_empty_and_scalar():
    x = fastnn.zeros(0, 3)
    assert x.view(3, 0).shape == (3, 0) and x.t().reshape(-1).shape == (0,) and fastnn.cat([x, x]).shape == (0, 3)
    s = fastnn.tensor(3.0)
    assert s.view(1, 1).tolist() == [[3]] and s.flatten().tolist() == [3] and s.unsqueeze(0).squeeze().dim() == 0 and s.expand(2).tolist() == [3, 3]
    assert fastnn.cat([fastnn.zeros(0), fastnn.ones(1, 2)]).shape == (1, 2)


def test_cat_of_channels_last_images_lies_so():
    rows, other = fastnn.randn(2, 3, 4, 5), fastnn.randn(2, 2, 4, 5)
    last = [_core.nhwc(t) for t in (rows, other)]
    for given, lies in (((rows, other), False), ((last[0], other), False), (last, True)):
        y = fastnn.cat(given, 1)
        assert y.is_contiguous() and _core.is_nhwc(y) == lies
        np.testing.assert_array_equal(y.numpy(), np.concatenate([rows.numpy(), other.numpy()], 1))
    x, dy = last[0].detach().requires_grad_(), np.arange(320, dtype=np.float32).reshape(2, 8, 4, 5)
    fastnn.cat([x, last[1], x], 1).backward(fastnn.tensor(dy))
    np.testing.assert_array_equal(x.grad.numpy(), dy[:, :3] + dy[:, 5:])
