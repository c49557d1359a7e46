"""Loss curves."""
import sys

import pytest

from fastnn.train import plots

ROW = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25}


@pytest.mark.parametrize("rows", [[], [ROW], [ROW, {**ROW, "train_loss": float("nan")}],
                                  [{**ROW, "val_loss": None, "val_accuracy": None}] * 3,
                                  [dict.fromkeys(ROW, None) | {"train_loss": 1.0}] * 2])
def test_loss_curves(tmp_path, rows):
    pytest.importorskip("matplotlib")
    path = tmp_path / "loss.png"
    plots.loss_curves([{"epoch": i + 1, **row} for i, row in enumerate(rows)], path, "a title")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError):
        plots.loss_curves([], tmp_path / "loss.png")
    assert not list(tmp_path.iterdir())
