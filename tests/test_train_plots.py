"""Pictures: loss curves, predictions."""
import sys

import numpy as np
import pytest

import fastnn
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
    for draw in (lambda: plots.loss_curves([], tmp_path / "loss.png"), lambda: plots.predictions(np.zeros((1, 2, 2)), [0], [0], tmp_path / "p.png")):
        with pytest.raises(ImportError):
            draw()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(11, 8, 8), (11, 1, 9, 6), (11, 3, 5, 8), (1, 1, 1), (0, 8, 8)])
@pytest.mark.parametrize("make", [lambda *shape: fastnn.rand(*shape), lambda *shape: np.zeros(shape, np.uint8)])
def test_predictions(tmp_path, monkeypatch, shape, make):
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn, path, save = [], tmp_path / "p.png", figure.savefig
    monkeypatch.setattr(figure, "savefig", lambda self, *args, **options: drawn.append(self) or save(self, *args, **options))
    targets = np.arange(shape[0]) % 3
    predicted = np.where(np.arange(shape[0]) % 4 == 1, (targets + 1) % 3, targets)
    plots.predictions(make(*shape), fastnn.from_numpy(predicted), targets.tolist(), path, ["cat", "dog", "owl"], columns=4, title="some")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    axes, = drawn[0].axes
    names = np.array(["cat", "dog", "owl"])
    wanted = [p if p == t else f"{p}\ntrue: {t}" for p, t in zip(names[predicted], names[targets])]
    assert [t.get_text() for t in axes.texts] == wanted and len(axes.images) == shape[0]
    assert [t.get_color() for t in axes.texts] == ["black" if p == t else "red" for p, t in zip(predicted, targets)]
    assert len(axes.patches) == (predicted != targets).sum()


def test_predictions_without_names(tmp_path):
    pytest.importorskip("matplotlib")
    plots.predictions(np.eye(8)[None], [3], [4], tmp_path / "p.png")
    assert (tmp_path / "p.png").exists()


@pytest.mark.parametrize("images, predicted, targets", [((4, 8), 4, 4), ((4, 2, 8, 8), 4, 4), ((4, 8, 8), 3, 4), ((4, 8, 8), 4, 5)])
def test_what_predictions_refuse(tmp_path, images, predicted, targets):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"images should be \(N, H, W\) or \(N, 1 or 3, H, W\), with predicted, targets \(N\), got"):
        plots.predictions(np.zeros(images), np.zeros(predicted), np.zeros(targets), tmp_path / "p.png")
    assert not list(tmp_path.iterdir())
