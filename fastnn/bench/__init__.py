"""Side by side with other libraries: the same named workloads in each, turn by turn, against what the machine can do.

`fastnn bench` and `benchmarks/run.py` run `harness.main`; `workloads` holds the one list of what is timed."""
