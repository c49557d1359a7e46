"""Every example runs and learns."""
import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name, least", [("digits_mlp", 0.94), ("digits_convolution", 0.97), ("numpy_kernels", 0.95)])
def test_example(name, least):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main() >= least


def test_none_is_left_out():
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {"digits_mlp", "digits_convolution", "numpy_kernels"}
