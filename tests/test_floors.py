"""The house: a file uses its own floor and those below; OpenMP is in one file; every source has its test file."""
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC, PACKAGE, TESTS = ROOT / "csrc", ROOT / "fastnn", ROOT / "tests"

# ---- C: simd and vmath, kernels, then run and what it needs -------------------------------------------------------------------------

DOOR = {"fn.h", "args.h", "ops.inc", "kernel.h"}
VECTORS = {"simd.h", "vmath.h", "intrin.h"}
SYSTEM = {"stddef.h", "stdint.h", "limits.h", "float.h", "math.h", "string.h"}
TEAMS = {"mem", "pages", "dispatch", "team", "run", "run_threads"}


def includes(path):
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(), re.M)


def again(path):
    """Whose text it is once more, for filters of so many taps: winograd_taps.c for winograd_taps_5x5.c."""
    return re.sub(r"_\dx\d(s2(dx)?)?$", "", path.stem) + ".c"


def c_sources():
    return [p for p in sorted(CSRC.iterdir()) if p.suffix in (".c", ".h")]


@pytest.mark.parametrize("path", c_sources(), ids=lambda p: p.name)
def test_c_includes_go_down(path):
    own = {name for kind, name in includes(path) if kind == '"'}
    system = {name for kind, name in includes(path) if kind == "<"}
    if path.name == "intrin.h":
        assert not own and {s for s in system if not s.endswith("intrin.h")} == {"arm_neon.h"}
    elif path.name in DOOR:
        assert own <= DOOR | VECTORS
    elif path.name in VECTORS:
        assert own <= VECTORS | {"kernel.h"} and system <= SYSTEM
    elif path.stem in TEAMS:
        assert own <= {"fn.h", "team.h", "pages.h", "ops.inc"}                # not a word of any kernel
    else:
        kernels = {p.name for p in c_sources() if p.suffix == ".h"} - {"team.h", "pages.h"}
        more = {"time.h", "windows.h"} if path.stem == "brgemm" else set()
        more |= {"cpuid.h", "sys/syscall.h", "unistd.h"} if path.stem == "table" else set()
        kernels |= {again(path)} - {path.name}
        assert own <= kernels | {"ops.inc"} and system <= SYSTEM | more
        assert path.name == "table.c" or "ops.inc" not in own


def test_openmp_is_in_one_file():
    assert {p.name for p in c_sources() if re.search(r"#\s*pragma\s+omp|omp\.h|\bomp_\w+\(", p.read_text())} == {"run.c"}
    for path in PACKAGE.rglob("*.p*"):
        if path.suffix in (".py", ".pyx", ".pxi", ".pxd"):
            assert not re.search(r"\bprange\b|openmp", re.sub(r'"[^"]*"|\'[^\']*\'', "", path.read_text())), path


def test_c_knows_no_python():
    assert not [p.name for p in c_sources() if "Python.h" in p.read_text() or "numpy" in " ".join(n for _, n in includes(p))]


# ---- Python ----------------------------------------------------------------------------------------------------------------------------

FLOORS = (                       # of a module or package, the first that fits; what is not named stands on floor 4
    (7, ("cli", "bench", "__main__", "selftest", "interop")),
    (6, ("train", "data", "utils.data", "datasets", "transforms", "models", "bptt", "preprocessing", "filters")),
    (4, ("nn.functional", "nn.grad", "nn.utils.rnn_pack")),
    (5, ("nn", "optim")),
    (3, ("_core",)),
    (0, ("version", "config")),
)


def floor(name):
    for n, names in FLOORS:
        if any(name == p or name.startswith(p + ".") for p in names):
            return n
    return 4


def modules():
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}


def imports(name, path):
    """Modules of the package that this one imports, '' for the package itself."""
    known = {n.removesuffix(".__init__") for n in modules()} | {"_core"}
    package = name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name.partition(".")[2] for a in node.names if a.name.split(".")[0] == "fastnn")
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[:len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            elif node.module and node.module.split(".")[0] == "fastnn":
                base = node.module.split(".")[1:]
            else:
                continue
            for a in node.names:
                full = ".".join([*base, a.name])
                yield full if full in known else ".".join(base)


def roof(name):
    """Packages' own __init__ only gather names."""
    return name.split(".")[-1] == "__init__"


@pytest.mark.parametrize("name", [n for n in modules() if not roof(n)])
def test_python_imports_go_down(name):
    used = sorted(set(imports(name, modules()[name])))
    high = [(u or "fastnn", floor(u) if u else "roof") for u in used if (floor(u) if u else 6) > floor(name)]
    assert not high, f"{name} (floor {floor(name)}) imports {high}"


def test_nothing_but_numpy_is_needed():
    """Other packages are imported inside functions, where they are optional."""
    import sys
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in (n.split(".")[0] for n in names):
                assert top in sys.stdlib_module_names or top in ("numpy", "fastnn"), f"{name} imports {top}"


# ---- a test file for each source ----------------------------------------------------------------------------------------------------------

def public_names(path):
    return {n.name for n in ast.parse(path.read_text()).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != "_"}


def test_every_source_has_its_tests():
    """test_<name>.py for each C file, also if its text serves once more. For a Python module that, or a file of its
    package which uses some of its names, or one whose docstring names it."""
    tests = {p.stem: p for p in TESTS.rglob("test_*.py")}
    docs = [ast.get_docstring(ast.parse(p.read_text())) or "" for p in tests.values()]
    missing = [p.name for p in CSRC.glob("*.c") if f"test_{Path(again(p)).stem}" not in tests]
    for name, path in modules().items():
        parts, names = name.split("."), public_names(path)
        if roof(name) or not names:
            continue
        own = {"test_" + "_".join(parts[i:]) for i in range(len(parts))}
        family = {"test_" + "_".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts))}
        text = " ".join(tests[t].read_text() for t in family if t in tests)
        named = any(re.search(rf"\b{parts[-1]}\.py", doc) for doc in docs)
        if not own & tests.keys() and not named and not any(re.search(rf"\b{n}\b", text) for n in names):
            missing.append(f"{name}.py")
    assert not missing, f"no test file for {', '.join(sorted(missing))}"
