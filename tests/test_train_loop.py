"""fit and evaluate: what they compute, captured or not; a training goes on from its state with the same bits."""
import threading

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim, train
from fastnn.train import Callback, Run
from fastnn.utils.data import DataLoader, TensorDataset


def problem(n=22, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6)).astype(np.float32)
    return TensorDataset(fastnn.from_numpy(x), fastnn.from_numpy((x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)))


def make_run(epochs=3, callbacks=(), dropout=0.3, model=None, **options):
    fastnn.manual_seed(3)
    model = model or nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))
    return Run(model, DataLoader(problem(), 4, shuffle=True, **options), nn.CrossEntropyLoss(),
               optim.Adam(model.parameters(), lr=0.01), epochs,
               DataLoader(problem(9, 1), 4), callbacks)


def bits(run):
    return [p.detach().numpy().tobytes() for p in run.model.parameters()]


def timeless(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def by_hand(epochs):
    """The same training written out, eager."""
    run = make_run(epochs)
    model, rows = run.model, []
    for epoch in range(epochs):
        total = correct = n = 0
        for x, y in run.data:
            run.optimizer.zero_grad()
            out = model(x)
            loss = run.loss(out, y)
            loss.backward()
            run.optimizer.step()
            total, correct, n = total + loss.item() * len(y), correct + int((out.argmax(1) == y).sum()), n + len(y)
        rows.append((total / n, correct / n, *train.evaluate(model, run.validation, run.loss)))
        assert model.training
    return run, rows


def test_as_written_out():
    hand, rows = by_hand(3)
    run = make_run(3)
    history = run.run()
    assert bits(run) == bits(hand) and run._train.replays > 5
    assert [(r["train_loss"], r["train_accuracy"], r["val_loss"], r["val_accuracy"]) for r in history] == rows
    assert [r["epoch"] for r in history] == [1, 2, 3]
    assert all(r["lr"] == 0.01 and r["seconds"] > 0 and r["images_per_second"] > 0 for r in history)
    assert (run.epoch, run.step, run.batch) == (3, 18, 0)


def test_a_model_that_cannot_be_captured_trains_eagerly(caplog):
    class Peeking(nn.Linear):
        def forward(self, x):
            self.seen = x.sum().item()
            return super().forward(x)
    runs = []
    for kind in (Peeking, nn.Linear):
        fastnn.manual_seed(1)
        runs.append(make_run(2, model=nn.Sequential(kind(6, 3))))
        runs[-1].run()
    assert bits(runs[0]) == bits(runs[1]) and runs[0]._train.replays == 0 and runs[1]._train.replays > 0
    assert "item" in caplog.text


def test_regression_has_no_accuracy():
    model = nn.Linear(1, 1)
    data = TensorDataset(fastnn.arange(8).float().view(-1, 1) / 8, fastnn.arange(8).float().view(-1, 1))
    history = train.fit(model, DataLoader(data, 4), nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 5)
    assert history[-1]["train_loss"] < history[0]["train_loss"] and history[0]["train_accuracy"] is None
    assert history[0]["val_loss"] is None
    assert train.evaluate(model, DataLoader(data, 8), nn.MSELoss()).accuracy is None


def test_evaluate():
    class Fixed(nn.Module):
        def forward(self, x):
            assert not self.training and not fastnn.is_grad_enabled()
            return x
    x = fastnn.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    loss, accuracy = train.evaluate(Fixed(), [(x[:2], fastnn.tensor([0, 1])), (x[2:], fastnn.tensor([0]))],
                                    nn.CrossEntropyLoss())
    assert loss == pytest.approx((2 * np.log(1 + np.exp(-2)) + np.log(1 + np.exp(2))) / 3, rel=1e-6)
    assert accuracy == 2 / 3


class StopAt(Callback):
    def __init__(self, step, act):
        self.step, self.act = step, act

    def step_end(self, run):
        if run.step == self.step:
            self.act(run)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("at", [1, 3, 6, 7, 11, 17, 18])
def test_goes_on_with_the_same_bits(tmp_path, at, workers):
    whole = make_run(3, num_workers=workers)
    whole.run()
    part = make_run(3, [StopAt(at, lambda run: setattr(run, "stop", True))], num_workers=workers)
    part.run()
    assert part.step == at
    fastnn.save(part.state_dict(), tmp_path / "state")
    rest = make_run(3, num_workers=workers)
    fastnn.rand(3)
    rest.load_state_dict(fastnn.load(tmp_path / "state"))
    rest.run()
    assert bits(rest) == bits(whole) and timeless(rest.history) == timeless(whole.history) and rest.step == 18
    assert fastnn.default_generator.get_state() == (whole.run() and fastnn.default_generator.get_state())


def test_data_without_state_go_on_at_epochs_only():
    batches = [(fastnn.zeros(2, 6), fastnn.tensor([0, 1]))] * 3
    run = make_run(2, [StopAt(2, lambda run: setattr(run, "stop", True))])
    run.data = batches
    run.run()
    other = make_run(2)
    other.data = batches
    with pytest.raises(ValueError, match="middle of an epoch"):
        other.load_state_dict(run.state_dict())


def test_in_another_thread():
    run, failed = make_run(1), []

    def work():
        try:
            run.run()
        except BaseException as error:
            failed.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed and run.epoch == 1


def test_refusals():
    model = nn.Linear(2, 2)
    sgd = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(NotImplementedError, match="bptt"):
        train.fit(model, [], nn.MSELoss(), sgd, 1, bptt=3)
    with pytest.raises(ValueError, match=r"a batch should be \(input, target\), got list of 3"):
        train.fit(model, [[1, 2, 3]], nn.MSELoss(), sgd, 1)
    with pytest.raises(ValueError, match="got Tensor"):
        train.fit(model, [fastnn.tensor(1.0)], nn.MSELoss(), sgd, 1)
