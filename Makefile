# The pip environment of ttt3r_ros, entirely inside this folder (.venv, .cache).
# In a ROS 2 workspace, colcon builds the package without this file.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

PYTHON ?=
INPUT ?=
WEIGHTS ?=
OUTPUT ?=
MINUTES ?=
HOURS ?=
ARGS ?=
export PYTHON

# A sourced ROS installation has libraries and packages for another Python; keep them out of these commands.
ifneq ($(AMENT_PREFIX_PATH)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport LD_LIBRARY_PATH
endif
ifneq ($(AMENT_PREFIX_PATH),)
$(info note: the ROS installation sourced in this shell is not used here; .venv has its own)
endif
# Many processes start in these commands: each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
unexport ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE

# Keeps programs from writing to the home folder.
export ROS_HOME := $(CURDIR)/.cache/ros
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

.PHONY: venv
venv: ## create or update .venv (PYTHON=python3.12 chooses the interpreter)
	@requirements/install.sh

.PHONY: demo
demo: venv ## run node and camera over DDS, write demo_output/ (INPUT=video, folder or bag; WEIGHTS=file; OUTPUT=folder)
	@.venv/bin/demo $(if $(INPUT),--input "$(INPUT)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
	  $(if $(OUTPUT),--output "$(OUTPUT)") $(ARGS)

.PHONY: view
view: venv ## show a running node in the browser, on http://127.0.0.1:8080 (ARGS="--port 9000")
	@.venv/bin/view $(ARGS)

# Without .venv, any Python with torch will do, so a borrowed GPU needs no installation.
TRAINER = $(or $(PYTHON),$(wildcard .venv/bin/python),python3)

.PHONY: train
train: ## train and evaluate the small weights within MINUTES=8 on a GPU; writes training/runs/
	$(TRAINER) -m training --minutes $(or $(MINUTES),8) $(ARGS)

.PHONY: check
check: lint ## quick checks while you work: lint, and the fast tests without DDS
	.venv/bin/python -m pytest -q -n auto --dist worksteal -m "not dds and not slow" --durations=5 --durations-min=3 $(ARGS)

# In a session of its own, `nice` counts only within that session where the kernel groups sessions (autogroup), so the group yields too.
.PHONY: train-night
train-night: ## train for HOURS=12 in the background on a spare core; resumes an earlier run
	@mkdir -p training/runs
	@OMP_NUM_THREADS=1 setsid nohup sh -c '{ echo 19 > /proc/self/autogroup; } 2> /dev/null; exec nice -n 19 "$$@"' sh \
	  $(TRAINER) -m training --recipe night --device cpu --run night \
	  --training-minutes $$((60 * $(or $(HOURS),12))) $(if $(wildcard training/runs/night/checkpoint.pt),--resume) \
	  $(ARGS) >> training/runs/night.log 2>&1 < /dev/null & \
	  echo "process $$! writes training/runs/night.log; kill stops it cleanly, kill -STOP and -CONT pause and continue it"

# A test that fails beside others, on a busy machine, has a second chance alone; the first failure is reported all the same.
# $(1): the environment. An exit status of 1 means that tests failed.
define pytest
$(1)/bin/python -m pytest -q -n auto --dist worksteal $(ARGS) || { \
  [[ $$? == 1 ]] && echo "the failed tests run once more, one after another:" && \
  $(1)/bin/python -m pytest -q -n 0 --last-failed --last-failed-no-failures none $(ARGS); }
endef

.PHONY: test-jazzy
test-jazzy: ## every test on ROS 2 Jazzy, in .venv-jazzy
	@ROS=jazzy VENV=.venv-jazzy requirements/install.sh
	@$(call pytest,.venv-jazzy)

.PHONY: test
test: lint ## all checks: lint, then every test (ARGS="-k name" passes options to pytest)
	@$(call pytest,.venv)

.PHONY: lint
lint: venv ## ruff and mypy
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

.PHONY: format
format: venv ## format the code and sort the imports with ruff
	.venv/bin/ruff check --fix-only --quiet
	.venv/bin/ruff format

.PHONY: config
config: venv ## write config/ttt3r.yaml, docs/parameters.md and README's table from the declarations of parameters
	.venv/bin/python -m docs.parameters

.PHONY: lock
lock: ## update the pins: resolve requirements/*.in into requirements/*.txt
	@requirements/lock.sh

.PHONY: gpu
gpu: venv ## run every GPU test and measurement, write gpu_report/ (MINUTES=8; ARGS="--dry-run" lists them)
	.venv/bin/python -m benchmark.gpu $(if $(MINUTES),--minutes "$(MINUTES)") $(ARGS)

.PHONY: licenses
licenses: venv ## write THIRD_PARTY_LICENSES.md
	.venv/bin/python requirements/licenses.py

.PHONY: audit
audit: ## check all pins for known vulnerabilities on PyPI
	@requirements/audit.sh

.PHONY: clean
clean: ## remove .venv, caches and outputs
	rm -rf .venv .venv-jazzy .cache build install log demo_output gpu_report .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
