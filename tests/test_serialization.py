"""save and load: what goes through, what a file may not do, and that the old file survives."""
import io
import json
import os
import stat
import struct
import subprocess
import sys
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import fastnn
from fastnn import nn, serialization

DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")


def same(a, b):
    """Equal in type and value, tensors bit for bit."""
    if isinstance(a, fastnn.Tensor):
        return (isinstance(b, fastnn.Tensor) and a.dtype == b.dtype and a.shape == b.shape
                and a.detach().numpy().tobytes() == b.detach().numpy().tobytes())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(x) is type(y) for x, y in zip(a, b)) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


VALUES = {
    "None": None, "numbers": [0, -3, 2 ** 70, True, False, 1.5, -0.0, 1e-320, 0.1],
    "strings": ["", "\n\"\\", "ü 漢 😀", "__metadata__"],
    "nan": [float("inf"), -float("inf"), float("nan")], "empty": [[], {}, (), [[]]],
    "keys": {5: "a", "5": "b", 2.5: "c", None: "d", -7: {0: 1}, "": 2, False: 3},
    "nested": {"a": [1, (2, {"b": [None, (3.5,)]})], "t": ((),)},
    "tensor": fastnn.arange(6).reshape(2, 3), "empty tensor": {"e": fastnn.zeros(0, 3), "s": fastnn.tensor(4.0)},
    "names": {"a.b": fastnn.ones(1), "a": {"b": fastnn.zeros(1)}, "__metadata__": fastnn.ones(2),
              "a.b#2": fastnn.ones(3), "": fastnn.ones(4)},
    "views": [fastnn.arange(12).reshape(3, 4).T, fastnn.arange(10)[2::3], fastnn.ones(1, 3).expand(2, 3)],
    "dtypes": {d: fastnn.arange(5).to(getattr(fastnn, d)) for d in DTYPES},
    "specials": fastnn.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
}


@pytest.mark.parametrize("name", VALUES)
def test_roundtrip(tmp_path, name):
    path = tmp_path / "a.safetensors"
    fastnn.save(VALUES[name], path)
    assert same(VALUES[name], fastnn.load(path))
    stream = io.BytesIO()
    fastnn.save(VALUES[name], stream)
    assert stream.getvalue() == path.read_bytes() and same(VALUES[name], fastnn.load(io.BytesIO(stream.getvalue())))


def test_what_changes_its_type(tmp_path):
    shared = fastnn.ones(3)
    fastnn.save({"o": OrderedDict(b=1, a=2), "n": [np.float64(1.5), np.int32(3), np.bool_(True)],
                 "p": nn.Parameter(shared), "s": shared, "size": shared.shape},
                tmp_path / "a")
    back = fastnn.load(str(tmp_path / "a"))
    assert same(back, {"o": {"b": 1, "a": 2}, "n": [1.5, 3, True], "p": shared, "s": shared, "size": (3,)})
    assert type(back["p"]) is fastnn.Tensor and not back["p"].requires_grad
    back["p"].fill_(0)
    assert back["s"].tolist() == [1, 1, 1]


def test_state_of_a_training(tmp_path):
    def make():
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        return net, fastnn.optim.Adam(net.parameters(), lr=0.01)

    def steps(net, adam, n):
        for _ in range(n):
            adam.zero_grad()
            (net(fastnn.ones(2, 3)) ** 2).sum().backward()
            adam.step()
    net, adam = make()
    steps(net, adam, 3)
    fastnn.save({"model": net.state_dict(), "optimizer": adam.state_dict()}, tmp_path / "c")
    other, adam2 = make()
    state = fastnn.load(tmp_path / "c", map_location="cpu", weights_only=True)
    other.load_state_dict(state["model"])
    adam2.load_state_dict(state["optimizer"])
    steps(net, adam, 3)
    steps(other, adam2, 3)
    assert all(same(p, q) for p, q in zip(net.parameters(), other.parameters()))


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize("value, where", [
    ({"model": {"f": test_roundtrip}}, r"obj\['model'\]\['f'\] is a function"), ([1, {2, 3}], r"obj\[1\] is a set"),
    (object(), "obj is a object"),
    ({"a": (1, [b"x"])}, r"obj\['a'\]\[1\]\[0\] is a bytes"), ({3: 1j}, r"obj\[3\] is a complex"),
    ([Point(1, 2)], r"obj\[0\] is a .*Point"),
    ({"a": np.zeros(2)}, r"obj\['a'\] is a numpy.ndarray"),
    ({"m": nn.ReLU()}, r"obj\['m'\] is a fastnn.nn.activation.ReLU"),
    ({(1, 2): 3}, r"obj has a key \(1, 2\) of type tuple"), ({"d": fastnn.float32}, r"obj\['d'\] is a")])
def test_other_types_are_refused_by_name(tmp_path, value, where):
    with pytest.raises(TypeError, match="save: " + where):
        fastnn.save(value, tmp_path / "a")
    assert not os.listdir(tmp_path)


def test_cycles_and_depth(tmp_path):
    a = {"x": []}
    a["x"].append(a)
    with pytest.raises(ValueError, match=r"obj\['x'\]\[0\] contains itself"):
        fastnn.save(a, tmp_path / "a")
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match="deeper than 100 levels"):
        fastnn.save(deep, tmp_path / "a")
    twice = [1]
    assert same([twice, twice], _through(tmp_path, [twice, twice]))
    assert _through(tmp_path, "\ud800") == "\ud800"
    with pytest.raises(ValueError, match="surrogate"):
        fastnn.save({"\ud800": fastnn.ones(1)}, tmp_path / "a")


def _through(folder, value):
    fastnn.save(value, folder / "t")
    return fastnn.load(folder / "t")


def test_each_tensor_lies_at_a_multiple_of_its_size(tmp_path):
    """So that a file mapped into memory can be used where it lies; the data begins at a multiple of 64."""
    sizes = {"uint8": 1, "float64": 8, "bool": 1, "float32": 4, "int64": 8, "int32": 4}
    for n in range(1, 40, 3):
        fastnn.save({"a" * n + kind: fastnn.zeros(3, dtype=getattr(fastnn, kind)) for kind in sizes}, tmp_path / "t")
        data = (tmp_path / "t").read_bytes()
        length, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + length])
        assert (8 + length) % 64 == 0
        assert all(header["a" * n + kind]["data_offsets"][0] % size == 0 for kind, size in sizes.items())


# ---- other libraries -------------------------------------------------------------------------------------------------

def test_the_safetensors_package_reads_ours(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    value = {"w": fastnn.rand(3, 4), "b": fastnn.arange(5).to(fastnn.uint8), "m": fastnn.tensor([True, False]),
             "s": fastnn.tensor(2.0).double(),
             "e": fastnn.zeros(0, 2), "l": fastnn.arange(3), "i": fastnn.arange(3).int()}
    fastnn.save(value, tmp_path / "a")
    back = safetensors.load_file(tmp_path / "a")
    assert set(back) == set(value)
    assert all(np.array_equal(back[k], value[k].numpy()) and back[k].dtype == value[k].numpy().dtype for k in value)
    fastnn.save({"model": {"w": value["w"]}, "steps": [1, float("nan"), {3: value["b"]}]}, tmp_path / "b")
    assert set(safetensors.load_file(tmp_path / "b")) == {"model.w", "steps.2.3"}


def test_we_read_the_safetensors_package(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {"z": np.arange(6.0).reshape(2, 3), "a": np.array([True, False, True]), "f": np.ones(3, np.float32),
              "empty": np.zeros((2, 0), np.int32)}
    safetensors.save_file(arrays, tmp_path / "a", metadata={"format": "np"})
    back = fastnn.load(tmp_path / "a")
    assert set(back) == set(arrays) and all(np.array_equal(back[k].numpy(), arrays[k]) for k in arrays)
    safetensors.save_file({"h": np.ones(2, np.float16)}, tmp_path / "h")
    with pytest.raises(NotImplementedError, match="tensor 'h' has dtype F16: not supported"):
        fastnn.load(tmp_path / "h")


# ---- bad files -------------------------------------------------------------------------------------------------------

def make(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def meta(structure, **tensors):
    return {"__metadata__": {"fastnn": structure if isinstance(structure, str) else json.dumps(structure)}, **tensors}


GOOD = make(meta({"dict": [["a", {"tensor": "a"}], ["b", {"tensor": "b"}]]}, a=entry([2], 0, 8), b=entry([1], 8, 12)),
            bytes(12))
BAD = [
    (b"", "0 bytes are too few"), (b"\x01\0\0", "3 bytes are too few"),
    (GOOD[:-1], "ends|end at byte 12 of 11|within the 11"), (GOOD + b"\0", "end at byte 12 of 13"),
    (GOOD[:20], "more than the 12 bytes that follow"), (make({}, length=1 << 62), "above the format's limit"),
    (make({}, length=(1 << 64) - 1), "above the format's limit"),
    (make({}, length=3), "more than the 2 bytes"), (make(b"[]"), "does not begin with"),
    (make(b""), "does not begin with"), (make(b"{\xff}"), "not UTF-8"),
    (make(b'{"a": 1'), "not valid"), (make(b'{"a": NaN}'), "NaN is no JSON number"),
    (make(b'{"a": {}, "a": {}}'), "'a' appears twice"),
    (make(b'{"a":' + b"[" * 50000 + b"]" * 50000 + b"}"), "too deeply"),
    (make(b'{"a": ' + b"9" * 6000 + b"}"), "not valid|exactly dtype"),
    (make({"a": 3}), "exactly dtype, shape and data_offsets"),
    (make({"a": {"dtype": "F32", "shape": [1]}}), "exactly dtype"),
    (make({"a": {**entry([1], 0, 4), "more": 1}}, bytes(4)), "exactly dtype"),
    (make({"a": entry([1], 0, 4, "F31")}, bytes(4)), "unknown dtype 'F31'"),
    (make({"a": entry([1], 0, 4, 3)}, bytes(4)), "unknown dtype 3"),
    (make({"a": entry("x", 0, 4)}, bytes(4)), "not a list of sizes"),
    (make({"a": entry([-1], 0, 4)}, bytes(4)), "not a list of sizes"),
    (make({"a": entry([True], 0, 4)}, bytes(4)), "not a list of sizes"),
    (make({"a": entry([1.0], 0, 4)}, bytes(4)), "not a list of sizes"),
    (make({"a": entry([1 << 63], 0, 4)}, bytes(4)), "not a list of sizes"),
    (make({"a": entry([1] * 9, 0, 4)}, bytes(4)), "9 dimensions"),
    (make({"a": entry([1 << 40, 1 << 40], 0, 4)}, bytes(4)), "overflows"),
    (make({"a": entry([0, 1 << 62, 1 << 62], 0, 0)}), "overflows"),
    (make({"a": entry([2], 0, 4)}, bytes(4)), "takes 8 bytes, but data_offsets span 4"),
    (make({"a": entry([1], 0, 8)}, bytes(8)), "takes 4 bytes, but data_offsets span 8"),
    (make({"a": entry([1], 4, 0)}, bytes(4)), "in order within"),
    (make({"a": entry([1], 0, 4)}), "within the 0 of data"),
    (make({"a": entry([1], -4, 0)}, bytes(4)), "in order within"),
    (make({"a": entry([1], 4, 8)}, bytes(8)), "the first must begin at 0"),
    (make({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)), "'a' before it ends at 4"),
    (make({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, bytes(8)), "gaps or overlaps"),
    (make({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), "gaps or overlaps"),
    (make({"a": entry([1], 0, 4)}, bytes(8)), "end at byte 4 of 8"),
    (make({"a": entry([2], 0, 2, "BOOL")}, b"\1\2"), "neither 0 nor 1"),
    (make({"__metadata__": 3}), "not a map of strings"), (make({"__metadata__": {"a": 3}}), "not a map of strings"),
    (make(meta("{")), "not valid"), (make(meta('{"dict": [], "dict": []}')), "appears twice"),
    (make(meta({"dict": [["a", 1], ["a", 2]]})), "appears twice"),
    (make(meta({"tensor": "gone"})), "means nothing"), (make(meta({"run": "x"})), "means nothing"),
    (make(meta({})), "means nothing"), (make(meta({"dict": 3})), "means nothing"),
    (make(meta({"dict": [[1]]})), "means nothing"), (make(meta({"dict": [[[], 1]]})), "means nothing"),
    (make(meta({"float": "1"})), "means nothing"),
    (make(meta({"float": []})), "means nothing"), (make(meta({"tuple": {}})), "means nothing"),
    (make(meta({"tensor": ["a"]})), "means nothing"),
    (make(meta([], a=entry([1], 0, 4)), bytes(4)), "'a' has no place"),
    (make(meta("[" * 50000 + "]" * 50000)), "too deeply"),
]


@pytest.mark.parametrize("content, words", BAD)
def test_bad_file(tmp_path, content, words):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"load: .*bad.safetensors: .*({words})"):
        fastnn.load(path)


def test_every_truncation_and_every_flipped_byte_is_refused_or_read():
    """No cut or change of one byte gets past the checks as anything but a value or a ValueError."""
    assert fastnn.load(io.BytesIO(GOOD))["a"].tolist() == [0, 0]
    for n in range(len(GOOD)):
        with pytest.raises(ValueError):
            fastnn.load(io.BytesIO(GOOD[:n]))
    for n in range(len(GOOD)):
        for flip in (1, 0x20, 0x80):
            changed = bytearray(GOOD)
            changed[n] ^= flip
            try:
                fastnn.load(io.BytesIO(bytes(changed)))
            except (ValueError, NotImplementedError):
                pass


def test_refusals(tmp_path):
    with pytest.raises(NotImplementedError, match="map_location='cuda'"):
        fastnn.load(tmp_path / "a", map_location="cuda")
    with pytest.raises(FileNotFoundError):
        fastnn.load(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        fastnn.save(1, tmp_path / "no" / "a")
    with pytest.raises(IsADirectoryError):
        fastnn.save(1, tmp_path)


# ---- nothing is lost -------------------------------------------------------------------------------------------------

class Broken(Exception):
    pass


@pytest.mark.parametrize("stage", ["fsync", "replace", "_bytes_of"])
def test_old_file_survives_a_failure(tmp_path, monkeypatch, stage):
    path = tmp_path / "a"
    fastnn.save({"x": fastnn.ones(3)}, path)
    before = path.read_bytes()

    def fail(*args):
        raise Broken
    monkeypatch.setattr(serialization if stage == "_bytes_of" else os, stage, fail)
    with pytest.raises(Broken):
        fastnn.save({"x": fastnn.zeros(3)}, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
def test_full_disk(tmp_path):
    """A file size limit stands for a full disk: the write fails on the way, after a part is out."""
    script = """if True:
        import resource, signal, sys, fastnn
        path = sys.argv[1]
        fastnn.save({"x": fastnn.ones(10)}, path)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            fastnn.save({"x": fastnn.ones(1_000_000)}, path)
        except OSError as error:
            print(type(error).__name__, fastnn.load(path)["x"].tolist() == [1] * 10)
    """
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], capture_output=True, text=True)
    assert done.stdout.split() == ["OSError", "True"], done.stderr
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_devices_are_written_not_replaced():
    with pytest.raises(OSError, match="No space left"):
        fastnn.save({"x": fastnn.ones(100_000)}, "/dev/full")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_links_are_followed_and_modes_are_usual(tmp_path):
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    fastnn.save(3, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and fastnn.load(tmp_path / "real") == 3
    fastnn.save(3, tmp_path / "new")
    (tmp_path / "plain").write_bytes(b"")
    assert os.stat(tmp_path / "new").st_mode == os.stat(tmp_path / "plain").st_mode


def test_killed_while_saving(tmp_path):
    """A process killed at random in a loop of saves leaves a whole file, old or new."""
    script = """if True:
        import sys, fastnn
        print("go", flush=True)
        for i in range(10 ** 6):
            fastnn.save({"i": i, "x": fastnn.full((50_000,), float(i))}, sys.argv[1])
    """
    for delay in (0.05, 0.11):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a")], stdout=subprocess.PIPE)
        process.stdout.readline()
        while not (tmp_path / "a").exists():
            pass
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        process.stdout.close()
        back = fastnn.load(tmp_path / "a")
        assert set(back["x"].tolist()) == {float(back["i"])}
