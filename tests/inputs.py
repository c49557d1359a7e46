"""Cases for the test_inputs_*.py: every kind of input works as in PyTorch or raises, in the caller's words.

A case is a function of the package, so the same text runs on fastnn, where the outcome written above it must come, and
on PyTorch, where it is installed, whose values, dtypes and class of exception must be the same. `torch=` gives
PyTorch's class where it differs, or why it is not asked.
"""
import numpy as np
import pytest

import fastnn

NAN = float("nan")
NOT_CARRIED, OURS = "PyTorch carries it", "PyTorch has no such function"
EVERY = []


class Cases(list):
    """The cases of a file, and as decorators what gives them their outcome."""

    def __init__(self):
        EVERY.append(self)

    def gives(self, want, torch=True):
        """The case returns `want`: the values of its tensors and arrays, and plain values as they are."""
        def add(f):
            self.append(pytest.param(f, want, None, torch, id=f.__name__))
            return f
        return add

    def raises(self, kind, match, torch=True):
        """The case raises `kind`, with a message that matches."""
        def add(f):
            self.append(pytest.param(f, kind, match, torch, id=f.__name__))
            return f
        return add

    def tests(self):
        """test_input and test_input_as_torch over them."""
        @pytest.mark.filterwarnings("ignore:Using a target size")
        @pytest.mark.parametrize("case, want, match, torch_", self)
        def test_input(case, want, match, torch_):
            if match is None:
                agree(plain(case(fastnn)), want)
            else:
                with pytest.raises(want, match=match) as caught:
                    case(fastnn)
                assert type(caught.value) is want

        @pytest.mark.filterwarnings("ignore")
        @pytest.mark.parametrize("case, want, match, torch_", self)
        def test_input_as_torch(case, want, match, torch_, torch):
            if isinstance(torch_, str):
                pytest.skip(torch_)
            if match is None:
                agree(plain(case(fastnn)), plain(case(torch)))
            else:
                with pytest.raises(want if torch_ is True else torch_):
                    case(torch)
        return test_input, test_input_as_torch


def plain(x):
    if isinstance(x, (tuple, list)):
        return [plain(v) for v in x]
    return np.array(x.detach().numpy()) if hasattr(x, "detach") else x


def agree(got, want):
    if isinstance(got, list):
        assert len(got) == len(want)
        for g, w in zip(got, want):
            agree(g, w)
    elif isinstance(got, np.ndarray):
        if isinstance(want, np.ndarray):
            assert got.dtype == want.dtype
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    else:
        assert got == want or (got != got and want != want), f"got {got!r}, expected {want!r}"
