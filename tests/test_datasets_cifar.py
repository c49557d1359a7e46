"""CIFAR-10 and CIFAR-100 from files as published: pickled.py reads the Python version."""
import builtins
import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import datasets, transforms
from fastnn.datasets import cifar, pickled
from fastnn.datasets.pickled import read_pickle
from fastnn.utils.data import DataLoader, default_collate

DATA = Path(os.environ.get("FASTNN_DATA") or Path(__file__).resolve().parent.parent.parent / "shared" / "data")
VERSIONS = ("binary", "binary.tar.gz", "python", "python.tar.gz")


# ---- files in the published form -----------------------------------------------------------------------------------------------------

def string(text):
    """Python 2's str, as its pickles have it."""
    text = text if isinstance(text, bytes) else text.encode()
    return (b"U" + bytes([len(text)]) if len(text) < 256 else b"T" + struct.pack("<I", len(text))) + text


def batch_of(pixels, key, labels, shape=None, kind="u1"):
    """The pickle that Python 2's cPickle made of {"batch_label": str, key: list, "data": array, "filenames": list}."""
    n, m = shape or pixels.shape
    array = (b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85q\x07U\x01b\x87q\x08Rq\t(K\x01"
             + b"J" + struct.pack("<i", n) + b"M" + struct.pack("<H", m) + b"\x86q\ncnumpy\ndtype\nq\x0b" + string(kind)
             + b"K\x00K\x01\x87q\x0cRq\r(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89" + string(pixels.tobytes())
             + b"tq\x0fb")
    numbers = b"".join(b"K" + bytes([v]) for v in labels)
    names = b"".join(string(f"{i}.png") for i in range(len(pixels)))
    return (b"\x80\x02}q\x01(" + string("batch_label") + b"q\x02" + string("training batch 1 of 5") + b"q\x03"
            + string(key) + b"q\x04]q\x10(" + numbers + b"e" + string("data") + b"q\x11" + array
            + string("filenames") + b"]r\x00\x01\x00\x00(" + names + b"eu.")


def make(root, version="binary", name="CIFAR10", n=6, seed=0, files=None):
    """A small data set; returns (pixels (N,32,32,3), labels) of its training and of its test part."""
    kind = getattr(datasets, name)
    rng, python, out, data = np.random.default_rng(seed), version.startswith("python"), [], {}
    folder = kind._folders[python]
    for names in kind._names:
        xs, ys = [], []
        for file in names:
            x, y = rng.integers(0, 256, (n, 3072), dtype=np.uint8), rng.integers(0, len(kind.classes), n)
            if python:
                data[file] = batch_of(x, kind._key, y)
            else:
                head = y.astype(np.uint8)[:, None]
                data[file + ".bin"] = np.hstack([head // 5, head, x] if kind._superclasses else [head, x]).tobytes()
            xs.append(x), ys.append(y)
        out.append((np.concatenate(xs).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.concatenate(ys)))
    data.update(files or {})
    data["readme.html"] = b"<p>"
    if version.endswith("gz"):
        Path(root).mkdir(parents=True, exist_ok=True)
        pack(Path(root, kind._archives[python]), {f"{folder}/{file}": value for file, value in data.items()})
    else:
        Path(root, folder).mkdir(parents=True, exist_ok=True)
        for file, value in data.items():
            Path(root, folder, file).write_bytes(value)
    return out


def pack(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, value in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(value)
            archive.addfile(member, io.BytesIO(value))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
@pytest.mark.parametrize("below", ["", "own"])
def test_versions(tmp_path, version, name, below):
    parts = make(tmp_path / (below and name), version, name)
    for train, (x, y) in zip((True, False), parts):
        d = getattr(datasets, name)(tmp_path, train)
        assert type(d.data) is np.ndarray and d.data.dtype == np.uint8 and np.array_equal(d.data, x) and d.data.flags.c_contiguous
        assert type(d.targets) is list and d.targets == y.tolist() and type(d.targets[0]) is int and len(d) == len(x)
    assert d.class_to_idx[d.classes[3]] == 3 and len(d.classes) == len(set(d.classes)) == (10 if name == "CIFAR10" else 100)
    assert d.classes == sorted(d.classes)
    assert repr(d) == f"Dataset {name}\n    Number of datapoints: 6\n    Root location: {tmp_path}\n    Split: Test"


def test_the_first_version_is_taken(tmp_path):
    wants = [make(tmp_path, version, seed=i)[1][0] for i, version in enumerate(("binary", "python", "binary.tar.gz", "python.tar.gz"))]
    for i, there in enumerate(("cifar-10-batches-bin/test_batch.bin", "cifar-10-batches-py/test_batch", "cifar-10-binary.tar.gz", None)):
        assert np.array_equal(datasets.CIFAR10(tmp_path, train=False).data, wants[i])
        if there:
            os.unlink(tmp_path / there)


def test_missing_files(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        datasets.CIFAR100(tmp_path)
    for words in ("CIFAR100: neither cifar-100-binary, cifar-100-python, cifar-100-binary.tar.gz nor cifar-100-python.tar.gz in",
                  str(tmp_path / "CIFAR100"), "with train. Put the published files there", "download=True"):
        assert words in str(caught.value)
    x, y = make(tmp_path)[0]
    os.unlink(tmp_path / "cifar-10-batches-bin" / "data_batch_4.bin")
    with pytest.warns(UserWarning, match="CIFAR10: data_batch_4.bin missing in .*cifar-10-batches-bin: only a part") as said:
        assert np.array_equal(datasets.CIFAR10(tmp_path).data, np.delete(x, slice(18, 24), 0))
    assert said[0].filename == __file__


# ---- damaged and hostile files -------------------------------------------------------------------------------------------------------

X = np.zeros((2, 3072), np.uint8)
GOOD = batch_of(X, "labels", [3, 4])


def batch(data=X, labels=(1, 1)):
    return pickle.dumps({"data": data, "labels": list(labels)}, 3)


BAD_BINARY = {                                                       # the file: what is said
    "empty": (b"", "records of 3,073 bytes, but has 0 bytes"), "cut off": (bytes(3073 * 2 - 1), "6,145 bytes, 3,072 too many"),
    "of CIFAR-100": (bytes(3074), "3,074 bytes, 1 too many"), "text": (b"<html>404</html>", "16 bytes, 16 too many"),
    "wild": (bytes(3073) + b"\x0a" + bytes(3072), r"label 10 at 1 is not in 0\.\.9"),
}
BAD_PYTHON = {
    "empty": (b"", "pickle exhausted"), "cut off": (GOOD[:-1], "exhausted"),
    "text": (b"<html>404</html>", "at position 0, opcode b'<' unknown"),
    "a list": (pickle.dumps([1], 2), "should hold a dict, but holds a list"),
    "another dict": (pickle.dumps({"x": 1}, 2), "dict with 'data', but has 'x'"),
    "no labels": (pickle.dumps({"data": X}, 3), "dict with 'labels', but has 'data'"),
    "fewer labels": (batch_of(X, "labels", [3]), "2 images, but 1 labels"),
    "wild": (batch_of(X, "labels", [3, 10]), r"label 10 at 1 is not in 0\.\.9"),
    "huge": (batch(labels=[1, 1 << 80]), "at 1 is not"), "negative": (batch(labels=[-1, 1]), "label -1 at 0"),
    "booleans": (batch(labels=[True, True]), "a list of integers"),
    "tuple": (pickle.dumps({"data": X, "labels": (1, 1)}, 3), "a list of integers"),
    "none": (batch_of(X[:0], "labels", []), "has no images"),
    "grey": (batch(X[:, :1024]), r"an array \(N, 3072\) of bytes, got \(2, 1024\)"), "bytes": (batch(X.tobytes()), "got bytes"),
    "doubles": (batch_of(X, "labels", [1, 2], kind="f8"), "unsigned bytes"),
    "objects": (batch_of(X, "labels", [1, 2], kind="O8"), "unsigned bytes"),
    "lying": (batch_of(X, "labels", [1, 2], shape=(1 << 30, 3072)), "cannot reshape"),
    "real": (batch(labels=[1, 2.5]), "opcode BINFLOAT, which is not read"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("version, case", [("binary", c) for c in BAD_BINARY] + [("python", c) for c in BAD_PYTHON])
def test_damaged_files(tmp_path, version, case, packed):
    data, words = {"binary": BAD_BINARY, "python": BAD_PYTHON}[version][case]
    make(tmp_path, version + ".tar.gz" * packed, files={"data_batch_2" + ".bin" * (version == "binary"): data})
    tracemalloc.start()
    with pytest.raises(ValueError, match=words) as caught:
        datasets.CIFAR10(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20 and "data_batch_2" in str(caught.value) and str(tmp_path) in str(caught.value)
    tracemalloc.stop()


def test_superclasses_are_looked_at(tmp_path):
    make(tmp_path, "binary", "CIFAR100", files={"test.bin": bytes([20, 5]) + bytes(3072)})
    with pytest.raises(ValueError, match=r"test.bin: superclass 20 at 0 is not in 0\.\.19"):
        datasets.CIFAR100(tmp_path, train=False)


class Calls:
    """Its pickle calls a function when Python reads it."""

    def __init__(self, function, *args):
        self.how = function, args

    def __reduce__(self):
        return self.how


@pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")
@pytest.mark.parametrize("thing", [
    Calls(os.system, "touch called"), Calls(eval, "1"), Calls(getattr, "", "join"), np.zeros(3), np.array([None]), np.dtype("f4"),
    fastnn.zeros(2), Calls, builtins.print, 1j, {1, 2}, bytearray(2)], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_is_called(thing, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not read|unsigned bytes|damaged"):
        read_pickle(pickle.dumps({"labels": thing}, protocol))
    assert os.listdir() == []


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_is_read(protocol):
    value = {"a": [1, -2, 300, 70000, 1 << 70, None, True, False, "x" * 300, "é", [], {}, ()],
             7: (1, (2, 3), (4, 5, 6), (7, 8, 9, 10)), "s": {"t": []}}
    assert read_pickle(pickle.dumps(value, protocol)) == value
    if protocol > 2:
        assert read_pickle(pickle.dumps({b"k": b"y" * 300}, protocol)) == {b"k": b"y" * 300}
        for array in (np.arange(6, dtype=np.uint8).reshape(2, 3), np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))):
            assert np.array_equal(read_pickle(pickle.dumps(array, protocol)), array)


@pytest.mark.parametrize("data", [
    b"U\x0bnumpy dtypeU\x02u1\x85R.", b"U\x0c_reconstructcnumpy\nndarray\n\x85R.", b"U\x02u1Nb.",            # strings that are no names
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R(K\x01K\x01\x85U\x02u1\x89U\x01btb."])
def test_a_string_is_no_name(data):
    with pytest.raises(ValueError, match="damaged|not read|unsigned bytes"):
        read_pickle(data)


@pytest.mark.parametrize("data", [
    b"", b".", b"}u.", b"(u.", b"}(K\x01u.", b"](K\x01K\x02", b"K\x01a.", b"h\x00.", b"q\x00.", b"\x85.", b"NR.", b"NNb.", b")R.", b"]]R.",
    b"\x93.", b"})" + b"\x85" * 50000 + b"K\x01s.", b"}(]K\x01u.", b"r\xff\xff\xff\x7f.", b"Nr\xff\xff\xff\x7f", b"T\xff\xff\xff\x7f.",
    b"\x8e" + b"\xff" * 7 + b"\x7f.", b"\x8b\xff\xff\xff\x7f1.", b"cnumpy.core.multiarray\n_reconstruct\n.",
    b"cnumpy\ndtype\nU\x02u1\x85R(K\x03tb.", b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R.",
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85RNb.", b"I" + b"9" * 9999 + b"\n."], ids=lambda d: repr(d[:24]))
def test_hostile_pickles(data):
    """Stacks that run empty, marks that are not there, lengths and memo numbers that lie, depth, opcodes without end."""
    tracemalloc.start()
    try:
        found = read_pickle(data)
    except ValueError as error:
        assert str(error)
    else:
        assert isinstance(found, (int, str))                                      # harmless: a name, say
    assert tracemalloc.get_traced_memory()[1] < 300 << 20
    tracemalloc.stop()


def test_opcodes_without_end(monkeypatch):
    monkeypatch.setattr(pickled, "_MOST", 1000)
    assert read_pickle(b"]" * 999 + b".") == []
    with pytest.raises(ValueError, match="more than 1,000 opcodes"):
        read_pickle(b"]" * 1000 + b".")


OPCODES = np.frombuffer(b"\x80}q(UKe]cR.btTJM\x85\x86\x87N\x89ush0a\x8a\x8c\x93\x94", np.uint8)


@pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")
def test_every_cut_and_many_changes_of_a_pickle():
    """Whatever the bytes, a value or a ValueError."""
    small = batch_of(np.arange(12, dtype=np.uint8).reshape(3, 4), "labels", [1, 2, 3])
    for n in range(len(small)):
        with pytest.raises(ValueError):
            read_pickle(small[:n])
    rng = np.random.default_rng(0)
    for _ in range(3000):
        data = bytearray(small)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.choice(OPCODES) if rng.random() < 0.6 else rng.integers(256)
        try:
            read_pickle(bytes(data))
        except ValueError:
            pass


@pytest.mark.parametrize("damage", [lambda b: b[:-40], lambda b: b[:30], lambda b: b"", lambda b: b[:400] + bytes(40) + b[440:],
                                    lambda b: b"\x1f\x8b" + b"x" * 50,
                                    lambda b: gzip.compress(b"not a tar" * 200), lambda b: gzip.decompress(b)])
def test_damaged_archives(tmp_path, damage):
    make(tmp_path, "binary.tar.gz")
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz: the archive (is damaged or cut off|has none of cifar-10-batches-bin/)"):
        datasets.CIFAR10(tmp_path, train=False)


def test_hostile_archives(tmp_path, monkeypatch):
    """Members that are links, far too long, or wander out of the folder; chains of headers; a file that swells."""
    path, target = tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin/test_batch.bin"
    pack(path, {f"/etc/{target}": b"x", f"../{target}": b"x", f"x/{target}": b"x", "./" + target: bytes(3073)})
    assert len(datasets.CIFAR10(tmp_path, train=False)) == 1 and not [p for p in tmp_path.rglob("test_batch.bin")]
    link = tarfile.TarInfo(target)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(link)
    with pytest.raises(ValueError, match="has none of cifar-10-batches-bin/test_batch.bin"):
        datasets.CIFAR10(tmp_path, train=False)
    header = tarfile.TarInfo("a")
    header.type, header.size = tarfile.XHDTYPE, 12
    path.write_bytes(gzip.compress((header.tobuf() + b"10 a=bcdefg\n".ljust(512, b"\0")) * 5000))
    with pytest.raises(ValueError, match="damaged or cut off"):
        datasets.CIFAR10(tmp_path, train=False)
    monkeypatch.setattr(cifar, "_MOST", 1 << 20)
    for name, size in ((target, 1 << 22), (target, 1 << 40), ("other", 1 << 22)):
        long = tarfile.TarInfo(name)
        long.size = size
        path.write_bytes(gzip.compress(long.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 22)))
        with pytest.raises(ValueError, match="holds more than the 1,048,576 bytes"):
            datasets.CIFAR10(tmp_path, train=False)
    make(tmp_path, n=400)
    with pytest.raises(ValueError, match="test_batch.bin: has more than the 1,048,576 bytes"):
        datasets.CIFAR10(tmp_path, train=False)


# ---- samples and batches ---------------------------------------------------------------------------------------------------------------

def test_samples(tmp_path):
    x, y = make(tmp_path)[1]
    d = datasets.CIFAR10(tmp_path, train=False)
    image, target = d[-1]
    assert np.array_equal(np.asarray(image), x[-1]) and target == y[-1] and type(target) is int
    d.transform = transforms.ToTensor()
    image, target = d[2]
    assert image.shape == (3, 32, 32) and np.array_equal(image.numpy(), np.float32(x[2].transpose(2, 0, 1)) / np.float32(255))
    assert [t for _, t in d] == y.tolist()


NORMALIZED = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))])


@pytest.mark.parametrize("transform", [transforms.ToTensor(), NORMALIZED], ids=["ToTensor", "Normalize"])
def test_batches_have_the_bits_of_samples(tmp_path, transform, monkeypatch):
    x, y = make(tmp_path, n=5)[0]
    d = datasets.CIFAR10(tmp_path, transform=transform)
    single = list(DataLoader(d, 7, collate_fn=lambda batch: default_collate(batch)))
    monkeypatch.setattr(datasets.images.Images, "__getitem__", None)              # no sample is touched
    for (a, c), (b, e) in zip(DataLoader(d, 7), single, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes() and a.shape == b.shape and a.stride() == b.stride()
        assert c.tolist() == e.tolist() and c.dtype == e.dtype
    d.targets = [y.tolist()] * 25                                                  # the user's own
    with pytest.raises(TypeError):
        next(iter(DataLoader(d, 7)))


def test_pickle(tmp_path):
    x, y = make(tmp_path)[1]
    d = pickle.loads(pickle.dumps(datasets.CIFAR10(tmp_path, train=False)))
    assert np.array_equal(d.data, x) and d.targets == y.tolist()


def test_download(tmp_path, monkeypatch):
    """Without a network: the archive of the Python version, guarded; what is there is not fetched anew."""
    want, _ = make(tmp_path / "mirror", "python.tar.gz")[1]
    path = tmp_path / "mirror" / "cifar-10-python.tar.gz"
    guard = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "resources", {path.name: guard})
    monkeypatch.setattr(datasets.CIFAR10, "mirrors", (path.parent.as_uri() + "/",))
    root = tmp_path / "data"
    assert np.array_equal(datasets.CIFAR10(root, train=False, download=True).data, want) and os.listdir(root) == [path.name]
    path.write_bytes(b"x")
    assert len(datasets.CIFAR10(root, train=False, download=True)) == 6
    os.unlink(root / path.name)
    with pytest.raises(RuntimeError, match="not the published file of .* bytes with SHA-256"):
        datasets.CIFAR10(root, download=True)
    assert os.listdir(root) == []


def test_a_part_of_the_published_files():
    if not (DATA / "cifar-10-batches-bin").is_dir():
        pytest.skip(f"no CIFAR-10 in {DATA} (FASTNN_DATA names another folder)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                            # of a part, where it is one
        train, test = datasets.CIFAR10(DATA), datasets.CIFAR10(DATA, train=False)
    assert len(train) >= 4000 and len(test) >= 1000 and test.targets[:8] == [3, 8, 8, 0, 6, 6, 1, 6] and train.targets[:5] == [6, 9, 9, 4, 1]
    np.testing.assert_allclose(train.data.mean((0, 1, 2)) / 255, (0.4914, 0.4822, 0.4465), atol=5e-3)
    np.testing.assert_allclose(train.data.std((0, 1, 2)) / 255, (0.2470, 0.2435, 0.2616), atol=5e-3)
