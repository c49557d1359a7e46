"""save and load: nested Python data with tensors, in a safetensors file.

The file is
    u64 (little endian) length of the header | header, JSON padded with spaces | tensors, row-major, without gaps
and the header maps the name of each tensor to {"dtype", "shape", "data_offsets": [begin, end]}, so that any safetensors
reader finds the tensors. The structure around them is a JSON text at header["__metadata__"]["fastnn"]: null, booleans,
strings, numbers and lists stand for themselves, an object with one key for the rest:
    {"tensor": name}  {"tuple": [...]}  {"dict": [[key, value], ...]}  {"float": "nan" | "inf" | "-inf"}
Nothing in a file is ever executed.
"""
import contextlib
import io
import json
import math
import os
import struct

import numpy as np

from ._core import DTYPES, Size
from .autograd import no_grad
from .ops.create import empty
from .tensor import Tensor

_CODES = {"float32": "F32", "float64": "F64", "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}
_OTHERS = {"F16", "BF16", "I8", "I16", "U16", "U32", "U64", "C64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4"}    # not ours
_DTYPES = {_CODES[d.name]: d for d in DTYPES}
_HEADER_LIMIT = 100_000_000              # bytes, the format's own
_DEPTH_LIMIT = 100
_DIMS_LIMIT = 8


# ---- save ------------------------------------------------------------------------------------------------------------

def _encode(value, path, tensors, parents):
    """The JSON form of value; its tensors go to `tensors` by name. path: how the user would write it, for messages."""
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        value = float(value)
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        name = wanted = ".".join(str(key) for key in path) if path else "tensor"
        n = 1
        while name in tensors or name == "__metadata__":
            n += 1
            name = f"{wanted}#{n}"
        tensors[name] = value
        return {"tensor": name}
    if not (isinstance(value, dict) or type(value) in (list, tuple, Size)):
        kind = f"a {type(value).__module__}.{type(value).__qualname__}".replace("a builtins.", "a ")
        raise TypeError(f"save: {_spell(path)} is {kind}; only tensors, numbers, strings, None, and dicts, lists and "
                        "tuples of them are saved")
    if id(value) in parents:
        raise ValueError(f"save: {_spell(path)} contains itself")
    if len(path) >= _DEPTH_LIMIT:
        raise ValueError(f"save: {_spell(path[:3])}... is nested deeper than {_DEPTH_LIMIT} levels")
    parents = parents | {id(value)}
    if not isinstance(value, dict):
        items = [_encode(item, (*path, i), tensors, parents) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    pairs = []
    for key, item in value.items():
        if not (key is None or isinstance(key, (str, bool, int, float))):
            raise TypeError(f"save: {_spell(path)} has a key {key!r} of type {type(key).__name__}; "
                            "keys are strings, numbers, booleans or None")
        pairs.append([_encode(key, path, tensors, parents), _encode(item, (*path, key), tensors, parents)])
    return {"dict": pairs}


def _spell(path):
    return "obj" + "".join(f"[{key!r}]" for key in path)


def _layout(obj):
    """(header bytes, tensors in file order)."""
    tensors = {}
    structure = _encode(obj, (), tensors, frozenset())
    order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)      # each begins at a multiple of its size
    header, at = {"__metadata__": {"fastnn": json.dumps(structure, allow_nan=False)}}, 0
    for name in order:
        t = tensors[name]
        end = at + t.numel() * t.dtype.itemsize
        header[name] = {"dtype": _CODES[t.dtype.name], "shape": list(t.shape), "data_offsets": [at, end]}
        at = end
    try:
        text = json.dumps(header, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("save: the key of a tensor holds half of a surrogate pair, which UTF-8 cannot carry: "
                         f"{error}") from None
    text += b" " * (-(len(text) + 8) % 64)
    if len(text) > _HEADER_LIMIT:
        raise ValueError(f"save: the structure takes {len(text)} bytes, the format's limit is {_HEADER_LIMIT}")
    return struct.pack("<Q", len(text)) + text, [tensors[name] for name in order]


def _bytes_of(tensor):
    """A flat uint8 array over the memory of a contiguous tensor."""
    return tensor.detach().contiguous().numpy().reshape(-1).view(np.uint8)


def _write(f, header, tensors):
    f.write(header)
    for t in tensors:
        if t.numel():
            f.write(_bytes_of(t).data)


def save(obj, f):
    """Write obj to a safetensors file. The old file stays whole until the new one is on the disk.

    Args:
        obj: a Tensor, or nested dicts, lists and tuples of tensors, numbers, strings, booleans and None. Views and
            tensors that share memory are each written out in full; a Parameter is read back as a plain tensor.
        f: path, or a binary file opened for writing.

    Raises:
        TypeError: something else is inside; the message names where.
        OSError: the disk is full, the folder is missing, ...; the old file is unchanged and nothing is left behind.

    Example:
        >>> import fastnn, tempfile
        >>> path = tempfile.mkdtemp() + "/a.safetensors"
        >>> fastnn.save({"w": fastnn.ones(2), "epoch": 3}, path)
        >>> fastnn.load(path)["epoch"]
        3
    """
    header, tensors = _layout(obj)
    if hasattr(f, "write"):
        _write(f, header, tensors)
        return
    path = os.path.realpath(os.fsdecode(f))
    if os.path.exists(path) and not os.path.isfile(path):        # a device or a pipe is written to, never replaced
        with open(path, "wb") as file:
            _write(file, header, tensors)
        return
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{name}.{os.urandom(6).hex()}.tmp")
    try:
        with open(new, "xb") as file:
            _write(file, header, tensors)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    with contextlib.suppress(OSError):                           # not every file system can sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---- load ------------------------------------------------------------------------------------------------------------

def _unique(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        seen = set()
        raise ValueError(f"the key {next(k for k, _ in pairs if k in seen or seen.add(k))!r} appears twice")
    return out


def _refuse(word):
    raise ValueError(f"{word} is no JSON number")


def _parse(text, what):
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid: {error}") from None


def _whole(value):
    return type(value) is int and 0 <= value < 1 << 63


def _read_header(f, size):
    """(metadata, {name: (dtype, shape, begin, end)}), every rule of the format checked for a file of `size` bytes."""
    if size < 8:
        raise ValueError(f"{size} bytes are too few for the 8-byte length of the header")
    length, = struct.unpack("<Q", f.read(8))
    if length > _HEADER_LIMIT:
        raise ValueError(f"header length {length} is above the format's limit of {_HEADER_LIMIT} bytes")
    if length > size - 8:
        raise ValueError(f"header length {length} is more than the {size - 8} bytes that follow (truncated?)")
    raw = f.read(length)
    if raw[:1] != b"{":
        raise ValueError("the header does not begin with '{'")
    try:
        header = _parse(raw.decode(), "the header")
    except UnicodeDecodeError:
        raise ValueError("the header is not UTF-8") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__ is not a map of strings to strings")
    data = size - 8 - length
    entries = {name: _check_entry(name, entry, data) for name, entry in header.items()}
    at, last = 0, None
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda e: e[1][2:]):
        if begin != at:
            raise ValueError(f"tensor {name!r} begins at byte {begin}, but " +
                             (f"{last!r} before it ends at {at}" if last is not None else "the first must begin at 0") +
                             " (no gaps or overlaps are allowed)")
        at, last = end, name
    if at != data:
        raise ValueError(f"the tensors end at byte {at} of {data} (truncated or padded?)")
    return metadata, entries


def _check_entry(name, entry, data):
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} needs exactly dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        if isinstance(code, str) and code in _OTHERS:
            raise NotImplementedError(f"tensor {name!r} has dtype {code}: not supported (only {', '.join(_DTYPES)})")
        raise ValueError(f"tensor {name!r} has an unknown dtype {code!r}")
    if not isinstance(shape, list) or not all(map(_whole, shape)):
        raise ValueError(f"tensor {name!r} has a shape that is not a list of sizes: {shape!r:.80}")
    if len(shape) > _DIMS_LIMIT:
        raise ValueError(f"tensor {name!r} has {len(shape)} dimensions, at most {_DIMS_LIMIT} are supported")
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(map(_whole, offsets))
            and offsets[0] <= offsets[1] <= data):
        raise ValueError(f"tensor {name!r} has data_offsets {offsets!r:.80}, "
                         f"which are not two bytes in order within the {data} of data")
    itemsize = _DTYPES[code].itemsize
    if itemsize * math.prod(n for n in shape if n) >= 1 << 60:
        raise ValueError(f"tensor {name!r} of shape {shape} overflows")
    if itemsize * math.prod(shape) != offsets[1] - offsets[0]:
        raise ValueError(f"tensor {name!r} of shape {shape} and dtype {code} takes {itemsize * math.prod(shape)} "
                         f"bytes, but data_offsets span {offsets[1] - offsets[0]}")
    return _DTYPES[code], shape, *offsets


def _decode(node, tensors, unused):
    """The value that the JSON form stands for."""
    if node is None or isinstance(node, (bool, str, int, float)):
        return node
    if isinstance(node, list):
        return [_decode(item, tensors, unused) for item in node]
    tag, body = next(iter(node.items())) if len(node) == 1 else (None, None)
    if tag == "tensor" and isinstance(body, str) and body in tensors:
        unused.discard(body)
        return tensors[body]
    if tag == "tuple" and isinstance(body, list):
        return tuple(_decode(item, tensors, unused) for item in body)
    if tag == "float" and body in ("nan", "inf", "-inf"):
        return float(body)
    if tag == "dict" and isinstance(body, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in body):
        pairs = [(_decode(key, tensors, unused), _decode(item, tensors, unused)) for key, item in body]
        if all(key is None or isinstance(key, (str, int, float)) for key, _ in pairs):
            return _unique(pairs)
    raise ValueError(f"__metadata__['fastnn'] has a part that means nothing: {json.dumps(node):.80}")


def _load(f, size):
    metadata, entries = _read_header(f, size)
    structure = _parse(metadata["fastnn"], "__metadata__['fastnn']") if "fastnn" in metadata else None
    tensors = dict.fromkeys(entries)
    with no_grad():
        for name, (dtype, shape, begin, end) in sorted(entries.items(), key=lambda e: e[1][2:]):
            t = tensors[name] = empty(shape, dtype=dtype)
            if end > begin:
                raw = _bytes_of(t)
                if f.readinto(raw.data) != end - begin:
                    raise ValueError(f"the file ended within tensor {name!r}")
                if dtype.name == "bool" and raw.max() > 1:
                    raise ValueError(f"tensor {name!r} of dtype BOOL holds a byte that is neither 0 nor 1")
    if "fastnn" not in metadata:
        return tensors
    unused = set(tensors)
    try:
        value = _decode(structure, tensors, unused)
    except RecursionError:
        raise ValueError("__metadata__['fastnn'] is nested too deeply") from None
    if unused:
        raise ValueError(f"tensor {min(unused)!r} has no place in __metadata__['fastnn']")
    return value


def load(f, map_location=None, *, weights_only=True):
    """Read what `save` wrote, or any safetensors file (then a dict of its tensors).

    Args:
        f: path, or a binary file opened for reading.
        map_location: None or the CPU.
        weights_only: either value means the same: no file can make this function run code.

    Raises:
        ValueError: the file is no safetensors file, is truncated or breaks a rule of the format; the message names the
            file and the rule.
        NotImplementedError: a tensor's dtype is not carried; map_location is another device.
        OSError: the file cannot be read.
    """
    if map_location is not None and str(map_location) != "cpu":
        raise NotImplementedError(f"load: map_location={map_location!r}: not supported")
    named = not hasattr(f, "read")
    try:
        if named:
            with open(f, "rb") as file:
                return _load(file, os.fstat(file.fileno()).st_size)
        raw = f.read()
        return _load(io.BytesIO(raw), len(raw))
    except (ValueError, NotImplementedError) as error:
        name = os.fsdecode(f) if named else getattr(f, "name", "the file")
        kind = NotImplementedError if isinstance(error, NotImplementedError) else ValueError
        raise kind(f"load: {name}: {error}") from None
