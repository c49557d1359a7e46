"""Side by side: every library in its own process, turn by turn, with the limits of the machine measured around each timing.

    python benchmarks/run.py [--peers torch,jax,numpy] [--threads 2,1] [--only REGEX] [--json FILE] [--markdown FILE]

is `fastnn bench` of this checkout, and lists the same options under --help. Besides:

    python benchmarks/run.py --readme RESULTS.json      puts the README's table between its marks, from those results
"""
import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if [*ROOT.glob("fastnn/_core.*.so"), *ROOT.glob("fastnn/_core.*.pyd")]:         # else the installed package
    sys.path.insert(0, str(ROOT))

from fastnn.bench import harness, report  # noqa: E402


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    harness.add_options(parser)
    parser.add_argument("--readme", metavar="FILE", help="run nothing, write the README's table from the results of an earlier --json")
    options = parser.parse_args(argv)
    try:
        if options.readme:
            report.write_readme(json.loads(Path(options.readme).read_text()), ROOT / "README.md")
        else:
            harness.main(options)
    except (harness.BenchError, ImportError, OSError, ValueError) as error:
        raise SystemExit(f"run.py: {error}")


if __name__ == "__main__":
    main()
