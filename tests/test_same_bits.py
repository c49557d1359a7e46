"""The promise: an epoch leaves the same parameter bits however it is run. Each way is a process of its own."""
import os
import subprocess
import sys

import pytest

EPOCH = """
import hashlib, sys
import fastnn
from fastnn import _core, nn, optim
from fastnn.datasets import Digits
from fastnn.nn import functional as F
from fastnn.utils.data import DataLoader

form, threads, optimizer, shared, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "all", sys.argv[5]
fastnn.set_num_threads(threads)
if shared:
    _core.set_work_grains(0, 0)             # every kernel by a team, however small
fastnn.manual_seed(5)
if kind == "mlp":
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 200), nn.ReLU(), nn.Dropout(0.3), nn.Linear(200, 97), nn.Tanh(), nn.Linear(97, 10))
else:
    model = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 40, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(40), nn.ReLU(),
                          nn.Dropout2d(0.2), nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(40, 24, 3, padding="same", groups=2), nn.BatchNorm2d(24, momentum=None),
                          nn.Conv2d(24, 24, 3, padding=2, dilation=2, groups=24), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(24, 10))
opt = {"adam": lambda p: optim.Adam(p, 1e-3), "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-4)}[optimizer](model.parameters())

def step(x, y):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    return loss

run = fastnn.capture(step) if form == "captured" else step
digest = hashlib.sha256()
for x, y in DataLoader(Digits(train=True), batch_size=50, shuffle=True):
    digest.update(run(x, y).detach().numpy().tobytes())
for p in model.state_dict().values():
    digest.update(p.detach().numpy().tobytes())
if form == "captured":
    assert run.info()["replays"] > 10, run.info()
print(digest.hexdigest())
"""
WAYS = [(form, threads, {}, "all") for form in ("eager", "captured") for threads in (1, 2, 3, 7)] + [
    ("captured", 2, {}, "large"), ("eager", 4, {"OMP_THREAD_LIMIT": "2"}, "all"), ("captured", 4, {"OMP_THREAD_LIMIT": "2"}, "all"),
    ("captured", 3, {"OMP_DYNAMIC": "true"}, "all"), ("captured", 4, {"OMP_THREAD_LIMIT": "1"}, "all"), ("captured", 2, {"OMP_WAIT_POLICY": "passive"}, "all")]


def epoch(form, threads, env, shared, optimizer, kind="mlp"):
    done = subprocess.run([sys.executable, "-c", EPOCH, form, str(threads), optimizer, shared, kind], env={**os.environ, **env}, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def plain():
    return {optimizer: epoch("eager", 1, {}, "large", optimizer) for optimizer in ("adam", "sgd")}


@pytest.mark.slow
@pytest.mark.parametrize("form, threads, env, shared", WAYS, ids=lambda v: str(v) if v != {} else "")
def test_an_epoch(plain, form, threads, env, shared):
    assert epoch(form, threads, env, shared, "adam") == plain["adam"]


@pytest.mark.parametrize("form, threads", [("captured", 1), ("captured", 2), ("eager", 3)])
def test_an_epoch_of_sgd(plain, form, threads):
    assert epoch(form, threads, {}, "all", "sgd") == plain["sgd"]


@pytest.fixture(scope="module")
def plain_convolutional():
    return epoch("eager", 1, {}, "large", "sgd", "convolutional")


@pytest.mark.slow
@pytest.mark.parametrize("form, threads, env, shared", WAYS, ids=lambda v: str(v) if v != {} else "")
def test_an_epoch_of_a_convolutional_net(plain_convolutional, form, threads, env, shared):
    assert epoch(form, threads, env, shared, "sgd", "convolutional") == plain_convolutional


def test_another_seed_is_another_digest(plain):
    assert plain["adam"] != plain["sgd"] and len(plain["adam"]) == 64
