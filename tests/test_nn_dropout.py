"""Dropout layer."""
import pytest

import fastnn
from fastnn import nn


def test_training_and_evaluation():
    x, m = fastnn.ones(100, 100), nn.Dropout(0.25)
    y = m(x)
    assert set(y.numpy().ravel().tolist()) == {0.0, fastnn.tensor(1 / 0.75).item()} and abs(y.mean().item() - 1) < 0.03
    assert m.eval()(x).tolist() == x.tolist()
    assert nn.Dropout(0.0)(x).tolist() == x.tolist() and not nn.Dropout(1.0)(x).numpy().any()
    fastnn.manual_seed(1)
    a = nn.Dropout()(x).tolist()
    fastnn.manual_seed(1)
    assert nn.Dropout(inplace=True)(x).tolist() == a == x.tolist()


def test_repr(torch):
    assert repr(nn.Dropout(0.1, inplace=True)) == repr(torch.nn.Dropout(0.1, inplace=True))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_refusals(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(p)
