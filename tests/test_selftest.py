"""fastnn selftest passes here, and would not pass on wrong results."""
import numpy as np
import pytest

import fastnn
from fastnn import selftest


def test_passes(capsys):
    assert selftest.run() is True
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(selftest.CHECKS) == 4 and all(line.startswith("ok ") for line in lines)


@pytest.mark.parametrize("check, name, wrong", [
    ("matrix_product", "__matmul__", lambda right: lambda a, b: right(a, b) * 1.001),
    ("gradients", "backward", lambda right: lambda self: right(self * 1.001))])
def test_fails_on_wrong_results(monkeypatch, capsys, check, name, wrong):
    monkeypatch.setattr(fastnn.Tensor, name, wrong(getattr(fastnn.Tensor, name)))
    assert not getattr(selftest, check)()


def test_says_what_raised(monkeypatch, capsys):
    def broken():
        """a broken check"""
        raise ValueError("why")
    monkeypatch.setattr(selftest, "CHECKS", (broken,))
    assert selftest.run() is False and capsys.readouterr().out == "FAILED  a broken check: ValueError: why\n"


def test_close():
    assert selftest._close([1.0], [1.0 + 1e-9], 1e-6) and not selftest._close([1.0], [1.1], 1e-6)
    assert not selftest._close([np.nan], [1.0], 1e-6) and not selftest._close([1.0, 1.0], [1.0], 1e-6)
