"""Parameter."""
import copy
import pickle

import pytest

import fastnn
from fastnn.nn import Parameter


def test_shares_memory_and_is_a_leaf():
    data = fastnn.zeros(2)
    p = Parameter(data)
    assert isinstance(p, fastnn.Tensor) and p.is_leaf and p.requires_grad and not Parameter(data, False).requires_grad
    with fastnn.no_grad():
        p.fill_(3)
    assert data.tolist() == [3, 3] and type(p * 1) is fastnn.Tensor and type(p.detach()) is fastnn.Tensor
    assert Parameter().shape == (0,)
    with fastnn.no_grad():
        assert Parameter(fastnn.ones(1)).requires_grad


def test_of_a_result_is_a_new_leaf():
    x = fastnn.ones(2, requires_grad=True)
    p = Parameter(x * 2)
    p.sum().backward()
    assert p.is_leaf and x.grad is None and p.grad.tolist() == [1, 1]


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(copier):
    p = Parameter(fastnn.arange(3).float(), requires_grad=False)
    q = copier(p)
    assert type(q) is Parameter and not q.requires_grad and q.tolist() == [0, 1, 2] and q.data_ptr() != p.data_ptr()


def test_repr(torch):
    assert repr(Parameter(fastnn.ones(2))) == repr(torch.nn.Parameter(torch.ones(2)))


@pytest.mark.parametrize("data, error, words", [([1.0], TypeError, "expected a Tensor or None"),
                                                (fastnn.arange(2), RuntimeError, "floating point")])
def test_refusals(data, error, words):
    with pytest.raises(error, match=words):
        Parameter(data)
