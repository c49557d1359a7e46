PYTHON ?= python
TESTS ?= tests
PYTEST = $(PYTHON) -m pytest -q -n 2
ASAN = build/asan

.PHONY: build test fast asan threads bench lint clean

build:                                  # in place, incremental
	$(PYTHON) setup.py build_ext --inplace

test: build
	$(PYTEST) $(TESTS)

fast: build
	$(PYTEST) -x -m "not slow" $(TESTS)

asan:                                   # address and undefined-behaviour sanitizers, guard words; beside the build in place
	FASTNN_SANITIZE=address,undefined $(PYTHON) setup.py -q build --build-base $(ASAN) --build-lib $(ASAN)/lib
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	PYTHONSAFEPATH=1 PYTHONPATH=$(abspath $(ASAN)/lib) $(PYTEST) -p no:cacheprovider --capture=sys $(TESTS)

threads:                                # the same tests on the plain-thread twin of run.c
	FASTNN_NO_OPENMP=1 $(PYTHON) setup.py -q build --build-base build/threads --build-lib build/threads/lib
	PYTHONSAFEPATH=1 PYTHONPATH=$(abspath build/threads/lib) $(PYTEST) -p no:cacheprovider $(TESTS)

bench: build
	$(PYTHON) -m pytest -q --benchmark-enable benchmarks

lint:                                   # C without a warning; Python by ruff
	FASTNN_WERROR=1 $(PYTHON) setup.py -q build --build-base build/lint --build-lib build/lint/lib
	$(PYTHON) -m ruff check fastnn tests benchmarks examples setup.py

clean:
	rm -rf build dist *.egg-info fastnn/_core.c fastnn/_core.*.so
