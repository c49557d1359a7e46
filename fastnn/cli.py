"""The commands: fastnn train, info, selftest, bench."""
import argparse
import math
import os
import sys

import fastnn
from fastnn import _core

DEFAULT_LR = {"sgd": 0.1, "adam": 2e-3, "adamw": 2e-3}
DEFAULTS = {"data": "digits", "model": "mlp", "epochs": 40, "batch_size": 64, "lr": DEFAULT_LR["adam"],
            "optimizer": "adam", "seed": 0}


class Failure(Exception):
    """Ends a command with one line on stderr; `code` is the exit status."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


# ---- train -----------------------------------------------------------------------------------------------------------

def _digits():
    from fastnn.datasets import Digits
    return Digits(train=True), Digits(train=False), 64, 10


def _mlp(features, classes):
    from fastnn.models import MLP
    return MLP([features, 256, 128, classes], dropout=0.2)


def _optimizer(name, parameters, lr):
    if name == "sgd":
        return fastnn.optim.SGD(parameters, lr=lr, momentum=0.9)
    return {"adam": fastnn.optim.Adam, "adamw": fastnn.optim.AdamW}[name](parameters, lr=lr)


DATA = {"digits": _digits}
MODELS = {"mlp": _mlp}


def _positive(kind):
    def parse(text):
        value = kind(text)
        if not value > 0 or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value
    parse.__name__ = kind.__name__
    return parse


def _seed(text):
    value = int(text)
    if not 0 <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text} is not in 0 .. 2^63 - 1")
    return value


def add_train(parser):
    add = parser.add_argument
    add("--data", choices=sorted(DATA), help="the images to learn (digits: 1,797 of 8x8, shipped with fastnn)")
    add("--model", choices=sorted(MODELS), help="the network (mlp: 256 and 128 hidden units, dropout 0.2)")
    add("--epochs", type=_positive(int), help="passes over the training images (%(metavar)s, default 40)", metavar="N")
    add("--batch-size", type=_positive(int), help="images in a step (default 64)", metavar="N")
    add("--lr", type=_positive(float), help="learning rate (default 0.002; 0.1 for sgd)", metavar="RATE")
    add("--optimizer", choices=sorted(DEFAULT_LR), help="default adam; sgd has momentum 0.9")
    add("--seed", type=_seed, help="of all random numbers (default 0)", metavar="N")
    add("--threads", type=_positive(int), help="threads to use; the result is the same for any number", metavar="N")
    add("--out", default="runs/digits-mlp", metavar="DIR",
        help="folder for checkpoint.safetensors, history.csv, loss.png (default %(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint in the folder, in the middle of an epoch too")
    add("--checkpoint-steps", type=_positive(int), help="save after each N steps besides", metavar="N")
    add("--quiet", action="store_true", help="no bar and no line for each epoch")


def _configuration(args, checkpoint):
    """The options of this run: those given, over those of the run it resumes, over the defaults."""
    given = {key: getattr(args, key) for key in DEFAULTS if getattr(args, key) is not None}
    if not args.resume:
        return {**DEFAULTS, "lr": DEFAULT_LR[given.get("optimizer", DEFAULTS["optimizer"])], **given}
    if not os.path.exists(checkpoint):
        raise Failure(f"train --resume: there is no {checkpoint}", 2)
    try:
        earlier = fastnn.load(checkpoint)["extra"]
        earlier = {key: earlier[key] for key in DEFAULTS}
    except (ValueError, NotImplementedError, KeyError, TypeError, IndexError) as error:
        raise Failure(f"train --resume: {checkpoint} is not a checkpoint of this command: {error}") from None
    for key, value in given.items():
        if key != "epochs" and value != earlier[key]:
            raise Failure(f"train --resume: --{key.replace('_', '-')} is {value}, "
                          f"but the checkpoint was made with {earlier[key]}", 2)
    return {**earlier, **given}


def train(args):
    from fastnn import nn
    from fastnn.train import Checkpoint, History, ProgressBar, Run, plots
    from fastnn.utils.data import DataLoader
    checkpoint = os.path.join(args.out, "checkpoint.safetensors")
    config = _configuration(args, checkpoint)
    os.makedirs(args.out, exist_ok=True)
    if args.threads:
        fastnn.set_num_threads(args.threads)
    fastnn.manual_seed(config["seed"])
    train_set, val_set, features, classes = DATA[config["data"]]()
    model = MODELS[config["model"]](features, classes)
    callbacks = [Checkpoint(checkpoint, resume=args.resume, steps=args.checkpoint_steps, extra=config),
                 History(os.path.join(args.out, "history.csv"))] + ([] if args.quiet else [ProgressBar()])
    run = Run(model, DataLoader(train_set, config["batch_size"], shuffle=True),
              nn.CrossEntropyLoss(label_smoothing=0.1), _optimizer(config["optimizer"], model.parameters(), config["lr"]),
              config["epochs"], DataLoader(val_set, 512), callbacks)
    try:
        run.run()
    except KeyboardInterrupt:
        print(f"\ninterrupted after {run.epoch} epochs and {run.batch} batches; {checkpoint} holds all of it.\n"
              f"Go on with: fastnn train --resume --out {args.out}", file=sys.stderr)
        return 130
    seconds = sum(row["seconds"] for row in run.history)
    last = run.history[-1]
    print(f"accuracy {100 * last['val_accuracy']:.2f} % on {len(val_set)} held-out images after {run.epoch} epochs, "
          f"{seconds:.1f} s, {_core.get_num_threads()} threads, {_core.get_isa()}")
    print(f"{checkpoint}, history.csv{_picture(plots, run.history, os.path.join(args.out, 'loss.png'))}")
    return 0


def _picture(plots, history, path):
    try:
        plots.loss_curves(history, path, "fastnn train")
    except ImportError:
        return ' (for the picture loss.png: pip install "fastnn[train]")'
    return ", loss.png"


# ---- info ------------------------------------------------------------------------------------------------------------

def _bandwidth(seconds=0.2, mebibytes=256):
    """GB/s that the threads read and write together, copying a block too large for caches; the best of several."""
    import time
    x = fastnn.zeros(mebibytes << 18)
    y = fastnn.zeros_like(x)
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end or best == math.inf:
        start = time.perf_counter()
        y.copy_(x)
        best = min(best, time.perf_counter() - start)
    return 2 * x.nbytes / best / 1e9


def add_info(parser):
    parser.add_argument("--quick", action="store_true", help="measure nothing")


def info(args):
    threads = _core.get_num_threads()
    kind = "OpenMP" if _core.threading_kind() == "openmp" else "plain threads (built without OpenMP)"
    rows = [("version", fastnn.__version__),
            ("instruction set", f"{_core.get_isa()} (this machine runs {', '.join(_core.isas())}; "
                                f"compiled in: {', '.join(_core.isas_compiled())})"),
            ("threads", f"{threads}, {kind}")]
    if not args.quick:
        region, barrier = _core.run_costs()
        rows += [("FMA peak", f"{_core.fma_peak():.1f} GFLOP/s float32 on one thread"),
                 ("bandwidth", f"{_bandwidth():.1f} GB/s read and written, {threads} threads"),
                 ("parallel region", f"{region / 1000:.2f} us"), ("barrier", f"{barrier / 1000:.2f} us")]
    for name, value in rows:
        print(f"{name:<16} {value}")
    return 0


# ---- selftest --------------------------------------------------------------------------------------------------------

def selftest(args):
    from fastnn.selftest import run
    return 0 if run() else 1


# ---- the table of commands -------------------------------------------------------------------------------------------

COMMANDS = {                             # name: (what it does, what adds its options, what runs it)
    "train": ("train a network on images, with checkpoints, a history and a picture", add_train, train),
    "info": ("what this build and this machine are, measured", add_info, info),
    "selftest": ("check results of this installation against known ones", lambda parser: None, selftest),
}


def main(argv=None):
    """Run a command; returns the exit code: 0, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="fastnn", description="Train neural networks fast on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastnn {fastnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (help_, add, _) in COMMANDS.items():
        add(commands.add_parser(name, help=help_, description=help_))
    args = parser.parse_args(argv)
    try:
        return COMMANDS[args.command][2](args)
    except KeyboardInterrupt:
        return 130
    except Failure as error:
        print(f"fastnn {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"fastnn {args.command}: {error}", file=sys.stderr)
        return 1
