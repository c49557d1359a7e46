"""Every kind of file: refused by what is wrong with it, and what saving refuses; the number of all cases of inputs."""
import importlib
import io
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import fastnn
import inputs

try:
    import resource
except ImportError:                          # not on Windows
    resource = None


def saved():
    file = io.BytesIO()
    fastnn.save({"w": fastnn.arange(6.0).view(2, 3), "b": [fastnn.ones(2, dtype=fastnn.bool), 3, None, "x", 2.5, True]},
                file)
    return file.getvalue()


def crafted(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, end, dtype="F32", begin=0, **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


FILES = {
    "nothing": (b"", "too few"), "three bytes": (b"abc", "too few"),
    "text": (b"PK\x03\x04 this is another file", "header"), "cut in the length": (saved()[:7], "too few"),
    "cut in the header": (saved()[:40], "truncated"), "cut in the data": (saved()[:-1], "within the .* of data"),
    "one byte more": (saved() + b"\0", "padded"), "length of 2**64 - 1": (crafted({}, length=2 ** 64 - 1), "limit"),
    "length beyond the file": (crafted({}, length=1000), "truncated"), "no object": (crafted(b"[]"), "'{'"),
    "no JSON": (crafted(b"{]"), "not valid"), "not UTF-8": (crafted(b'{"\xff": 1}'), "UTF-8"),
    "deep": (crafted(b'{"a":' * 10 ** 5 + b"1" + b"}" * 10 ** 5), "nested"),
    "NaN in the header": (crafted(b'{"a": NaN}'), "NaN"), "a key twice": (crafted(b'{"a": {}, "a": {}}'), "twice"),
    "entry of another kind": (crafted({"a": 3}), "'a' needs exactly"),
    "entry with more": (crafted({"a": entry([1], 4, x=1)}, bytes(4)), "'a' needs exactly"),
    "dtype unknown": (crafted({"a": entry([1], 4, "Q9")}, bytes(4)), "unknown dtype 'Q9'"),
    "negative size": (crafted({"a": entry([-1], 4)}, bytes(4)), "'a' has a shape"),
    "size of another kind": (crafted({"a": entry([1.5], 4)}, bytes(4)), "'a' has a shape"),
    "overflowing shape": (crafted({"a": entry([2 ** 33, 2 ** 33], 4)}, bytes(4)), "'a' of shape .* overflows"),
    "nine dimensions": (crafted({"a": entry([1] * 9, 4)}, bytes(4)), "at most 8"),
    "size and bytes": (crafted({"a": entry([2], 4)}, bytes(4)), "takes 8 bytes"),
    "beyond the end": (crafted({"a": entry([2], 8)}, bytes(4)), "data_offsets"),
    "backwards": (crafted({"a": entry([1], 0, begin=4)}, bytes(4)), "data_offsets"),
    "overlap": (crafted({"a": entry([1], 4), "b": entry([1], 4)}, bytes(4)), "overlap"),
    "gap": (crafted({"a": entry([1], 8, begin=4)}, bytes(8)), "gaps"),
    "bool of 2": (crafted({"a": entry([1], 1, "BOOL")}, b"\2"), "neither 0 nor 1"),
    "metadata of another kind": (crafted({"__metadata__": {"a": 1}}), "__metadata__"),
    "structure of another kind": (crafted({"__metadata__": {"fastnn": '{"exec": "rm"}'}}), "means nothing"),
    "structure without its tensor": (crafted({"__metadata__": {"fastnn": '{"tensor": "w"}'}}), "means nothing"),
}


@pytest.mark.parametrize("name", FILES)
def test_file_refused(name, tmp_path):
    raw, match = FILES[name]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(raw)
    for source in (path, io.BytesIO(raw)):
        with pytest.raises(ValueError, match=match) as caught:
            fastnn.load(source)
        assert source is not path or str(path) in str(caught.value)


def test_file_cut_anywhere_is_refused(tmp_path):
    raw = saved()
    assert fastnn.load(io.BytesIO(raw))["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    for n in range(len(raw)):
        with pytest.raises(ValueError, match="load: the file: "):
            fastnn.load(io.BytesIO(raw[:n]))


def test_file_with_any_byte_changed_is_refused_or_read():
    """Never another exception, a crash, or a tensor of another shape than the header's."""
    raw, refused = saved(), 0
    for n in range(len(raw)):
        changed = bytearray(raw)
        changed[n] ^= 0x15
        try:
            fastnn.load(io.BytesIO(bytes(changed)))
        except (ValueError, NotImplementedError):
            refused += 1
    assert refused > len(raw) // 4


def test_file_of_a_type_not_carried():
    with pytest.raises(NotImplementedError, match="'a' has dtype BF16: not supported"):
        fastnn.load(io.BytesIO(crafted({"a": entry([2], 4, "BF16")}, bytes(4))))


@pytest.mark.parametrize("value, where", [({"a": [1, {2}]}, r"obj\['a'\]\[1\] is a set"),
                                          (lambda: 0, "obj is a function"), ({"m": object()}, r"obj\['m'\]"),
                                          ({(1, 2): 3}, "key"), (np.zeros(2), "ndarray"), ({"c": 1j}, "complex")])
def test_what_cannot_be_saved(value, where, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(TypeError, match=where):
        fastnn.save(value, path)
    assert not os.listdir(tmp_path)


def test_structure_that_contains_itself(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        fastnn.save(loop, tmp_path / "a.safetensors")


@pytest.mark.skipif(resource is None, reason="needs limits on the size of files")
def test_full_disk_keeps_the_old_file(tmp_path):
    """A limit on the size of files stands in for the disk: writing fails half way."""
    path = tmp_path / "a.safetensors"
    fastnn.save({"epoch": 1}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(OSError, match="too large|No space"):
            fastnn.save({"epoch": 2, "w": fastnn.zeros(1 << 16)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["a.safetensors"] and fastnn.load(path) == {"epoch": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_device():
    with pytest.raises(OSError, match="No space"):
        fastnn.save(fastnn.zeros(1 << 16), "/dev/full")


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        fastnn.save(fastnn.zeros(2), tmp_path / "missing" / "a.safetensors")
    with pytest.raises(FileNotFoundError, match="missing"):
        fastnn.load(tmp_path / "missing.safetensors")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        fastnn.save(fastnn.zeros(2), tmp_path / "a.safetensors")


def test_there_are_enough_cases():
    for path in Path(__file__).parent.glob("test_inputs_*.py"):
        importlib.import_module(path.stem)
    assert sum(map(len, inputs.EVERY)) + len(FILES) >= 80
