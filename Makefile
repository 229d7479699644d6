# What a developer and a CI machine run. `make help` lists the targets.
#
#   make PYTHON=python3.12 test      another interpreter
#   make PLATFORMS=linux/amd64,linux/arm64 IMAGE=registry.example/torcxd image

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' torcxd/__init__.py)

# The container image, and the architectures that it is built for.
IMAGE ?= torcxd
TAG ?= $(VERSION)
PLATFORMS ?= linux/amd64,linux/arm64
# buildx cannot keep an image for several architectures in the local daemon: give OUTPUT=--push with a registry.
OUTPUT ?=

# How many tests run at the same time.
JOBS ?= 2

# How long the soak test may take, and which parts of it run; all where none is given.
HOURS ?= 1
PARTS ?=

# Programs that have to be there, and the Debian packages that bring them. The demo runs a private D-Bus and checks
# signatures; the tests boot Debian in systemd-nspawn besides.
DEMO_TOOLS := dbus-daemon:dbus gpg:gnupg gpg-agent:gpg-agent
TEST_TOOLS := $(DEMO_TOOLS) systemd-nspawn:systemd-container mmdebstrap:mmdebstrap journalctl:systemd \
    gpgv:gpgv openssl:openssl curl:curl groff:groff-base zsh:zsh strace:strace

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: demo
demo: packages-demo $(VENV)/.runtime ## run a real bootstrap on a node in a folder, through its reboot
	@$(BIN)/torcxd demo

.PHONY: test
test: packages-test $(VENV)/.development ## lint, then every test, the end-to-end ones included
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup --no-loadscope-reorder

.PHONY: lint
lint: $(VENV)/.development ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: bench
bench: packages-test $(VENV)/.development ## measure, each figure beside its peer in the same run
	@$(BIN)/python -m tests.bench

.PHONY: soak
soak: packages-test $(VENV)/.development ## every long test, an hour of them: HOURS=8, PARTS="syscalls power"
	@$(BIN)/python -m tests.soak --hours $(HOURS) $(PARTS)

.PHONY: diagrams
diagrams: $(VENV)/.development ## draw the states anew, in states/ and README.md
	@$(BIN)/python tools/diagrams.py

.PHONY: docs
docs: diagrams ## write man pages, shell completion and the reference of the settings anew
	@$(BIN)/python -m tools.manual
	@$(BIN)/python -m tools.reference
	@$(BIN)/python -m tools.messages

.PHONY: wheel
wheel: $(VENV)/.development ## build the wheel into dist/
	@rm -f dist/*.whl
	@$(BIN)/python -m build --wheel --no-isolation

.PHONY: image
image: ## build the container image for $(PLATFORMS)
	@test -n "$(OUTPUT)" || echo "without OUTPUT nothing is kept: OUTPUT=--push, or OUTPUT=--load for one of PLATFORMS"
	docker buildx build --platform $(PLATFORMS) --tag $(IMAGE):$(TAG) $(OUTPUT) .

.PHONY: lock
lock: | $(BIN)/pip-compile ## write the lock files anew from pyproject.toml
	@$(BIN)/python -m dependency_groups build | $(LOCK) --output-file requirements-build.lock -
	@$(LOCK) --extra sandbox --constraint requirements-build.lock --output-file requirements.lock pyproject.toml
	@$(BIN)/python -m dependency_groups dev | $(LOCK) --extra sandbox --constraint requirements-build.lock \
	    --constraint requirements.lock --output-file requirements-dev.lock - pyproject.toml

# A first lock file, or one that pip refuses, must not stand in the way of making a new one.
$(BIN)/pip-compile: | $(BIN)/python
	@$(BIN)/pip install --quiet --disable-pip-version-check pip-tools dependency-groups

# Only the public index counts for a lock file: whatever this machine's pip is configured with would leave its paths and
# the hashes of its own builds in it.
LOCK := env --unset=PIP_FIND_LINKS --unset=PIP_INDEX_URL --unset=PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
    $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --no-annotate

.PHONY: clean
clean: ## remove everything that was built or cached, .venv included
	@rm -rf $(VENV) .cache dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The virtual environment, in two steps: what running needs, and what developing needs. A changed lock file installs anew.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "torcxd needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=… $(MAKECMDGOALS)" >&2; \
	    exit 1; }
	@echo "setting up $(VENV), about a minute"
	@$(PYTHON) -m venv $(VENV)

# asks is published as source only; without build isolation it is built by the locked setuptools, not by the newest.
$(VENV)/.runtime: requirements-build.lock requirements.lock pyproject.toml | $(BIN)/python
	@$(PIP) --requirement requirements-build.lock
	@$(PIP) --no-build-isolation --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime | $(BIN)/python
	@echo "adding what developing needs, another minute"
	@$(PIP) --no-build-isolation --requirement requirements-dev.lock
	@touch $@

PIP := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes

# Packages: root gets them installed, everybody else gets told. Nothing happens where all are there.

.PHONY: packages-demo packages-test
packages-demo: TOOLS := $(DEMO_TOOLS)
packages-test: TOOLS := $(TEST_TOOLS)
packages-demo packages-test:
	@missing=(); \
	for each in $(TOOLS); do type -P "$${each%:*}" >/dev/null || missing+=("$${each#*:}"); done; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv); \
	if [ "$${#missing[@]}" -eq 0 ]; then exit 0; fi; \
	if [ "$$(id -u)" -ne 0 ]; then \
	    echo "Debian packages are missing; as root: apt-get install $${missing[*]}" >&2; exit 1; \
	fi; \
	echo "installing $${missing[*]}"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$${missing[@]}" >/dev/null
