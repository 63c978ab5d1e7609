# All commands for developers and CI. Needs make and Python 3.10 or newer; `make PYTHON=python3.12 ...` chooses one.

VENV    ?= .venv
ADDRESS ?= 127.0.0.1:8080
BIN     := $(VENV)/bin
MAKEFLAGS += --no-print-directory
STORIES_LOGS := $(VENV)/stories
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# A change in one of these files reinstalls the virtual environment.
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
	@echo "tests/stories runs two files at a time, in parallel with all other tests; its output comes last"
	@rm -rf $(STORIES_LOGS); mkdir $(STORIES_LOGS); \
	ls tests/stories/test_*.py | xargs -P 2 -I FILE sh -c '$(BIN)/python -m pytest -q FILE > $(STORIES_LOGS)/$$(basename FILE).log 2>&1' & stories=$$!; \
	$(BIN)/python -m pytest -q --ignore=tests/stories; status=$$?; \
	wait $$stories || status=1; \
	grep -vh '^\.*  *\[ *[0-9]*%\]$$' $(STORIES_LOGS)/*.log; exit $$status
endif

check: $(VENV)/installed-dev  ## check format, lint, types, import layers, docs, conf, and that no file names a path of one machine
	@echo "format";  $(BIN)/ruff format --quiet --check .
	@echo "lint";    $(BIN)/ruff check --quiet .
	@echo "types";   $(BIN)/mypy --no-error-summary
	@echo "imports"; $(BIN)/lint-imports --no-logo > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	@$(if $(wildcard docs/*.md),echo "docs and habits"; $(BIN)/python -m pytest -q tests/docs tests/unit/project/test_habits.py)
	@echo "conf";    $(MAKE) conf
	@echo "paths";   $(MAKE) no-machine-paths
	@echo "all checks passed"

# The brackets keep the patterns from matching this file.
MACHINE_PATH := (^|[^[:alnum:]_.~/)}-])/([w]ork|[r]oot|[h]ome/[[:alnum:]_.-]+|[U]sers/[[:alnum:]_.-]+|[t]mp/dev|[o]pt/(pypi|wheels))(/|$$|[^[:alnum:]_])
PACKAGE_HOST := [p]ypi[.]org/simple|[p]ythonhosted[.]org|--[i]ndex-url|--[e]xtra-index-url|--[f]ind-links|--[t]rusted-host

.PHONY: no-machine-paths
no-machine-paths:
	@found=$$(grep -rnIE '$(MACHINE_PATH)|$(PACKAGE_HOST)' . --exclude-dir=.git --exclude-dir=.venv --exclude-dir=.nox --exclude-dir=.compat \
	  --exclude=.git --exclude-dir=build --exclude-dir=dist --exclude-dir='.*_cache' --exclude-dir='*.egg-info'); \
	if [ -n "$$found" ]; then echo "A file names a path or a package index of one machine:"; echo "$$found"; exit 1; fi

conf: .compat/conf/installed  ## validate conf/ against published schemas and against our settings
	@.compat/conf/bin/python -m pytest -q -p no:cacheprovider -p no:cloudcoil tests/conf

.compat/conf/installed: $(wildcard tests/conf/*requirements.txt) | $(VENV)/installed-dev
	@echo "installing into .compat/conf ..."
	@$(BIN)/python -m venv .compat/conf
	@.compat/conf/bin/python -m pip install -q -r tests/conf/requirements.txt
	@.compat/conf/bin/python -m pip install -q --no-deps -r tests/conf/kserve-requirements.txt
	@touch $@

test-all: $(VENV)/installed-dev  ## run the tests on every Python 3.10-3.13 that is installed
	@$(BIN)/nox -s tests

compat: $(VENV)/installed-dev  ## run third-party servers, each in its own environment; ARGS="--only NAME --json FILE"
	@$(BIN)/python -m compat.run $(ARGS)

# $CI raises the time limits of the tests: DRUM takes seconds to start.
compat-drum: $(VENV)/installed-dev .compat/drum/bin/drum  ## test the real DRUM with working and failing models
	@CI=1 DRUM_BIN=$(abspath .compat/drum/bin/drum) $(BIN)/python -m pytest -q -m compat tests/compat $(ARGS)

parity: $(VENV)/installed-dev .compat/drum/bin/drum  ## compare the built-in server with DRUM: responses, then speed
	@$(BIN)/python -m parity.run $(ARGS)
	@$(BIN)/python -m parity.speed

# DRUM does not install the frameworks of models.
.compat/drum/bin/drum:
	@echo "installing DRUM into .compat/drum ..."
	@$(BIN)/python -m venv .compat/drum
	@.compat/drum/bin/python -m pip install -q "datarobot-drum==1.18.1" scikit-learn

# Always write bytecode, even if the environment turns it off: start-up time is measured.
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

container-engine:  ## install what the image tests need: docker or podman, and a base image with Python; as root
	@tests/container/prepare

image: $(VENV)/installed-dev  ## build the image drum-supervisor; ARGS="PYTHON_IMAGE=python:3.11-slim REQUIREMENTS=core.txt"
	@$(BIN)/python -m tests.container.engine $(ARGS)

audit: $(VENV)/installed-dev  ## check the packages in the image for known vulnerabilities
	@$(BIN)/nox -s audit

lock: $(VENV)/installed-dev  ## update constraints.txt and conf/image; needs Python 3.10, 3.11, 3.12 and 3.13
	@$(BIN)/nox -s lock lock_image

clean:  ## remove everything that was built and installed here
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

# Without PYTHON: the first in the list that is new enough and can create a virtual environment.
GOOD_PYTHON := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))
$(BIN)/python:
	@for python in $(or $(PYTHON),python3.12 python3.11 python3.13 python3.10 python3); do \
	  if $$python -c '$(GOOD_PYTHON)' >/dev/null 2>&1; then \
	    $$python -m venv $(VENV) && exit; rm -rf $(VENV); exit 1; fi; \
	done; \
	echo "No Python 3.10 or newer with the venv module was found$(if $(PYTHON), as $(PYTHON))."; \
	echo "Debian, Ubuntu: apt-get install python3-venv    Fedora: dnf install python3    macOS: brew install python"; \
	echo "Or choose one: make PYTHON=/path/to/python3.12 ..."; \
	exit 1
