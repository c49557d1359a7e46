"""Flatten and Unflatten."""
import pytest

import fastnn
from fastnn import nn


@pytest.mark.parametrize("options, shape", [((), (2, 60)), ((0, 1), (6, 4, 5)), ((-2,), (2, 3, 20)), ((0,), (120,))])
def test_flatten(options, shape):
    x = fastnn.arange(120).reshape(2, 3, 4, 5)
    y = nn.Flatten(*options)(x)
    assert y.shape == shape and y.reshape(-1).tolist() == list(range(120))


def test_unflatten():
    assert nn.Unflatten(1, (2, -1))(fastnn.zeros(3, 10)).shape == (3, 2, 5)
    assert nn.Unflatten(-1, [5, 2])(fastnn.zeros(3, 10)).shape == (3, 5, 2)


def test_repr(torch):
    assert repr(nn.Flatten(1, 2)) == repr(torch.nn.Flatten(1, 2))
    assert repr(nn.Unflatten(1, (2, 5))) == repr(torch.nn.Unflatten(1, (2, 5)))


@pytest.mark.parametrize("make, error, words", [
    (lambda: nn.Unflatten("n", (("a", 2),)), NotImplementedError, "named dimensions"),
    (lambda: nn.Unflatten(1.5, (2,)), TypeError, "should be an int"),
    (lambda: nn.Unflatten(1, 5), TypeError, "must be a tuple of ints"),
    (lambda: nn.Unflatten(1, (2, 2.5)), TypeError, "type float at pos 1"),
    (lambda: nn.Unflatten(1, (3, 5))(fastnn.zeros(3, 10)), RuntimeError, "don't multiply up to the size of dim 1"),
    (lambda: nn.Flatten(2)(fastnn.zeros(3, 10)), IndexError, "Dimension out of range"),
])
def test_refusals(make, error, words):
    with pytest.raises(error, match=words):
        make()
