# Nothing is needed but Python >= 3.10 with venv and pip; the tests of METEOR also use Java, those of the report's page
# Chromium, those of clusters SLURM, those of Jittor g++ and Python's headers. A stamp in the environment makes repeated calls quick.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal -o faulthandler_timeout=300

.PHONY: demo test test-fast test-versions test-vllm mutants torture lint types docs bench benchmarks gpu-check gpu-wheels
.PHONY: java chromium tmux slurm jittor

# The embedded quickstart, to a finished report under results/quickstart.
demo: $(VENV)/.tunelab
	$(BIN)/tunelab run

# Two processes; each test process computes with one thread (see tests/conftest.py).
test: $(VENV)/.tunelab-dev java chromium tmux slurm jittor
	$(PYTEST)

# For every edit: no process is started, no Java, no browser.
test-fast: $(VENV)/.tunelab-dev
	$(PYTEST) --fast

# The wheel on every promised Python that is found, each in a fresh environment of gigabytes: minutes each.
test-versions: $(VENV)/.tunelab-dev
	$(BIN)/python scripts/try_versions.py

# vLLM's texts against our own, on a CPU: an environment of its own of 4 GB under .vllm, then some minutes.
test-vllm:
	$(PYTHON) scripts/vllm_environment.py .vllm
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind \
	  .vllm/bin/python -m pytest -p no:cacheprovider -s tests/models/with_vllm.py

# Faults planted in a copy of the tree: which of them do tests notice? Ten minutes; MUTANTS='loop seed' are those
# with one of these words. For who changes a test, or what a listed line decides; no part of `make test`.
mutants: $(VENV)/.tunelab-dev
	$(BIN)/python scripts/mutants.py $(MUTANTS)

# Real studies under signals at random points, full disks, limits, odd surroundings; hours. A part of it:
# make torture TORTURE='--points 20 --only signals'. A short form is in `make test`; as root also the full disks.
torture: $(VENV)/.tunelab-dev
	$(BIN)/python scripts/torture $(TORTURE)

# METEOR and the E2E script's tokeniser are Java programs. Where it is missing and cannot be installed their tests skip.
java:
	@command -v java >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null \
	  || { apt-get update -qq && apt-get install -y -qq --no-install-recommends default-jre-headless; }

# The report's page is looked at in a real browser. Where it is missing and cannot be installed those tests skip.
chromium:
	@{ { command -v chromium || command -v google-chrome; } && command -v pdftotext; } >/dev/null \
	  || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || { apt-get update -qq \
	  && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core poppler-utils; }

# The live view is looked at in a real terminal of 80 columns and 24 lines. Where it is missing that test skips.
tmux:
	@command -v tmux >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null \
	  || { apt-get update -qq && apt-get install -y -qq --no-install-recommends tmux; }

# A real SLURM for tests/launch/slurm, 4 MB. Where it is missing and cannot be installed they skip.
slurm:
	@PATH="$$PATH:/usr/sbin" && command -v slurmctld slurmd munged sbatch >/dev/null || test "$$(id -u)" != 0 \
	  || ! command -v apt-get >/dev/null || scripts/slurm-test-cluster install

# Jittor's own environment, some minutes once. What keeps it from being made is said, and then its tests skip.
jittor: $(VENV)/.tunelab-dev
	@command -v g++ >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null \
	  || { apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ python3-dev; }
	@$(BIN)/tunelab doctor --prepare jittor || true

lint: $(VENV)/.tunelab-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tunelab-dev
	$(BIN)/pyright

# The pages as a site to read on this machine: build/docs/site/index.html.
docs: $(VENV)/.tunelab-dev
	@$(BIN)/python scripts/docs_site.py

# Beside its peers: the table of docs/peers.md, hours on two cores. On a quiet machine: nothing else should run.
# Parts of it: make bench BENCH='W1 W2 --pairs 3 --precision fp32'.
bench: $(VENV)/.tunelab-bench
	$(BIN)/python benchmarks/peers.py $(BENCH)

# What other measurements there are, with their commands and tables.
benchmarks: $(VENV)/.tunelab-dev
	@$(BIN)/python scripts/list_benchmarks.py

# On a machine with a GPU, at most seven minutes, with the Python there that has torch; what it lacks is read from
# build/gpu-wheels, which `make gpu-wheels` fills where there is a network.
gpu-check:
	@$(PYTHON) scripts/gpu_check.py $(if $(wildcard build/gpu-wheels/*.whl),--wheels build/gpu-wheels) $(GPU_CHECK)

gpu-wheels: $(VENV)/.tunelab
	@$(BIN)/python scripts/gpu_check.py --carry build/gpu-wheels $(GPU_WHEELS)

$(VENV)/.tunelab: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e .
	touch $@

$(VENV)/.tunelab-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	touch $@

$(VENV)/.tunelab-bench: $(VENV)/.tunelab-dev
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[bench]'
	touch $@
