"""Builds fastnn._core: every kernel file of csrc/ once per (instruction set, element type), linked with the Cython floor.

Environment: FASTNN_NO_OPENMP=1 builds the plain-thread twin of run.c; FASTNN_SANITIZE=address,undefined; FASTNN_DEBUG_BUILD=1
(guard words around every block); FASTNN_WERROR=1 (csrc/ compiles without a warning); FASTNN_JOBS (compilers at once).
"""
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = Path(__file__).resolve().parent / "csrc"
FLOOR2 = ("mem", "dispatch", "team", "run", "run_threads", "table")         # csrc files that hold no kernels
TYPES = {"REALS": "f32 f64", "NUMS": "f32 f64 i64 i32 u8", "ALL": "f32 f64 i64 i32 u8 bool", "INTS": "i64 i32 u8 bool"}
ISAS = {"base": []}                                                         # slowest first
if platform.machine().lower() in ("x86_64", "amd64"):
    ISAS["base"] = ["-O2"]                                                  # processors of before 2013: shorter to compile
    ISAS["avx2"] = ["-mavx2", "-mfma"]
    ISAS["avx512"] = ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"]
elif platform.machine().lower() in ("arm64", "aarch64"):
    ISAS = {"neon": []}
WHOLE = {"avx512": "avx2"}                  # whose kernels of whole numbers serve another too: their speed is memory's
# One that adds to another: whose, what its float32 kernels' files are (all others are the other's), and its further flags.
ADDED = {"amx": ("avx512", ("gemm", "dense"), ["-mamx-tile", "-mamx-bf16"])} if sys.platform == "linux" else {}


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


class Compiler:
    """The C compiler of the kernels, with its flags. GCC vector extensions are needed: where Python uses MSVC, that is clang-cl."""

    def __init__(self, words, msvc=False):
        self.cc, self.msvc = ["clang-cl"] if msvc else words, msvc
        if not shutil.which(self.cc[0]):
            raise SystemExit(f"fastnn: the kernels need {'clang-cl (LLVM)' if msvc else 'a C compiler'}, and {self.cc[0]} was not found")
        windows, sanitize = os.name == "nt", os.environ.get("FASTNN_SANITIZE", "")
        guard = bool(sanitize) or flag("FASTNN_DEBUG_BUILD")
        self.sanitized = bool(sanitize)
        sanitizer = [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if sanitize else []
        common = [*([] if windows else ["-fPIC", "-fvisibility=hidden"]), *sanitizer, *(["-g1", "-DFN_GUARD"] if guard else ["-g0"])]
        self.flags = [*(["/clang:-std=gnu11", "/clang:-O3"] if msvc else ["-std=gnu11", "-O3"]), "-ffp-contract=fast",
                      "-fno-math-errno", "-fno-trapping-math", f"-I{CSRC}", "-Wall", "-Wextra", "-Wpedantic",
                      *["-Werror"] * flag("FASTNN_WERROR"), *common]
        # Generated code is long: at -O2 it compiles for twice as long and is a hundredth faster; it is watched for addresses alone.
        self.cython_flags = ["/O2"] if msvc else ["-O1", "-finline-small-functions", "-fwrapv", "-DNDEBUG", *common,
                                                  *["-fno-sanitize=undefined"] * bool(sanitizer)]
        self.openmp = ["-fopenmp"] if not windows and not flag("FASTNN_NO_OPENMP") and self.has_openmp() else []
        self.link_flags = [*sanitizer, *self.openmp, *(["synchronization.lib"] if msvc else ["-lsynchronization"] if windows else ["-pthread"]),
                           *([] if guard or windows or sys.platform == "darwin" else ["-Wl,--strip-all"])]
        self.name = "-".join(["csrc", *re.findall(r"\w+", sanitize), *["guard"] * guard, *["openmp"] * bool(self.openmp)])

    def level(self, stem):
        """A sanitizer's checks are long to compile, so they are hardly optimised, but where products are made: there tests spend their time."""
        return ["-O2" if stem in ("brgemm", "winograd_weight") else "-O1"] if self.sanitized else []

    def can(self, flags, program="int main(void) { return 0; }\n"):
        with tempfile.TemporaryDirectory() as d:
            source = Path(d) / "probe.c"
            source.write_text(program)
            return subprocess.run([*self.cc, *flags, source, "-o", Path(d) / "probe"], capture_output=True).returncode == 0

    def has_openmp(self):
        return self.can(["-fopenmp"], "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")

    def compile(self, source, flags, target):
        """Compile source unless target is younger than all it was made from, and made the same way. False: it failed."""
        deps, recipe = Path(f"{target}.d"), Path(f"{target}.cmd")
        command = [*self.cc, *flags, "-c", str(source),
                   *(["/clang:-MMD", f"/clang:-MF{deps}", f"/Fo{target}"] if self.msvc else ["-MMD", "-MF", str(deps), "-o", str(target)])]
        if target.exists() and recipe.exists() and recipe.read_text() == " ".join(command):
            needs = re.sub(r"\\\r?\n", " ", deps.read_text()).split(": ", 1)[1].split()
            if all(os.path.exists(f) and os.path.getmtime(f) < target.stat().st_mtime for f in needs):
                return True
        start = time.time()
        done = subprocess.run(command, capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode:
            sys.stderr.write(f"fastnn: {' '.join(command)}\n")
            target.unlink(missing_ok=True)
            return False
        os.utime(target, (start, start))           # a source saved while it was compiled is younger
        recipe.write_text(" ".join(command))
        return True


class BuildKernels(build_ext):
    """build_ext that compiles the kernels and the Cython floor side by side, and only what changed."""

    def build_extension(self, ext):
        words = self.compiler.compiler_so if self.compiler.compiler_type != "msvc" else []
        cc = Compiler([w for i, w in enumerate(words) if not any(v.startswith("-") for v in words[:i + 1])], not words)
        ext.extra_objects, ext.extra_link_args, ext.sources = self.compile_all(cc, ext), list(cc.link_flags), []
        ext.depends += ext.extra_objects
        last = Path(self.build_temp) / "last"      # one extension file serves builds of several kinds
        if not last.exists() or last.read_text() != cc.name:
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        super().build_extension(ext)
        last.write_text(cc.name)

    def compile_all(self, cc, ext):
        """The objects of csrc/ and of the Cython floor. The latter takes longest by far, so it is begun first."""
        out = Path(self.build_temp) / cc.name
        out.mkdir(parents=True, exist_ok=True)

        def core():
            from Cython.Build import cythonize
            made = cythonize([ext], compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False})[0].sources[0]
            return cc.compile(made, [*cc.cython_flags, *(f"-I{d}" for d in (*self.include_dirs, *ext.include_dirs))], out / "_core.o")

        run = "run" if cc.openmp else "run_threads"
        added = {isa: a for isa, a in ADDED.items() if a[0] in ISAS and cc.can(a[2])}
        jobs = {"mem": ("mem", []), "team": ("team", []), run: (run, cc.openmp),
                "dispatch": ("dispatch", ["-DFN_ISAS=" + "".join(f"FN_X({isa})" for isa in (*ISAS, *added))])}

        def add(stem, isa, types, flags):
            jobs.update({f"{stem}.{isa}.{t}": (stem, [f"-DFN_DTYPE={t}", f"-DFN_ISA={isa}", *flags]) for t in sorted(types)})

        for isa, flags in ISAS.items():
            whole = WHOLE.get(isa)
            add("table", isa, {"f32"}, flags + [f"-DFN_WHOLE={whole}"] * bool(whole))
            for stem, types in kernel_types().items():
                add(stem, isa, types & {"f32", "f64"} if whole else types, flags)
        for isa, (under, stems, flags) in added.items():
            for stem in ("table", *stems):
                add(stem, isa, {"f32"}, [f"-DFN_UNDER={under}", *ISAS[under], *flags])
        with ThreadPoolExecutor(int(os.environ.get("FASTNN_JOBS", 0)) or os.cpu_count()) as pool:
            done = [pool.submit(core)]
            done += [pool.submit(cc.compile, CSRC / f"{stem}.c", [*cc.flags, *flags, *cc.level(stem)], out / f"{name}.o") for name, (stem, flags) in jobs.items()]
        if not all(d.result() for d in done):
            raise SystemExit("fastnn: a file did not compile, see above")
        return [str(out / "_core.o"), *(str(out / f"{name}.o") for name in jobs)]


if __name__ == "__main__":
    if sys.platform == "darwin":
        os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")         # the kernels are compiled for this machine's
    setup(cmdclass={"build_ext": BuildKernels}, ext_modules=[Extension("fastnn._core", ["fastnn/_core.pyx"], include_dirs=["csrc"])])
