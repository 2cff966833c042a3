# make demo | test | bench | env | clean. A stamp file stands for each step, so that nothing is redone when nothing changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := $(CURDIR)/.venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
DEMO_SECONDS ?= 30
BENCH := build/bench
BASELINE := $(BENCH)/clipose-paper
BENCH_ARGUMENTS ?=
# PyPI's torch for Linux brings gigabytes of CUDA libraries that the tests do not need; on a GPU machine, install the torch of your choice into .venv before.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell grep '^torch==' requirements-training.txt)

# The environment of a colcon build against the wheels; `make` leaves the caller's own ROS out of it.
ROS_ENV := PATH="$(VENV)/bin:$$PATH" VIRTUAL_ENV=$(VENV) AMENT_PREFIX_PATH=$(VENV) CMAKE_PREFIX_PATH=$(VENV) \
	ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
CLEAN_ENV := env -u PYTHONPATH -u LD_LIBRARY_PATH -u _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help env demo test bench clean prerequisites

help:
	@echo "make demo    pose node and player over ROS 2 on the rendered sequence; prints a table, writes demo.png"
	@echo "make test    the whole test suite (adds torch to the environment)"
	@echo "make bench   latency of the pipeline and, over ROS 2, of the node, by model and number of instances; writes build/bench/"
	@echo "make env     only the environment: . .venv/bin/activate gives clipose, clipose_pose_node, clipose_player"
	@echo "make clean   remove .venv, build, install, log"

env: $(VENV)/.stamp-messages

demo: env
	$(CLEAN_ENV) $(VENV)/bin/python -m clipose_ros.ros.lab.demo --seconds $(DEMO_SECONDS)

test: env $(VENV)/.stamp-training
	$(CLEAN_ENV) $(VENV)/bin/python -m pytest test

# The baseline needs torch, which `make test` brings: without it there is none, and everything else is measured all the same.
bench: env
	@if [ ! -f $(BASELINE)/card.yaml ] && $(VENV)/bin/python -c 'import torch, onnxscript' 2>/dev/null; then \
	  echo "== baseline: the paper's network as ONNX, once (about 2 minutes)"; \
	  $(CLEAN_ENV) $(VENV)/bin/python -m training.plain_baseline --output $(BASELINE); fi
	@[ -f $(BASELINE)/card.yaml ] || echo "== no baseline: it needs the training environment (make test, or pip install -r requirements-training.txt)"
	$(CLEAN_ENV) $(VENV)/bin/clipose bench --model clipose-lite clipose-medium clipose-base --dds --output $(BENCH)/report.json --plot $(BENCH)/latency.png \
	  $$([ ! -f $(BASELINE)/card.yaml ] || echo --baseline $(BASELINE)) $(BENCH_ARGUMENTS)
	$(CLEAN_ENV) $(VENV)/bin/python -m clipose_ros.ros.lab.delivery --rate-hz 30
	$(CLEAN_ENV) $(VENV)/bin/python -m clipose_ros.ros.lab.delivery --rate-hz 60

clean:
	rm -rf $(VENV) build install log

prerequisites:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "python: expected 3.11 or newer as '$(PYTHON)', got '$$($(PYTHON) --version 2>&1)'. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "python venv: missing. Try: sudo apt-get install python3-venv"; exit 1; }
	@header=$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h; \
	  test -f $$header || { echo "$$header: missing. Try: sudo apt-get install python3-dev"; exit 1; }
	@command -v g++ >/dev/null || { echo "g++: missing. Try: sudo apt-get install g++"; exit 1; }
	@command -v cmake >/dev/null || { echo "cmake: missing. Try: sudo apt-get install cmake"; exit 1; }
	@cmake --version | awk 'NR == 1 { split($$3, v, "."); exit !(v[1] > 3 || v[2] >= 19) }' \
	  || { echo "cmake: expected 3.19 or newer, got $$(cmake --version | head -1)"; exit 1; }

$(VENV)/.stamp-venv: | prerequisites
	@echo "== environment in .venv"
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.stamp-runtime: requirements.txt $(VENV)/.stamp-venv
	@echo "== runtime, ROS 2 and build tools from wheels (about 1 minute, 0.6 GB)"
	$(PIP) install -r requirements.txt
	touch $@

$(VENV)/.stamp-package: pyproject.toml setup.py $(VENV)/.stamp-runtime
	@echo "== commands clipose, clipose_pose_node, clipose_player"
	$(PIP) install --quiet --no-deps --config-settings editable_mode=compat --editable .
	touch $@

# The wheels' start-up hook puts .venv/lib on the library path: our libraries are linked there, and a .pth line adds our generated Python package.
$(VENV)/.stamp-messages: $(wildcard msg/*.msg) CMakeLists.txt package.xml wheel_paths.cmake $(VENV)/.stamp-package
	@echo "== messages (colcon, about 1 minute)"
	$(CLEAN_ENV) $(ROS_ENV) $(VENV)/bin/colcon build --symlink-install --packages-select clipose_ros --event-handlers console_direct+ \
	  --cmake-args -DCMAKE_PROJECT_INCLUDE=$(CURDIR)/wheel_paths.cmake -DPython3_EXECUTABLE=$(VENV)/bin/python -DBUILD_TESTING=OFF -DCMAKE_INSTALL_MESSAGE=NEVER -Wno-dev
	ln -sf $(CURDIR)/install/clipose_ros/lib/*.so $(VENV)/lib/
	dirname $(CURDIR)/install/clipose_ros/lib/python3*/site-packages/clipose_ros > $$(echo $(VENV)/lib/python3*/site-packages)/clipose_ros_messages.pth
	$(CLEAN_ENV) $(VENV)/bin/python -c 'from clipose_ros.msg import ObjectPoseArray'
	touch $@

# torch first: from a folder of wheels that the machine offers (PIP_FIND_LINKS), else from the CPU index, else whatever the next step finds.
$(VENV)/.stamp-training: requirements-training.txt $(VENV)/.stamp-runtime
	@echo "== torch and test tools (about 1 minute, 1 GB)"
	$(PIP) install --quiet --no-index --no-deps $(TORCH) 2>/dev/null || $(PIP) install --retries 1 --no-deps --index-url $(TORCH_INDEX) $(TORCH) || true
	$(PIP) install -r requirements-training.txt
	touch $@
