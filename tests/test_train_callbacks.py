"""Callbacks of fit."""
import csv
import io

import pytest

import fastnn
from fastnn import nn, optim, train
from fastnn.train import Checkpoint, EarlyStopping, GradientClipping, History, ProgressBar
from fastnn.utils.data import DataLoader
from test_train_loop import StopAt, bits, make_run, problem, timeless


def test_checkpoint_resumes(tmp_path):
    path = tmp_path / "c.safetensors"
    whole = make_run(3)
    whole.run()
    make_run(3, [Checkpoint(path, seconds=1e9), StopAt(8, lambda run: setattr(run, "stop", True))]).run()
    rest = make_run(3, [Checkpoint(path, resume=True, extra={"note": 1})])
    rest.run()
    assert bits(rest) == bits(whole) and timeless(rest.history) == timeless(whole.history)
    state = fastnn.load(path)
    assert state["extra"] == {"note": 1} and (state["epoch"], state["step"]) == (3, 18)
    assert state["history"] == rest.history
    again = make_run(3, [Checkpoint(path, resume=True)])
    assert again.run() == rest.history and bits(again) == bits(whole)
    fresh = make_run(1, [Checkpoint(tmp_path / "none", resume=True)])
    assert len(fresh.run()) == 1


@pytest.mark.parametrize("options, saves", [(dict(steps=4), [4, 8, 12]), (dict(seconds=0), list(range(1, 13))),
                                            (dict(), [])])
def test_checkpoint_times(tmp_path, monkeypatch, options, saves):
    seen = []
    monkeypatch.setattr(train.callbacks, "save", lambda state, path: seen.append((state["step"], state["batch"])))
    make_run(2, [Checkpoint(tmp_path / "c", **options)]).run()
    assert seen == [(s, s - 6 * (s > 6)) for s in saves] + [(12, 0)]


def test_history_file(tmp_path):
    path = tmp_path / "h.csv"
    history = make_run(3, [History(path)]).run()
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,images_per_second,seconds"
    assert [{k: float(v) for k, v in row.items()} for row in rows] == history and b"\r" not in path.read_bytes()
    run = make_run(1, [History(path)])
    run.validation = None
    run.run()
    assert path.read_text().splitlines()[1].split(",")[3:5] == ["", ""]
    assert [p.name for p in tmp_path.iterdir()] == ["h.csv"]


@pytest.mark.parametrize("values, mode, patience, epochs", [([3, 2, 1, 1, 1, 1], "min", 2, 5),
                                                            ([1, 2, 3, 4], "min", 1, 2), ([1, 2, 3, 4], "max", 1, 4),
                                                            ([float("nan"), 2, 3, 1], "min", 2, 4)])
def test_early_stopping(values, mode, patience, epochs):
    class Fake:
        history, stop = [], False
    run, callback = Fake(), EarlyStopping("val_loss", patience, mode)
    for n in range(1, len(values) + 1):
        run.history = [{"val_loss": v} for v in values[:n]]
        callback.epoch_end(run)
        if run.stop:
            break
    assert n == epochs


def test_early_stopping_ends_fit():
    model = nn.Linear(6, 3)
    still = optim.SGD(model.parameters(), lr=0.0)
    history = train.fit(model, DataLoader(problem(), 4), nn.CrossEntropyLoss(), still, 50,
                        callbacks=[EarlyStopping("train_loss", 3)])
    assert len(history) == 4
    for options, words in ((dict(mode="down"), "'down'"), (dict(monitor="loss"), "'loss'")):
        with pytest.raises(ValueError, match=words):
            EarlyStopping(**options)
    with pytest.raises(ValueError, match="fit without validation"):
        train.fit(model, DataLoader(problem(), 4), nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), 2,
                  callbacks=[EarlyStopping()])


def test_gradient_clipping_is_part_of_the_captured_step():
    norms = []

    class Watch(train.Callback):
        def step_end(self, run):
            norms.append(sum((p.grad ** 2).sum().item() for p in run.model.parameters()) ** 0.5)
    run = make_run(2, [GradientClipping(0.01), Watch()])
    run.run()
    assert run._train.replays > 0 and max(norms) <= 0.01001 and max(norms) > 0.0099
    eager = make_run(2, [GradientClipping(0.01)])
    eager._train = eager._train_step
    eager.run()
    assert bits(run) == bits(eager)


def test_progress_lines(capsys):
    out = io.StringIO()
    make_run(2, [ProgressBar(out)]).run()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2 and lines[0].startswith("epoch 1/2  train loss ") and " val loss " in lines[0]
    assert lines[0].endswith(" images/s")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""
    run = make_run(1, [ProgressBar()])
    run.validation = None
    run.run()
    assert "val" not in capsys.readouterr().out


def test_progress_without_tqdm(monkeypatch, capsys):
    import sys
    monkeypatch.setitem(sys.modules, "tqdm", None)
    make_run(1, [ProgressBar()]).run()
    assert capsys.readouterr().out.count("\n") == 1
