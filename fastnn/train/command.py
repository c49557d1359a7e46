"""The command fastnn train."""
import argparse
import math
import os
import sys
import warnings

import fastnn
from .._core import get_isa, get_num_threads
from .callbacks import Callback, Checkpoint, History, ProgressBar
from .loop import Run

DEFAULT_LR = {"sgd": 0.05, "adam": 2e-3, "adamw": 2e-3}


class Failure(Exception):
    """Ends a command with one line on stderr; `code` is the exit status."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def _digits(config, download):
    from fastnn.datasets import Digits
    return Digits(train=True), Digits(train=False)


def _published(name, moved=None):
    """`moved` gives what is done to training images before they become tensors."""
    def load(config, download):
        from fastnn import datasets
        from fastnn.transforms import Compose, ToTensor
        training = Compose([*moved(), ToTensor()]) if moved else ToTensor()
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", UserWarning)
                found = [getattr(datasets, name)(config["root"], train, training if train else ToTensor(), download=download)
                         for train in (True, False)]
        except (RuntimeError, ValueError) as error:
            said = str(error).replace("download=True", "--download")
            raise Failure(f"train --root {config['root']}: {said}") from None
        for warning in said:
            print(f"fastnn train: {warning.message}", file=sys.stderr)
        return found
    return load


def _crops_and_flips():
    from fastnn.transforms import RandomCrop, RandomHorizontalFlip
    return RandomCrop(32, padding=4), RandomHorizontalFlip()


def _lenet(channels, side):
    from fastnn.models import LeNet
    return LeNet(channels, 10, side)


def _mlp(channels, side):
    from fastnn.models import MLP
    return MLP([channels * side * side, 256, 128, 10], dropout=0.2)


def _resnet20(channels, side):
    from fastnn.models import resnet20
    return resnet20(in_channels=channels)


def _vgg(channels, side):
    """VGG-11, with as many poolings as the image has halves."""
    from fastnn.models import VGG
    from fastnn.models.vgg import CONFIGURATIONS
    cfg, left = [], side
    for entry in CONFIGURATIONS["vgg11"]:
        if entry != "M" or left > 1:
            cfg.append(entry)
            left //= 2 if entry == "M" else 1
    return VGG(cfg, in_channels=channels, image_size=side)


def _optimizer(name, parameters, lr):
    if name == "sgd":
        return fastnn.optim.SGD(parameters, lr=lr, momentum=0.9)
    return {"adam": fastnn.optim.Adam, "adamw": fastnn.optim.AdamW}[name](parameters, lr=lr)


DATA = {                                 # name: (training and held-out part, (channels, height and width), epochs)
    "digits": (_digits, (1, 8), 40),
    "mnist": (_published("MNIST"), (1, 28), 5),
    "fashion-mnist": (_published("FashionMNIST"), (1, 28), 10),
    "cifar10": (_published("CIFAR10", _crops_and_flips), (3, 32), 30),
}
MODELS = {"lenet": _lenet, "mlp": _mlp, "resnet20": _resnet20, "vgg": _vgg}


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


def add_options(parser):
    """What the command takes."""
    add = parser.add_argument
    add("--data", choices=list(DATA), help="the images to learn (default digits: 1,797 of 8x8, shipped with fastnn)")
    add("--root", metavar="DIR",
        help="folder with the files of the other sets (default FASTNN_DATA, else data)")
    add("--download", action="store_true", help="fetch files that are missing there")
    add("--model", choices=list(MODELS), help="the network (default lenet; mlp: 256 and 128 hidden units, dropout 0.2; vgg: VGG-11)")
    add("--epochs", type=_positive(int), metavar="N",
        help=f"passes over the training images (default {', '.join(f'{name} {d[2]}' for name, d in DATA.items())})")
    add("--batch-size", type=_positive(int), help="images in a step (default 64)", metavar="N")
    add("--lr", type=_positive(float), metavar="RATE",
        help="learning rate at the start, half of it after 2,000 steps, a third after 4,000 (default 0.002; 0.05 for "
             "sgd)")
    add("--optimizer", choices=sorted(DEFAULT_LR), help="default adam; sgd has momentum 0.9")
    add("--seed", type=_seed, help="of all random numbers (default 0)", metavar="N")
    add("--threads", type=_positive(int), help="threads to use; the result is the same for any number", metavar="N")
    add("--out", metavar="DIR", help="folder for checkpoint.safetensors, history.csv, loss.png, predictions.png "
                                     "(default runs/DATA-MODEL)")
    add("--resume", action="store_true", help="go on from the checkpoint in the folder, in the middle of an epoch too")
    add("--checkpoint-steps", type=_positive(int), help="save after each N steps besides", metavar="N")
    add("--quiet", action="store_true", help="no bar and no line for each epoch")


def _configuration(args):
    """(options, folder, checkpoint); options given go over those of a run that is resumed, or over the defaults."""
    data, model, optimizer = args.data or "digits", args.model or "lenet", args.optimizer or "adam"
    defaults = {"data": data, "root": os.environ.get("FASTNN_DATA", "data"), "model": model, "epochs": DATA[data][2],
                "batch_size": 64, "lr": DEFAULT_LR[optimizer], "optimizer": optimizer, "seed": 0}
    given = {key: getattr(args, key) for key in defaults if getattr(args, key) is not None}
    out = args.out or os.path.join("runs", f"{data}-{model}")
    checkpoint = os.path.join(out, "checkpoint.safetensors")
    if not args.resume:
        return {**defaults, **given}, out, checkpoint
    if not os.path.exists(checkpoint):
        raise Failure(f"train --resume: there is no {checkpoint}", 2)
    try:
        earlier = fastnn.load(checkpoint)["extra"]
        earlier = {key: earlier[key] for key in defaults}
    except (ValueError, NotImplementedError, KeyError, TypeError, IndexError) as error:
        raise Failure(f"train --resume: {checkpoint} is not a checkpoint of this command: {error}") from None
    for key, value in given.items():
        if key not in ("epochs", "root") and value != earlier[key]:
            raise Failure(f"train --resume: --{key.replace('_', '-')} is {value}, "
                          f"but the checkpoint was made with {earlier[key]}", 2)
    return {**earlier, **given}, out, checkpoint


class _Falling(Callback):
    """The learning rate of a step: lr / (1 + step / 2000), whatever the number of epochs, so that a run can be made
    longer."""

    def __init__(self, lr):
        self.lr = lr

    def step_end(self, run):
        for group in run.optimizer.param_groups:
            group["lr"] = self.lr / (1 + run.step / 2000)

    start = step_end


def train(args):
    """Runs the command; returns the exit code."""
    from fastnn import nn
    from fastnn.utils.data import DataLoader
    config, out, checkpoint = _configuration(args)
    load, image, _ = DATA[config["data"]]
    train_set, val_set = load(config, args.download)
    os.makedirs(out, exist_ok=True)
    if args.threads:
        fastnn.set_num_threads(args.threads)
    fastnn.manual_seed(config["seed"])
    model = MODELS[config["model"]](*image)
    optimizer = _optimizer(config["optimizer"], model.parameters(), config["lr"])
    callbacks = [Checkpoint(checkpoint, resume=args.resume, steps=args.checkpoint_steps, extra=config),
                 _Falling(config["lr"]), History(os.path.join(out, "history.csv"))]
    run = Run(model, DataLoader(train_set, config["batch_size"], shuffle=True),
              nn.CrossEntropyLoss(label_smoothing=0.1), optimizer, config["epochs"], DataLoader(val_set, 512),
              callbacks + ([] if args.quiet else [ProgressBar()]))
    try:
        run.run()
    except KeyboardInterrupt:
        print(f"\ninterrupted after {run.epoch} epochs and {run.batch} batches; {checkpoint} holds all of it.\n"
              f"Go on with: fastnn train --resume --out {out}", file=sys.stderr)
        return 130
    seconds = sum(row["seconds"] for row in run.history)
    last = run.history[-1]
    print(f"accuracy {100 * last['val_accuracy']:.2f} % on {len(val_set)} held-out images after {run.epoch} epochs, "
          f"{seconds:.1f} s, {get_num_threads()} threads, {get_isa()}")
    print(f"{checkpoint}, history.csv{_pictures(run, out)}")
    return 0


def _pictures(run, out, shown=40):
    """The loss curve, and images of the held-out part: wrong ones, half of the picture at the most, then others."""
    from . import plots
    try:
        plots.loss_curves(run.history, os.path.join(out, "loss.png"), "fastnn train")
        run.model.eval()
        with fastnn.no_grad():
            predicted = fastnn.cat([run.model(x).argmax(1) for x, _ in run.validation]).tolist()
        data = run.validation.dataset
        targets = [int(target) for target in data.targets]
        wrong = [i for i, (p, t) in enumerate(zip(predicted, targets)) if p != t]
        chosen = wrong[:shown // 2] + [i for i in range(len(targets)) if predicted[i] == targets[i]]
        chosen = chosen[:shown]
        plots.predictions(fastnn.stack([data[i][0] for i in chosen]), [predicted[i] for i in chosen],
                          [targets[i] for i in chosen], os.path.join(out, "predictions.png"), data.classes,
                          title=f"{len(wrong)} of {len(targets)} are wrong")
    except ImportError:
        return ' (for pictures: pip install "fastnn[train]")'
    return ", loss.png, predictions.png"
