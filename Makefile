# Everything is done from here, on a machine with Python 3.11 or later, a C compiler and make.
#
#   make run      boot the system (ARGS='…' is passed on; stdin and stdout are the system's)
#   make test     run the test suite (ARGS='-k ipc')
#   make lint     every check that isn't a test
#   make bench    the benchmarks
#   make asan     the test suite with the extension built for AddressSanitizer
#   make idl      regenerate what is made from messages.idl
#   make doctor   what is missing on this machine, and how to get it
#   make clean    remove what was built (distclean: the environment in .venv as well)
#
# The first of them creates .venv, builds and installs; later ones do so again only if a source of
# the build has changed. Each step of that is a line on stderr.

# Looked for only when .venv has to be made: `=`, not `:=`.
PYTHON ?= $(shell scripts/doctor.sh --python)

VENV   := .venv
BIN    := $(VENV)/bin
STEP   := scripts/step.sh
# Neither asks, nor advertises, nor prints a bar.
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

# What the build reads. The C and Wasm sources may be none yet: `find` doesn't mind.
BUILD_SOURCES := pyproject.toml setup.py \
	$(shell find src \( -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' \) 2>/dev/null) \
	$(shell find guests \( -name '*.c' -o -name '*.h' \) 2>/dev/null)

.PHONY: run test bench lint asan idl build doctor clean distclean
.DEFAULT_GOAL := build

build: $(VENV)/.built

run: $(VENV)/.built
	@exec $(BIN)/wasmos boot $(ARGS)

test: $(VENV)/.built
	@exec $(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.built
	@exec $(BIN)/python -m bench $(ARGS)

idl: $(VENV)/.built
	@exec $(BIN)/python -m wasmos.idl

# All of them run, even if the first complains: one look shows everything there is to mend.
lint: $(VENV)/.built $(VENV)/.lint
	@status=0; \
	check() { echo "lint: $$*" >&2; "$$@" || status=1; }; \
	check $(BIN)/ruff check --quiet .; \
	check $(BIN)/ruff format --quiet --check .; \
	check $(BIN)/mypy --strict --no-error-summary src; \
	check $(BIN)/python -m wasmos.idl --check; \
	PATH="$(CURDIR)/$(BIN):$$PATH"; \
	check cython-lint $$(find src -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd'); \
	exit $$status

doctor:
	@PYTHON=$(PYTHON) scripts/doctor.sh

# --- The environment --------------------------------------------------------------------------

$(VENV)/.created:
	@PYTHON=$(PYTHON) scripts/doctor.sh --quiet
	@$(STEP) "creating $(VENV) with $(PYTHON)" $(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The build requirements, by hand, so that the build need not be isolated: an isolated one fetches
# the compilers anew each time.
$(VENV)/.tools: pyproject.toml $(VENV)/.created
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		> $(VENV)/build-requires.txt
	@$(STEP) "installing the build tools" $(PIP) install -r $(VENV)/build-requires.txt
	@touch $@

$(VENV)/.built: $(VENV)/.tools $(BUILD_SOURCES)
	@PYTHON=$(BIN)/python scripts/doctor.sh --quiet
	@touch $@.new # as old as the start of the build: what is edited meanwhile is newer
	@$(STEP) "building wasmos" $(PIP) install --no-build-isolation -e '.[test]'
	@$(BIN)/python -m compileall -q src # as pip does for what it copies: the first start is fast, too
	@mv $@.new $@

$(VENV)/.lint: pyproject.toml | $(VENV)/.built
	@$(STEP) "installing the linters" $(PIP) install --no-build-isolation -e '.[lint]'
	@touch $@

# --- AddressSanitizer -------------------------------------------------------------------------

# A copy of the package, with its own extension, found before the installed one. The engine has
# signal handlers of its own and switches stacks: the sanitizer must not mistake either for a bug.
# Python's own leaks at exit aren't ours to fix. WASMOS_ASAN tells the tests, too: a child process
# with a limit on its address space can't start under a sanitizer that reserves terabytes of it.
ASAN_DIR := build/asan
WITH_ASAN = WASMOS_ASAN=1 LD_PRELOAD="$$($${CC:-gcc} -print-file-name=libasan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:use_sigaltstack=0:detect_stack_use_after_return=0 \
	PYTHONPATH=$(CURDIR)/$(ASAN_DIR)/lib PYTHONMALLOC=malloc

asan: $(VENV)/.built
	@[ ! -d $(ASAN_DIR)/lib ] || find $(ASAN_DIR)/lib -name '*.py' -exec rm -f {} +
	@WASMOS_ASAN=1 $(STEP) "building wasmos for AddressSanitizer in $(ASAN_DIR)" \
		$(BIN)/python setup.py build --build-base $(ASAN_DIR) --build-lib $(ASAN_DIR)/lib --build-temp $(ASAN_DIR)/temp
	@$(WITH_ASAN) $(BIN)/python -m pytest -m 'not plain_build' -o timeout=300 -o faulthandler_timeout=400 $(ARGS)

# --- Cleaning ---------------------------------------------------------------------------------

clean:
	@rm -rf build dist src/*.egg-info src/wasmos/guests src/wasmos/_core.*.so src/wasmos/_core.c \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis $(VENV)/.built
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV)
