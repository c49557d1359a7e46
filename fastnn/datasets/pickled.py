"""Reading a pickle without running it.

A pickle is a program: Python's own reader calls whatever functions the file names. This one knows the opcodes that build arrays of unsigned
bytes, bytes, lists, tuples, dicts, strings and integers, and refuses a file at the first other one.
"""
import pickletools

import numpy as np

_MOST = 1 << 21                          # opcodes; each may make an object that is far larger than itself
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
           "SHORT_BINBYTES"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class _Array:
    """An array that is under construction: what numpy's _reconstruct stands for here."""


class _Name(str):
    """A function or class that the file names."""


def read_pickle(data):
    """The object in a pickle, from its bytes. Python 2's strings become str, one character for each byte.

    Raises:
        ValueError: the pickle is damaged, or holds something else than arrays of unsigned bytes, bytes, lists, tuples, dicts, strings, integers,
            booleans and None.

    Example:
        >>> import pickle
        >>> from fastnn.datasets.pickled import read_pickle
        >>> read_pickle(pickle.dumps({"labels": [6, 9]}, protocol=2))
        {'labels': [6, 9]}
        >>> read_pickle(pickle.dumps(print))
        Traceback (most recent call last):
        ValueError: the pickle names builtins print, which is not read
    """
    stack, marks, memo = [], [], {}
    try:
        for count, (op, arg, at) in enumerate(pickletools.genops(data)):
            if count >= _MOST:
                raise ValueError(f"the pickle has more than {_MOST:,} opcodes")
            if op.name == "STOP":
                return _finished(stack.pop())
            _do(op.name, arg, stack, marks, memo)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the pickle is damaged at byte {at}: {op.name}: {type(error).__name__}") from None
    raise ValueError("the pickle is cut off")


def _do(name, arg, stack, marks, memo):
    """One opcode."""
    if name in ("BINPUT", "LONG_BINPUT"):
        memo[arg] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in _VALUES:
        stack.append(arg)
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[arg])
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name == "MARK":
        marks.append(len(stack))
    elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
        stack.append({"EMPTY_LIST": [], "EMPTY_DICT": {}, "EMPTY_TUPLE": ()}[name])
    elif name in _TUPLES or name == "TUPLE":
        stack.append(tuple(_popped(stack, len(stack) - _TUPLES[name] if name in _TUPLES else marks.pop())))
    elif name in ("APPEND", "APPENDS"):
        items = _popped(stack, len(stack) - 1 if name == "APPEND" else marks.pop())
        _of(list, stack[-1]).extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = _popped(stack, len(stack) - 2 if name == "SETITEM" else marks.pop())
        if any(type(key) not in (str, bytes, int) for key in items[::2]):        # a hash of deep tuples would overflow the stack
            raise TypeError
        _of(dict, stack[-1]).update(zip(items[::2], items[1::2], strict=True))
    elif name == "GLOBAL":
        stack.append(_named(*arg.split(" ", 1)))
    elif name == "STACK_GLOBAL":
        stack.append(_named(*_popped(stack, len(stack) - 2)))
    elif name == "REDUCE":
        function, args = _popped(stack, len(stack) - 2)
        stack.append(_called(_of(_Name, function), args))
    elif name == "BUILD":
        state, = _popped(stack, len(stack) - 1)
        _built(stack[-1], state)
    elif name not in ("PROTO", "FRAME"):
        raise ValueError(f"the pickle has the opcode {name}, which is not read")


def _popped(stack, start):
    """The end of the stack from `start` on, taken off."""
    if start < 0:
        raise IndexError
    items = stack[start:]
    del stack[start:]
    return items


def _of(kind, value):
    if type(value) is not kind:
        raise TypeError
    return value


def _named(module, name):
    full = f"{module} {name}"
    if full in ("numpy ndarray", "numpy dtype"):
        return _Name(full)
    if module in _MODULES and name == "_reconstruct":
        return _Name(name)
    raise ValueError(f"the pickle names {full}, which is not read")


def _called(function, args):
    if function == "numpy dtype" and args[0] in ("u1", b"u1"):
        return _Name("u1")
    if function == "_reconstruct" and args[0] == "numpy ndarray":
        return _Array()
    raise ValueError(f"the pickle calls {function} otherwise than for an array of unsigned bytes")


def _built(thing, state):
    """The state of an array: (version, shape, type, in columns?, elements). That of the type tells nothing new."""
    if thing == "u1" and type(thing) is _Name:
        return
    _, shape, kind, columns, elements = state
    if _of(_Name, kind) != "u1":
        raise ValueError(f"the pickle has an array of {kind}; only those of unsigned bytes are read")
    elements = np.frombuffer(elements.encode("latin-1") if isinstance(elements, str) else _of(bytes, elements), np.uint8)
    if not all(type(n) is int and n >= 0 for n in shape):
        raise TypeError
    _of(_Array, thing).array = elements.reshape(shape, order="F" if columns else "C")


def _finished(value):
    """Arrays in place of what was built, in a dict's values or by itself."""
    if type(value) is dict:
        return {key: _finished(item) if type(item) is _Array else item for key, item in value.items()}
    return value.array if type(value) is _Array else value
