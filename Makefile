# Everything that is run by hand or by CI. Needs make and Python 3.10 or newer; `make PYTHON=python3.12 ...` chooses one.

VENV    ?= .venv
ADDRESS ?= 127.0.0.1:8080
BIN     := $(VENV)/bin
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# What was installed is renewed when one of these changes.
DECLARED := setup.cfg pyproject.toml constraints.txt drum_supervisor/__init__.py

.PHONY: help run test check test-all compat compat-drum parity bench conf container-engine image audit lock clean

help:  ## print the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

run: $(VENV)/installed-all  ## serve examples/diabetes on ADDRESS (127.0.0.1:8080)
	@echo "Serving on http://$(ADDRESS), Ctrl-C stops it. In another terminal try:"
	@echo "  curl http://$(ADDRESS)/ping"
	@echo "  curl -F X=@examples/diabetes/diabetes.csv http://$(ADDRESS)/predict/"
	@exec $(BIN)/drum-supervise start --address $(ADDRESS) --code-dir examples/diabetes --target-type regression

test: $(VENV)/installed-dev  ## run the tests; ARGS="-k policy" goes to pytest
ifdef ARGS
	@$(BIN)/python -m pytest -q $(ARGS)
else
	@echo "the stories, which mostly wait, run in two lanes beside all other tests; their output comes last"
	@lane() { ls tests/stories/test_*.py | awk "NR % 2 == $$1" | xargs $(BIN)/python -m pytest -q > $(VENV)/stories-$$1.log 2>&1; }; \
	lane 0 & first=$$!; lane 1 & second=$$!; \
	$(BIN)/python -m pytest -q --ignore=tests/stories; status=$$?; \
	wait $$first || status=1; wait $$second || status=1; \
	cat $(VENV)/stories-0.log $(VENV)/stories-1.log; exit $$status
endif

check: $(VENV)/installed-dev  ## format, lint, types, import direction, docs and conf in step, no machine's path
	@echo "format";  $(BIN)/ruff format --quiet --check .
	@echo "lint";    $(BIN)/ruff check --quiet .
	@echo "types";   $(BIN)/mypy --no-error-summary
	@echo "imports"; $(BIN)/lint-imports --no-logo > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	@$(if $(wildcard docs/*.md),echo "docs"; $(BIN)/python -m pytest -q tests/docs)
	@echo "conf";    $(MAKE) conf
	@echo "paths";   $(MAKE) no-machine-paths
	@echo "all checks passed"

# The brackets keep this file from finding itself.
MACHINE_PATH := (^|[^[:alnum:]_.~/)}-])/([w]ork|[r]oot|[h]ome/[[:alnum:]_.-]+|[U]sers/[[:alnum:]_.-]+|[t]mp/dev|[o]pt/(pypi|wheels))(/|$$|[^[:alnum:]_])
PACKAGE_HOST := [p]ypi[.]org/simple|[p]ythonhosted[.]org|--[i]ndex-url|--[e]xtra-index-url|--[f]ind-links|--[t]rusted-host

.PHONY: no-machine-paths
no-machine-paths:
	@found=$$(grep -rnIE '$(MACHINE_PATH)|$(PACKAGE_HOST)' . --exclude-dir=.git --exclude-dir=.venv --exclude-dir=.nox --exclude-dir=.compat \
	  --exclude=.git --exclude-dir=build --exclude-dir=dist --exclude-dir='.*_cache' --exclude-dir='*.egg-info'); \
	if [ -n "$$found" ]; then echo "A file names a path or a package index of one machine:"; echo "$$found"; exit 1; fi

conf: .compat/conf/installed  ## hold what is deployed (conf/) against published schemas, and against our settings
	@.compat/conf/bin/python -m pytest -q -p no:cacheprovider -p no:cloudcoil tests/conf

.compat/conf/installed: $(wildcard tests/conf/*requirements.txt) | $(VENV)/installed-dev
	@echo "installing into .compat/conf ..."
	@$(BIN)/python -m venv .compat/conf
	@.compat/conf/bin/python -m pip install -q -r tests/conf/requirements.txt
	@.compat/conf/bin/python -m pip install -q --no-deps -r tests/conf/kserve-requirements.txt
	@touch $@

test-all: $(VENV)/installed-dev  ## run the tests on every Python 3.10-3.13 that is installed
	@$(BIN)/nox -s tests

compat: $(VENV)/installed-dev  ## run other people's servers, each in its own environment; ARGS="--only NAME --json FILE"
	@$(BIN)/python -m compat.run $(ARGS)

# Each story has a limit of time, which $CI makes longer: DRUM takes seconds to start.
compat-drum: $(VENV)/installed-dev .compat/drum/bin/drum  ## run the real DRUM in front of models that fail and models that do not
	@CI=1 DRUM_BIN=$(abspath .compat/drum/bin/drum) $(BIN)/python -m pytest -q -m compat tests/compat $(ARGS)

parity: $(VENV)/installed-dev .compat/drum/bin/drum  ## compare the built-in server with DRUM: answers, then speed
	@$(BIN)/python -m parity.run $(ARGS)
	@$(BIN)/python -m parity.speed

# DRUM leaves the frameworks of models to the user.
.compat/drum/bin/drum:
	@echo "installing DRUM into .compat/drum ..."
	@$(BIN)/python -m venv .compat/drum
	@.compat/drum/bin/python -m pip install -q "datarobot-drum==1.18.1" scikit-learn

# With the bytecode of everything, also where the environment says that none is written: what starts fast is measured.
BENCH := env -u PYTHONDONTWRITEBYTECODE -u PYTHONUNBUFFERED .compat/bench/bin/python
bench: .compat/bench/installed  ## measure beside the peers; BRIEF=1, DOCS=1, ARGS="--only lives --rounds 11"
	@rm -rf build && $(BENCH) -m pip install -q --force-reinstall --no-deps . && rm -rf build
	@$(BENCH) -m bench.from_debian
	@$(BENCH) -m bench.run $(if $(BRIEF),--brief) $(if $(DOCS),--docs) $(ARGS)
ifdef DOCS
	@$(MAKE) $(VENV)/installed-dev && UPDATE_DOCS=1 $(BIN)/python -m pytest -q tests/docs/test_performance.py
endif

.compat/bench/installed: bench/requirements.txt setup.cfg | $(BIN)/python
	@echo "installing the peers into .compat/bench ..."
	@$(BIN)/python -m venv .compat/bench
	@.compat/bench/bin/python -m pip install -q -r bench/requirements.txt .
	@touch $@

container-engine:  ## make docker or podman, and a base image with Python, available for the tests of the image; as root
	@tests/container/prepare

image: $(VENV)/installed-dev  ## build the image drum-supervisor; ARGS="PYTHON_IMAGE=python:3.11-slim REQUIREMENTS=core.txt"
	@$(BIN)/python -m tests.container.engine $(ARGS)

audit: $(VENV)/installed-dev  ## look for known vulnerabilities in what the image contains
	@$(BIN)/nox -s audit

lock: $(VENV)/installed-dev  ## renew constraints.txt and conf/image; needs Python 3.10, 3.11, 3.12 and 3.13
	@$(BIN)/nox -s lock lock_image

clean:  ## remove what was built and installed here
	rm -rf $(VENV) .nox .compat build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed-all: $(BIN)/python $(DECLARED)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install -q -c constraints.txt -e ".[all]"
	@touch $@

$(VENV)/installed-dev: $(BIN)/python $(DECLARED)
	@echo "installing into $(VENV), with the tools for tests and checks ..."
	@$(BIN)/python -m pip install -q -c constraints.txt -e ".[all,test,dev]"
	@touch $@ $(VENV)/installed-all

# Without PYTHON: the first of the list that is new enough and can make a virtual environment.
GOOD_PYTHON := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))
$(BIN)/python:
	@for python in $(or $(PYTHON),python3.12 python3.11 python3.13 python3.10 python3); do \
	  if $$python -c '$(GOOD_PYTHON)' >/dev/null 2>&1; then \
	    $$python -m venv $(VENV) && exit; rm -rf $(VENV); exit 1; fi; \
	done; \
	echo "No Python 3.10 or newer with the venv module was found$(if $(PYTHON), as $(PYTHON))."; \
	echo "Debian, Ubuntu: apt-get install python3-venv    Fedora: dnf install python3    macOS: brew install python"; \
	echo "Or name one: make PYTHON=/path/to/python3.12 ..."; \
	exit 1
