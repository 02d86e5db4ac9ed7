# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets everything up first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := $(BIN)/python pyproject.toml constraints.txt $(wildcard native/*.cpp native/*.h native/CMakeLists.txt)
NATIVE  := $(BIN)/python -c "import carrousel._native" 2>/dev/null || \
           echo "The native engine was not built, NumPy runs instead; why: $(BIN)/python -m pip install -v --no-deps -e ."

.PHONY: demo test check docs fuzz valgrind cross clean

demo: $(VENV)/.all
	$(BIN)/carrousel demo -o runs/demo

test: check
	@# One thread a worker: two workers with two threads each would only wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	find native examples -name '*.h' -o -name '*.cpp' -o -name '*.c' | xargs $(BIN)/clang-format --dry-run -Werror

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

# Five minutes of hostile files for the loader in C++; needs Clang. What it finds stands in build/fuzz.
fuzz:
	cmake -S native -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DCARROUSEL_FUZZ=ON
	cmake --build build/fuzz --target carrousel_fuzz
	mkdir -p build/fuzz/found
	build/fuzz/carrousel_fuzz -max_total_time=$(FUZZ_SECONDS) -dict=native/fuzz/artifact.dict \
	  -artifact_prefix=build/fuzz/ build/fuzz/found native/fuzz/corpus
FUZZ_SECONDS := 300

# A million steps under Valgrind; the tests do some thousands.
valgrind:
	@command -v valgrind >/dev/null || { echo "valgrind: not installed, nothing was checked"; exit 0; } && \
	cmake -S native -B build/valgrind -DCARROUSEL_TESTS=ON && \
	cmake --build build/valgrind --target carrousel_soak && \
	valgrind --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=all --error-exitcode=9 \
	  build/valgrind/carrousel_soak 1000000

# The tests in C++ for 64-bit ARM, in an emulator; needs g++-aarch64-linux-gnu and qemu-user.
cross: $(VENV)/.dev
	$(BIN)/python -m pytest tests/native -k 64_bit_arm

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The native engine is built with every installation; without a C++ compiler the NumPy engine runs instead.
$(VENV)/.all: $(SOURCES)
	@echo "Installing Carrousel with everything it trains and reports with (some minutes the first time) ..."
	$(PIP) -e ".[all]"
	@$(NATIVE)
	@touch $@

$(VENV)/.dev: $(SOURCES)
	@echo "Installing Carrousel with everything it trains, reports and is tested with (some minutes the first time) ..."
	$(PIP) -e ".[all,dev]"
	@$(NATIVE)
	@touch $(VENV)/.all $@

clean:
	rm -rf $(VENV) build dist site runs
