"""default_collate and default_convert against PyTorch's."""
from collections import namedtuple

import numpy as np
import pytest

import fastnn
from fastnn.utils.data import default_collate, default_convert

Pair = namedtuple("Pair", "a b")
SAMPLES = {
    "numbers": [1, 2, 3], "reals": [1.5, 2.0], "bools": [True, False], "strings": ["a", "b"], "bytes": [b"a", b"b"],
    "tuples": [(1, 2.0), (3, 4.0)], "lists": [[1, 2], [3, 4]], "named": [Pair(1, 2), Pair(3, 4)],
    "dicts": [{"x": 1, "y": (2, "s")}, {"x": 3, "y": (4, "t")}], "arrays": [np.arange(3), np.arange(3)],
    "numpy numbers": [np.float32(1), np.float32(2)], "u8": [np.zeros((2, 2), np.uint8)] * 2,
    "nested": [([(1, np.ones(2, np.float32))],), ([(2, np.zeros(2, np.float32))],)],
}


def plain(value):
    """The same with tensors as (dtype name, values)."""
    if hasattr(value, "tolist") and hasattr(value, "dtype") and not isinstance(value, np.ndarray):
        return str(value.dtype).split(".")[-1], value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


@pytest.mark.parametrize("name", SAMPLES)
def test_as_pytorch(torch, name):
    assert plain(default_collate(SAMPLES[name])) == plain(torch.utils.data.default_collate(SAMPLES[name]))
    assert plain(default_convert(SAMPLES[name])) == plain(torch.utils.data.default_convert(SAMPLES[name]))


def test_tensors_are_stacked():
    assert default_collate([fastnn.zeros(2), fastnn.ones(2)]).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("samples, error, words", [
    ([object()], TypeError, "found <class 'object'>"), ([(1,), (1, 2)], RuntimeError, "equal size"),
    ([np.array(["a"])], TypeError, "cannot become a tensor"),
    ([fastnn.zeros(2), fastnn.zeros(3)], RuntimeError, "size|shape")])
def test_refusals(samples, error, words):
    with pytest.raises(error, match=words):
        default_collate(samples)
