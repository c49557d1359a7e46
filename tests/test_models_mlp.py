"""MLP."""
import pytest

import fastnn
from fastnn import nn
from fastnn.models import MLP


def test_layers():
    m = MLP([64, 32, 16, 10], activation=nn.Tanh, dropout=0.1)
    assert [type(layer).__name__ for layer in m] == ["Flatten", "Linear", "Tanh", "Dropout", "Linear", "Tanh",
                                                     "Dropout", "Linear"]
    assert m(fastnn.zeros(5, 1, 8, 8)).shape == (5, 10) and m[3].p == 0.1
    assert [type(layer).__name__ for layer in MLP((3, 2))] == ["Flatten", "Linear"]
    assert [p.shape for p in MLP([3, 4, 2]).parameters()] == [(4, 3), (4,), (2, 4), (2,)]


def test_refusals():
    with pytest.raises(ValueError, match=r"an input and an output size at least, got \[3\]"):
        MLP([3])
