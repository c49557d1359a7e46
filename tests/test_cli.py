"""The commands (cli.py, train/command.py), as a user types them."""
import csv
import os
import signal
import subprocess
import sys

import pytest

import fastnn
from fastnn import cli
from fastnn.train import command as train_command
from test_datasets_cifar import make as make_cifar
from test_mnist import make

COLUMNS = "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,images_per_second,seconds"


def command(*args, **env):
    return subprocess.run([sys.executable, "-m", "fastnn", *map(str, args)], capture_output=True, text=True,
                          env={**os.environ, **env}, timeout=120)


def parameters(folder):
    state = fastnn.load(os.path.join(folder, "checkpoint.safetensors"))
    return {k: v.numpy().tobytes() for k, v in state["model"].items()}


def curves(folder):
    """history.csv without the columns that are times."""
    with open(os.path.join(folder, "history.csv"), newline="") as file:
        return [row[:6] for row in csv.reader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A short training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert cli.main(["train", "--epochs", "3", "--seed", "5", "--quiet", "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("model, accuracy", [("lenet", 0.98), ("mlp", 0.97)])
def test_train_reaches_its_accuracy_in_time(tmp_path, model, accuracy):
    """The time is processor time, so that a busy machine does not matter."""
    before = os.times()
    done = command("train", "--out", tmp_path, *(["--model", model] if model != "lenet" else []))
    assert done.returncode == 0, done.stderr
    after = os.times()
    assert sum(after[2:4]) - sum(before[2:4]) < (60 if "LD_PRELOAD" in os.environ else 20)       # the sanitizers are preloaded, and slow
    lines = done.stdout.splitlines()
    assert len(lines) == 42 and lines[0].startswith("epoch  1/40  train loss ")
    assert "held-out images after 40 epochs" in lines[40]
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert rows[0] == COLUMNS and len(rows) == 41 and float(rows[-1].split(",")[4]) >= accuracy
    pictures = set() if "(for pictures" in done.stdout else {"loss.png", "predictions.png"}
    assert set(os.listdir(tmp_path)) == {"checkpoint.safetensors", "history.csv"} | pictures
    assert [float(row.split(",")[5]) for row in rows[1:]] == [0.002 / (1 + 23 * n / 2000) for n in range(1, 41)]


def test_same_bits_for_any_threads_and_resumed_between_epochs(whole, tmp_path):
    for threads in (1, 3):
        out = tmp_path / str(threads)
        assert cli.main(["train", "--epochs", "2", "--seed", "5", "--quiet", "--threads", str(threads), "--out",
                         str(out)]) == 0
        assert cli.main(["train", "--resume", "--epochs", "3", "--quiet", "--out", str(out)]) == 0
        assert parameters(out) == parameters(whole) and curves(out) == curves(whole)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize("how, code", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_interrupted_or_killed_in_the_middle_of_an_epoch(whole, tmp_path, how, code):
    """A slow bar gives the time to stop between two steps; the resumed training ends with the bits of the whole one."""
    script = f"""if True:
        import os, sys, time
        from fastnn import cli, train
        def step_end(self, run):
            if run.step == 31:
                print("here", flush=True)
                time.sleep({0.3 if how == signal.SIGINT else 30})
        train.ProgressBar.step_end = step_end
        sys.exit(cli.main(sys.argv[1:]))
    """
    process = subprocess.Popen([sys.executable, "-c", script, "train", "--epochs", "3", "--seed", "5",
                                "--checkpoint-steps", "5", "--out", str(tmp_path)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while (line := process.stdout.readline()) != "here\n":
        assert line, process.stderr.read()
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    state = fastnn.load(tmp_path / "checkpoint.safetensors")
    assert state["step"] == (31 if how == signal.SIGINT else 30) and state["epoch"] == 1 and 0 < state["batch"] < 23
    if how == signal.SIGINT:
        assert "interrupted after 1 epochs and 8 batches" in err and "fastnn train --resume --out" in err
        assert "Traceback" not in err
    done = command("train", "--resume", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert parameters(tmp_path) == parameters(whole) and curves(tmp_path) == curves(whole)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("model", ["lenet", "mlp"])
def test_other_optimizers_learn(tmp_path, optimizer, model):
    assert cli.main(["train", "--epochs", "5", "--optimizer", optimizer, "--quiet", "--batch-size", "32", "--model", model,
                     "--out", str(tmp_path)]) == 0
    rows = curves(tmp_path)
    assert float(rows[-1][4]) > 0.9 and float(rows[-1][5]) == train_command.DEFAULT_LR[optimizer] / (1 + 5 * 45 / 2000)


@pytest.mark.parametrize("data, folder", [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("model", ["lenet", "mlp"])
def test_published_files(tmp_path, monkeypatch, capsys, data, folder, model):
    """From a folder that is given, or named by FASTNN_DATA; resumed without naming it; into a folder of its own."""
    root = tmp_path / "root"
    for part, n in (("train", 70), ("t10k", 50)):
        make(root, part, folder, n)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--data", data, "--model", model, "--epochs", "1", "--root", "root", "--quiet"]) == 0
    assert "% on 50 held-out images after 1 epochs" in capsys.readouterr().out
    out = tmp_path / "runs" / f"{data}-{model}"
    assert len(curves(out)) == 2
    assert cli.main(["train", "--data", data, "--model", model, "--epochs", "3", "--resume", "--quiet"]) == 0
    monkeypatch.setenv("FASTNN_DATA", "root")
    assert cli.main(["train", "--data", data, "--model", model, "--epochs", "3", "--quiet", "--out", "whole"]) == 0
    assert parameters(out) == parameters(tmp_path / "whole") and curves(out) == curves(tmp_path / "whole")
    os.rename(root, tmp_path / "moved")
    assert cli.main(["train", "--resume", "--data", data, "--model", model, "--epochs", "4", "--root", "moved", "--quiet"]) == 0


@pytest.mark.parametrize("model", ["resnet20", "lenet", "mlp", "vgg"])
def test_cifar10(tmp_path, capsys, model):
    """With crops and flips of the training part, the same after a resume."""
    make_cifar(tmp_path, n=5)
    args = ["train", "--data", "cifar10", "--root", str(tmp_path), "--model", model, "--batch-size", "10", "--quiet", "--out"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert cli.main([*args, str(whole), "--epochs", "2"]) == 0
    assert "% on 5 held-out images after 2 epochs" in capsys.readouterr().out and len(curves(whole)) == 3
    assert cli.main([*args, str(parts), "--epochs", "1"]) == cli.main([*args, str(parts), "--epochs", "2", "--resume"]) == 0
    assert parameters(parts) == parameters(whole) and curves(parts) == curves(whole)


@pytest.mark.parametrize("model", ["resnet20", "vgg"])
def test_small_images_go_through_large_models(tmp_path, model):
    assert cli.main(["train", "--model", model, "--epochs", "1", "--batch-size", "512", "--quiet", "--out", str(tmp_path)]) == 0


def test_a_part_of_cifar10_is_named_as_such(tmp_path, capsys):
    make_cifar(tmp_path, n=3)
    os.unlink(tmp_path / "cifar-10-batches-bin" / "data_batch_5.bin")
    assert cli.main(["train", "--data", "cifar10", "--root", str(tmp_path), "--epochs", "1", "--quiet", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.startswith("fastnn train: CIFAR10: data_batch_5.bin missing in ")


def test_missing_or_damaged_files(tmp_path, capsys):
    args = ["train", "--data", "mnist", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(args) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"fastnn train --root {tmp_path}: MNIST: not found in ") and err.count("\n") == 1 and "--download" in err
    make(tmp_path)
    make(tmp_path, "t10k", labels=b"")
    assert cli.main(args) == 1
    err = capsys.readouterr().err
    assert "t10k-labels-idx1-ubyte.gz: not an idx file" in err and err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("args, words", [
    ([], "required: command"), (["sing"], "invalid choice: 'sing'"),
    (["train", "--epochs", "0"], "0 is not a positive number"),
    (["train", "--epochs", "x"], "invalid int value: 'x'"), (["train", "--lr", "-1"], "-1 is not a positive number"),
    (["train", "--lr", "nan"], "nan is not a positive number"),
    (["train", "--lr", "inf"], "inf is not"), (["train", "--data", "mnist9"], "invalid choice: 'mnist9'"),
    (["train", "--optimizer", "lbfgs"], "invalid choice"),
    (["train", "--seed", "-1"], "not in 0"), (["train", "--threads", "0"], "not a positive"),
    (["train", "--model", "alexnet"], "invalid choice"), (["train", "--nonsense"], "unrecognized arguments")])
def test_usage_errors(capsys, args, words):
    with pytest.raises(SystemExit) as caught:
        cli.main(args)
    assert caught.value.code == 2 and words in capsys.readouterr().err


def test_resume_errors(whole, tmp_path, capsys):
    assert cli.main(["train", "--resume", "--out", str(tmp_path)]) == 2
    assert "fastnn train --resume: there is no" in capsys.readouterr().err
    for given in (["--model", "mlp"], ["--data", "mnist"], ["--optimizer", "sgd"]):
        assert cli.main(["train", "--resume", *given, "--out", str(whole)]) == 2
        assert f"{given[0]} is {given[1]}, but the checkpoint was made with" in capsys.readouterr().err
    assert cli.main(["train", "--resume", "--lr", "0.5", "--out", str(whole)]) == 2
    assert capsys.readouterr().err == "fastnn train --resume: --lr is 0.5, but the checkpoint was made with 0.002\n"
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
    assert cli.main(["train", "--resume", "--out", str(tmp_path)]) == 1
    assert "is not a checkpoint of this command" in capsys.readouterr().err
    fastnn.save({"extra": None}, tmp_path / "checkpoint.safetensors")
    assert cli.main(["train", "--resume", "--out", str(tmp_path)]) == 1
    (tmp_path / "file").write_text("")
    assert cli.main(["train", "--out", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert "file" in err and "Traceback" not in err


def test_without_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["train", "--epochs", "1", "--quiet", "--out", str(tmp_path)]) == 0
    assert 'pip install "fastnn[train]"' in capsys.readouterr().out and not list(tmp_path.glob("*.png"))


def test_the_picture_shows_wrong_ones_first(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from fastnn.train import plots
    shown = []
    monkeypatch.setattr(plots, "predictions", lambda *args, **options: shown.append((args, options)))
    assert cli.main(["train", "--epochs", "1", "--quiet", "--out", str(tmp_path)]) == 0
    ((images, predicted, targets, path, classes), options), = shown
    right = [p == t for p, t in zip(predicted, targets)]
    wrong = int(options["title"].split(" ")[0])
    assert images.shape == (40, 1, 8, 8) and right == sorted(right) and right.count(False) == min(wrong, 20) and wrong > 3
    assert options["title"] == f"{round((1 - float(curves(tmp_path)[1][4])) * 359)} of 359 are wrong"
    assert path == str(tmp_path / "predictions.png") and classes[3] == "3 - three"


def test_info(capsys):
    assert cli.main(["info"]) == 0
    rows = {line[:16].strip(): line[16:].strip() for line in capsys.readouterr().out.splitlines()}
    assert rows["version"] == fastnn.__version__ and fastnn._core.get_isa() in rows["instruction set"]
    assert float(rows["FMA peak"].split()[0]) > 0.5 and float(rows["bandwidth"].split()[0]) > 0.5
    assert float(rows["parallel region"].split()[0]) >= 0 and float(rows["barrier"].split()[0]) >= 0
    assert rows["threads"].startswith(str(fastnn.get_num_threads()))
    assert cli.main(["info", "--quick"]) == 0
    assert "FMA" not in capsys.readouterr().out


def test_selftest_and_version(capsys):
    assert cli.main(["selftest"]) == 0 and capsys.readouterr().out.count("ok ") == 4
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"fastnn {fastnn.__version__}\n"


def test_main_module():
    done = command("info", "--quick")
    assert done.returncode == 0 and done.stdout.startswith("version")
