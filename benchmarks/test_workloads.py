"""The same workloads under pytest-benchmark: `make bench`, or `python -m pytest benchmarks --benchmark-enable`."""
import pytest

from fastnn.bench.workloads import WORKLOADS


@pytest.mark.parametrize("library", ["fastnn", "fastnn_captured"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload(benchmark, name, library):
    make = WORKLOADS[name].form(library)
    if make is None:
        pytest.skip(f"{name} has no {library} form")
    call, result = make()
    result()
    benchmark(call)
