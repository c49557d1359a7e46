"""What the documentation says is true: the examples of all public docstrings run, and so does the README's."""
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import fastnn

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def modules():
    yield fastnn
    for info in pkgutil.walk_packages(fastnn.__path__, "fastnn."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def documented():
    """{qualified name: object} of everything in the package that has a docstring, methods included."""
    found, seen = {}, set()

    def add(name, thing):
        doc = inspect.getdoc(thing)
        if doc and doc not in seen:          # the same function under a second name is run once
            seen.add(doc)
            found[name] = thing
    for module in modules():
        add(module.__name__, module)
        for name, thing in sorted(vars(module).items()):
            if name.startswith("_") or not str(getattr(thing, "__module__", "")).startswith("fastnn"):
                continue
            home = f"{thing.__module__}.{getattr(thing, '__qualname__', name)}"
            add(home, thing)
            if inspect.isclass(thing):
                for part, member in sorted(vars(thing).items()):
                    if not part.startswith("_") and hasattr(member, "__doc__"):
                        add(f"{home}.{part}", getattr(thing, part))
    return found


EXAMPLES = {name: doctest.DocTestParser().get_doctest(inspect.getdoc(thing), {}, name, None, 0)
            for name, thing in documented().items() if ">>>" in inspect.getdoc(thing)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    runner.run(EXAMPLES[name], out=said.append, clear_globs=False)
    assert runner.tries and not runner.failures, "".join(said)


def test_there_are_examples():
    """The search finds functions, classes, methods and the Cython floor's."""
    assert len(EXAMPLES) > 40
    for name in ("fastnn.ops.shape.cat", "fastnn.tensor.Tensor", "fastnn._core.capture", "fastnn.nn.module.Module",
                 "fastnn.autograd.no_grad"):
        assert name in EXAMPLES


@pytest.mark.parametrize("home", ["fastnn", "fastnn.nn", "fastnn.nn.functional", "fastnn.optim", "fastnn.utils.data",
                                  "fastnn.kernels"])
def test_public_names_are_documented(home):
    module = importlib.import_module(home)
    public = {n: v for n, v in vars(module).items() if not n.startswith("_") and callable(v)}
    assert public and not [n for n, v in public.items() if not inspect.getdoc(v)]


@pytest.mark.skipif(not README.exists(), reason="no README beside the tests")
def test_readme_example(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
