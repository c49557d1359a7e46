"""How a tensor prints: PyTorch's format (four digits, 80 columns, the middle of more than 1,000 elements left out)."""
import math

PRECISION, THRESHOLD, EDGE, WIDTH = 4, 1000, 3, 80


def _formatter(values, floating):
    """A function that prints one value, right-aligned with the others."""
    if not floating:
        texts = [str(v) for v in values]
        width = max(map(len, texts), default=1)
        return lambda v: str(v).rjust(width)
    known = [v for v in values if math.isfinite(v) and v != 0]
    high, low = max(map(abs, known), default=1.0), min(map(abs, known), default=1.0)
    whole = all(v == math.floor(v) for v in known)
    science = high / low > 1000 or high > 1e8 or (not whole and low < 1e-4)

    def plain(v):
        if science:
            return f"{v:.{PRECISION}e}"
        if whole:
            return f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
        return f"{v:.{PRECISION}f}"
    width = max((len(plain(v)) for v in known), default=1)
    return lambda v: plain(v).rjust(width)


def _flat(x):
    return [v for part in x for v in _flat(part)] if isinstance(x, list) else [] if x is Ellipsis else [x]


def _sample(t, cut):
    """t as nested lists, with Ellipsis in the middle of long dimensions."""
    if t.dim() == 0:
        return t.item()
    n = t.shape[0]
    if cut and n > 2 * EDGE:
        return [_sample(t[i], cut) for i in range(EDGE)] + [...] + [_sample(t[i], cut) for i in range(n - EDGE, n)]
    return t.tolist() if not cut else [_sample(t[i], cut) for i in range(n)]


def _lines(x, show, indent, ndim):
    if ndim == 0:
        return show(x)
    if ndim == 1:
        texts = [" ..." if v is Ellipsis else show(v) for v in x]
        per_line = max(1, (WIDTH - indent) // (max(map(len, texts), default=0) + 2))
        rows = [texts[i:i + per_line] for i in range(0, len(texts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(", ".join(row) for row in rows) + "]"
    between = "," + "\n" * (ndim - 1) + " " * (indent + 1)
    return "[" + between.join("..." if part is Ellipsis else _lines(part, show, indent + 1, ndim - 1) for part in x) + "]"


def tensor_repr(t, prefix="tensor("):
    """The text of repr(t)."""
    notes = []
    if t.numel() == 0:
        body = "[]"
        if t.dim() != 1:
            notes.append(f"size={tuple(t.shape)}")
        if t.dtype.name not in ("float32",):
            notes.append(f"dtype={t.dtype}")
    else:
        data = t.detach()
        parts = _sample(data, t.numel() > THRESHOLD)
        values = _flat(parts) if t.dim() else [parts]
        body = _lines(parts, _formatter(values, t.dtype.is_floating_point), len(prefix), t.dim())
        if t.dtype.name not in ("float32", "int64", "bool"):
            notes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        notes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    text = prefix + body
    for note in notes:
        last = text.rsplit("\n", 1)[-1]
        text += (",\n" + " " * len(prefix) if len(last) + len(note) + 3 > WIDTH else ", ") + note
    return text + ")"
