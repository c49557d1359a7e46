"""The idx format in which MNIST is published: one array in a file, plain or compressed by gzip.

Two zero bytes, the type (8: unsigned bytes), the number of dimensions; each size in 4 bytes, the highest first; the
elements.
"""
import gzip
import math
import struct
import zlib

import numpy as np

_MOST = 1 << 30                          # bytes of an array; a small compressed file may hold more than memory does


def read_idx(path, ndim):
    """The uint8 array of `ndim` dimensions in an idx file.

    Memory grows with the elements that are there, not with those that the header tells of.

    Raises:
        ValueError: the file is no such array, or is cut off, or goes on behind it; the message names it.
        OSError: it cannot be read.

    Example:
        >>> import os, tempfile
        >>> from fastnn.datasets.idx import read_idx
        >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte")
        >>> with open(path, "wb") as file:
        ...     n = file.write(bytes([0, 0, 8, 1]) + bytes([0, 0, 0, 3]) + bytes([7, 2, 1]))
        >>> read_idx(path, 1)
        array([7, 2, 1], dtype=uint8)
    """
    try:
        with _opened(path) as file:
            return _array(file, path, ndim)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: the compressed data are damaged or cut off: {error}") from None


def _opened(path):
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else open(path, "rb")


def _array(file, path, ndim):
    magic, head = bytes([0, 0, 8, ndim]), _up_to(file, 4 + 4 * ndim)
    if head[:4] != magic:
        raise ValueError(f"{path}: not an idx file of unsigned bytes in {ndim} dimensions: it begins with "
                         f"0x{head[:4].hex() or '(nothing)'}, not 0x{magic.hex()}")
    if len(head) < 4 + 4 * ndim:
        raise ValueError(f"{path}: the idx header should have {4 + 4 * ndim} bytes, but the file ends after "
                         f"{len(head)}")
    shape = struct.unpack(f">{ndim}I", head[4:])
    count = math.prod(shape)
    said = f"{path}: the idx header says {shape}, {count:,} bytes,"
    if count > _MOST:
        raise ValueError(f"{said} more than the {_MOST:,} that are read")
    elements = _up_to(file, count)
    if len(elements) < count:
        raise ValueError(f"{said} but {len(elements):,} follow")
    if file.read(1):
        raise ValueError(f"{said} but more follow")
    return np.frombuffer(elements, np.uint8).reshape(shape)


def _up_to(file, count):
    """`count` bytes, fewer at the file's end."""
    data = bytearray()
    while len(data) < count and (part := file.read(min(1 << 20, count - len(data)))):
        data += part
    return data
