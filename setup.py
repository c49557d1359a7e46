"""Builds fastnn._core: every kernel file of csrc/ once per (instruction set, element type), linked with the Cython floor.

Environment: FASTNN_NO_OPENMP=1 builds the plain-thread twin of run.c; FASTNN_SANITIZE=address,undefined, FASTNN_DEBUG_BUILD=1
(guard words around every block), FASTNN_WERROR=1 (csrc/ compiles without a warning), FASTNN_JOBS (compilers at once).
"""
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = Path("csrc")
FLOOR2 = ("mem", "dispatch", "team", "run", "run_threads", "table")         # csrc files that hold no kernels
TYPES = {"REALS": "f32 f64", "NUMS": "f32 f64 i64 i32 u8", "ALL": "f32 f64 i64 i32 u8 bool", "INTS": "i64 i32 u8 bool"}
ISAS = ({"neon": []} if platform.machine().lower() in ("arm64", "aarch64") else     # slowest first
        {"base": [], "avx2": ["-mavx2", "-mfma"],
         "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"]}
        if platform.machine().lower() in ("x86_64", "amd64") else {"base": []})
DIRECTIVES = {"language_level": 3, "boundscheck": False, "wraparound": False}
WARN = ["-Wall", "-Wextra", "-Wpedantic"]


def flag(name):
    return os.environ.get(name, "") not in ("", "0")


def kernel_types():
    """{kernel file: its element types}: those of the ops below its name in ops.inc; real types for a file without ops."""
    types = {f.stem: {"f32", "f64"} for f in sorted(CSRC.glob("*.c")) if f.stem not in FLOOR2}
    files = []
    for line in (CSRC / "ops.inc").read_text().splitlines():
        if line.startswith("/* ") and (named := re.findall(r"(\w+)\.c\b", line.split(":")[0])):
            files = named
        elif op := re.match(r"FN_OP\(\w+, *\w+, *(\w+),", line):
            for f in files:
                if f in types:
                    types[f] |= set(TYPES[op[1]].split())
    return types


class BuildKernels(build_ext):
    """build_ext that compiles csrc/ first, in parallel and only what changed."""

    def build_extension(self, ext):
        self.choose_compiler()
        objects = self.compile_csrc()
        ext.extra_objects = [str(o) for o in objects]
        stubs = Path(self.build_temp) / "partial"
        if flag("FASTNN_PARTIAL"):
            stubs.mkdir(exist_ok=True)
            for name in re.findall(r'^include "(.*)"', Path(ext.sources[0]).read_text(), re.M):
                if not (Path("fastnn") / name).exists():
                    (stubs / name).write_text("")
        ext.sources = cythonize([ext], compiler_directives=DIRECTIVES, include_path=[str(stubs)])[0].sources
        ext.depends += ext.extra_objects + [str(h) for h in CSRC.glob("*.h")] + [str(CSRC / "ops.inc")]
        ext.extra_compile_args = list(self.unit_flags)
        ext.extra_link_args = list(self.link_flags)
        super().build_extension(ext)

    def choose_compiler(self):
        windows = self.compiler.compiler_type == "msvc"
        self.cc = ["clang-cl"] if windows else [a for a in self.compiler.compiler_so[:1]]
        if not shutil.which(self.cc[0]):
            raise SystemExit(f"fastnn: the kernels need {'clang-cl (LLVM)' if windows else 'a C compiler'}; {self.cc[0]} was not found")
        self.out = ["/clang:-o", "/clang:"] if windows else ["-o", ""]
        std, o3 = (["/clang:-std=gnu11"], ["/clang:-O3"]) if windows else (["-std=gnu11"], ["-O3"])
        sanitize = os.environ.get("FASTNN_SANITIZE", "")
        debug = bool(sanitize) or flag("FASTNN_DEBUG_BUILD")
        shared = [] if os.name == "nt" else ["-fPIC", "-fvisibility=hidden"]
        self.san_flags = [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if sanitize else []
        common = shared + self.san_flags + (["-g", "-DFN_GUARD"] if debug else ["-g0"])
        self.c_flags = (std + (["-O1"] if sanitize else o3) + ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-Icsrc"]
                        + WARN + (["-Werror"] if flag("FASTNN_WERROR") else []) + common)
        self.unit_flags = ["/O2"] if windows else ["-O2", "-Wno-unused-function"] + common
        self.link_flags = self.san_flags + ([] if debug or os.name == "nt" or sys.platform == "darwin" else ["-Wl,--strip-all"])
        self.openmp = [] if os.name == "nt" or flag("FASTNN_NO_OPENMP") or not self.has_openmp() else ["-fopenmp"]
        self.link_flags += self.openmp or ([] if os.name == "nt" else ["-pthread"])
        if os.name == "nt":
            self.link_flags += ["synchronization.lib"] if windows else ["-lsynchronization"]
        self.config = "-".join(["csrc", *re.split(r"\W+", sanitize), *["guard"] * debug, *["omp"] * bool(self.openmp)]).replace("--", "-")

    def has_openmp(self):
        with tempfile.TemporaryDirectory() as d:
            source = Path(d) / "probe.c"
            source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
            probe = subprocess.run([*self.cc, "-fopenmp", source, "-o", source.with_suffix("")], capture_output=True)
            return probe.returncode == 0

    def compile_csrc(self):
        """All objects of csrc/, compiled where older than their source or a header it includes."""
        out = Path(self.build_temp) / self.config
        out.mkdir(parents=True, exist_ok=True)
        isas = "".join(f"FN_X({isa})" for isa in ISAS)
        run = "run" if self.openmp else "run_threads"
        jobs = [("mem", [], "mem"), ("team", [], "team"), ("dispatch", [f"-DFN_ISAS={isas}"], "dispatch"), (run, self.openmp, run)]
        for isa, isa_flags in ISAS.items():
            jobs.append(("table", ["-DFN_DTYPE=f32", f"-DFN_ISA={isa}", *["-DFN_PARTIAL"] * flag("FASTNN_PARTIAL"), *isa_flags], f"table.{isa}"))
            jobs += [(f, [f"-DFN_DTYPE={t}", f"-DFN_ISA={isa}", *isa_flags], f"{f}.{isa}.{t}")
                     for f, types in kernel_types().items() for t in sorted(types)]
        with ThreadPoolExecutor(int(os.environ.get("FASTNN_JOBS", 0)) or os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: self.compile_one(*job, out), jobs))
        if flag("FASTNN_PARTIAL"):
            objects = [o for o in objects if o]
        if None in objects:
            raise SystemExit("fastnn: csrc/ did not compile; see above")
        return objects

    def compile_one(self, stem, flags, name, out):
        source, target = CSRC / f"{stem}.c", out / f"{name}.o"
        deps, recipe = target.with_suffix(".o.d"), target.with_suffix(".o.cmd")
        msvc = self.out[0] != "-o"
        command = [*self.cc, *self.c_flags, *flags, "-c", str(source), *(["/clang:-MMD", f"/clang:-MF{deps}", f"/Fo{target}"] if msvc
                   else ["-MMD", "-MF", str(deps), "-o", str(target)])]
        if target.exists() and deps.exists() and recipe.exists() and recipe.read_text() == " ".join(command):
            needs = re.sub(r"\\\r?\n", " ", deps.read_text()).split(": ", 1)[1].split()
            if all(os.path.exists(f) and os.path.getmtime(f) < target.stat().st_mtime for f in needs):
                return target
        done = subprocess.run(command, capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode:
            sys.stderr.write(f"fastnn: {source} ({name}) failed: {' '.join(command)}\n")
            target.unlink(missing_ok=True)
            return None
        recipe.write_text(" ".join(command))
        return target


setup(cmdclass={"build_ext": BuildKernels}, ext_modules=[Extension("fastnn._core", ["fastnn/_core.pyx"], include_dirs=["csrc"])])
