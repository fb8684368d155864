# The same targets here and in CI. `.venv` is made when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Only missing pieces are installed: the stamp is older than what decides the installation.
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-js test-cpp test-jvm test-index transformers-environments test-transformers test-transformers-oldest test-transformers-newest test-all test-arm64 test-browser test-gpu test-ray check fuzz bench bench-engine soak clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("gearshift needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m examples.demo

# A process for each CPU; a file stays in one, whose models are made once.
SIDE_BY_SIDE := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not slow and not index and not arm64 and not browser and not gpu and not ray'

# What a device gets from the wheel, and other versions of packages: installs them, so it needs a package index.
test-index: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m index

# What depends most on transformers, on the oldest and the newest version that the train extra allows: makes two
# environments in build/transformers once, which share torch and the rest with .venv, so it needs a package index then.
TRANSFORMERS_TESTS := tests/versions tests/trainer/model tests/trainer/data tests/trainer/dan \
  $(addprefix tests/trainer/dynabert/test_,source.py masked_words.py supernet.py supernet_trainer.py settings_file.py) \
  tests/trainer/learning/test_metrics.py tests/trainer/nasbert/test_train.py tests/export/test_extract_pruned.py

transformers-environments: $(STAMP)
	$(BIN)/python -m tests.versions.prepare

# Each version in one process, both side by side: most of the time of a process goes into imports.
TRANSFORMERS_ENDS := test-transformers-oldest test-transformers-newest

test-transformers: transformers-environments
	$(MAKE) --jobs=2 --output-sync=target $(TRANSFORMERS_ENDS)

$(TRANSFORMERS_ENDS): test-transformers-%:
	build/transformers/$*/bin/python -m pytest -m 'not slow and not index' $(TRANSFORMERS_TESTS)

test-all: $(STAMP)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not arm64 and not browser and not gpu and not ray'

# Emulated boards; downloads some 130 MB into build/arm64 once. Debian 12 has what it takes.
test-arm64: $(STAMP)
	$(BIN)/python -m tests.arm64.prepare
	$(BIN)/python -m pytest -m arm64 tests/arm64

# The client for Node and browsers: bundles of every task and their vectors are made, and compared. Needs Node 20 or newer;
# npm's packages are installed into clients/js once, without their scripts, which would download CUDA.
JS := clients/js
$(JS)/dist/.built: $(JS)/package-lock.json $(JS)/tsconfig.json $(wildcard $(JS)/src/*.ts $(JS)/src/*/*.ts $(JS)/test/*.ts)
	cd $(JS) && npm ci --ignore-scripts --no-audit --no-fund && npx tsc
	touch $@

test-js: build/clients/.made $(JS)/dist/.built
	cd $(JS) && npm test

# Bundles of every task and their vectors, made anew where what makes them is newer.
build/clients/.made: $(STAMP) $(shell find runtime export tests/clients -name "*.py")
	$(BIN)/python -m tests.clients.prepare
	touch $@

# The client in C++: the library is that of the Python wheel, its header is written from a crate that cargo fetches once.
# Needs CMake, a compiler for C++17, and cargo.
build/onnxruntime/.made: $(STAMP) tests/clients/onnxruntime_c.py clients/cpp/src/session.h
	$(BIN)/python -m tests.clients.onnxruntime_c
	touch $@

test-cpp: build/clients/.made build/onnxruntime/.made
	cmake -S clients/cpp -B build/cpp -DONNXRUNTIME=$(CURDIR)/build/onnxruntime -DCMAKE_BUILD_TYPE=Release
	cmake --build build/cpp --parallel 2
	ctest --test-dir build/cpp --output-on-failure

# The client in Kotlin: Maven fetches its packages once. Needs Java 11 or newer.
test-jvm: build/clients/.made
	cd clients/jvm && mvn --batch-mode --no-transfer-progress test

# Pages in Chromium; downloads some 130 MB into build/browser once. Debian 12 has what it takes.
test-browser: build/clients/.made $(JS)/dist/.built
	$(BIN)/python -m tests.browser.prepare
	$(BIN)/python -m pytest -m browser tests/browser

# On CUDA, by onnxruntime-gpu in the same environment (docs/devices.md); one line where there is none. It never ran yet.
HAS_CUDA := $(BIN)/python -c "import sys, onnxruntime; sys.exit('CUDAExecutionProvider' not in onnxruntime.get_available_providers())"
test-gpu: $(STAMP)
	@if $(HAS_CUDA); then $(BIN)/python -m pytest -m gpu tests/gpu; \
	else echo "test-gpu: skipped, onnxruntime has no CUDAExecutionProvider here (docs/devices.md, Providers)"; fi

# Ray, which is large, is installed into the same environment once.
test-ray: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest -m ray tests/cluster

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	for shape in minilm-l6 bert-base; do \
	  $(BIN)/python -m benchmarks.graph.elastic --shape $$shape --rounds 20 && \
	  $(BIN)/python -m benchmarks.graph.elastic --shape $$shape --pool halves --rivals dedicated --rounds 20 && \
	  $(BIN)/python -m benchmarks.graph.engines --shape $$shape --rounds 20 && \
	  $(BIN)/python -m benchmarks.graph.memory --shape $$shape || exit 1; \
	done
	$(BIN)/python -m benchmarks.graph.elastic --pool halves --rivals dedicated --threads 2 --rounds 20
	$(BIN)/python -m benchmarks.graph.switch
	$(BIN)/python -m benchmarks.graph.lists
	$(BIN)/python -m benchmarks.graph.exporting
	$(BIN)/python -m benchmarks.device.calibration bundles time error twice hog transfer roofline

# The policies in the simulator (minutes on one core), what a decision costs, and the engine against its rivals on this machine
# (some 45 minutes): BUNDLE is a bundle, DATA the data set that it was trained on, whose test rows are sent.
bench-engine: $(STAMP)
	@test -n "$(BUNDLE)" -a -n "$(DATA)" || { echo "name a bundle and its data set: make bench-engine BUNDLE=sst2.gearshift DATA=sst2"; exit 2; }
	$(BIN)/python -m benchmarks.serving.policies
	$(BIN)/python -m benchmarks.serving.decision $(BUNDLE)
	$(BIN)/python -m benchmarks.serving.engine $(BUNDLE) --data $(DATA) --precision fp32

# Half an hour of everything at once: memory stays flat, an idle engine sleeps.
soak: $(STAMP)
	$(BIN)/python -m benchmarks.serving.soak

# Everything that is read, changed on purpose, with a new seed, for an hour; what fails is kept in build/fuzz. FUZZ_RESULTS
# names a JSON file that the counts are added to.
FUZZ_S ?= 3600
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S) $(if $(FUZZ_RESULTS),--results $(FUZZ_RESULTS))

clean:
	rm -rf $(VENV) build demo $(JS)/node_modules $(JS)/dist src/gearshift.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
