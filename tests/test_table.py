"""csrc/table.c and the kernel files: per instruction set and element type, exactly the kernels of ops.inc and nothing under another name.

Three types stand for all: what table.c names and no file has, the linker misses."""
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from native import CC, CSRC, needs_cc, setup_py

pytestmark = [needs_cc, pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")]
TYPES = {"REALS": ["f32"], "NUMS": ["f32", "u8"], "ALL": ["f32", "u8", "bool"], "INTS": ["u8", "bool"]}


def ops():
    return re.findall(r"^FN_OP\((\w+), *(\w+), *(\w+), *(\w+), *(\w+)\)", (CSRC / "ops.inc").read_text(), re.M)


def symbols(job):
    """{defined}, {undefined} of one kernel file for one element type, compiled for the baseline."""
    stem, t, folder = job
    target = folder / f"{stem}.{t}.o"
    subprocess.run([CC, "-std=gnu11", "-O0", "-w", f"-I{CSRC}", "-DFN_ISA=base", f"-DFN_DTYPE={t}", "-c",
                    str(CSRC / f"{stem}.c"), "-o", str(target)], check=True)
    lines = [line.split() for line in subprocess.run(["nm", target], capture_output=True, text=True, check=True).stdout.splitlines()]
    return {w[-1] for w in lines if w[-2] in "TDBRVWCGS"}, {w[-1] for w in lines if w[-2] == "U"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    jobs = [(f, t, folder) for f, types in setup_py().kernel_types().items() for t in types & {"f32", "u8", "bool"}]
    with ThreadPoolExecutor() as pool:
        return {job[:2]: s for job, s in zip(jobs, pool.map(symbols, jobs))}


def test_kernels_are_those_of_the_list(objects):
    wanted = {f"fn_{name}_{t}_base" for name, _, types, _, _ in ops() for t in TYPES[types]}
    wanted |= {f"fn_{name}_work_{t}_base" for name, _, types, _, work in ops() if work == "work" for t in TYPES[types]}
    made = set().union(*(defined for defined, _ in objects.values()))
    shared = set().union(*(undefined for _, undefined in objects.values())) | {"fn_fma_peak_f32_base"}
    assert wanted - made == set()
    assert {s for s in made - wanted if s not in shared} == set()          # what else leaves a file is used by another


def test_every_symbol_names_its_type_and_instruction_set(objects):
    for (stem, t), (defined, _) in objects.items():
        assert {s for s in defined if not re.fullmatch(rf"fn_\w+_{t}_base", s)} == set(), stem


def test_kernels_allocate_nothing_print_nothing_and_start_nothing(objects):
    forbidden = re.compile(r"_*(malloc|calloc|realloc|free|mmap|\w*printf|puts|fopen|exit|abort|__assert_fail|getenv|pthread_\w+|omp_\w+|GOMP_\w+)")
    for (stem, _), (_, undefined) in objects.items():
        assert {s for s in undefined if forbidden.fullmatch(s)} == set(), stem


def test_scratch_functions_are_where_the_list_says(objects):
    made = set().union(*(defined for defined, _ in objects.values()))
    for name, _, types, _, work in ops():
        for t in TYPES[types]:
            assert (f"fn_{name}_work_{t}_base" in made) == (work == "work"), name
