# make demo | test | lint | bench | env | clean. A stamp file stands for each step, so that nothing is redone when nothing changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Make and the shell split or expand other characters: a command would then work, or delete, in another folder. Asked of the shell, because make
# splits what it knows of paths itself.
ifneq ($(strip $(shell pwd -P | LC_ALL=C tr -d 'A-Za-z0-9_./+@-' | wc -c)),1)
$(error path: expected ASCII letters, digits and . / _ + @ - alone, got $(shell printf %q "$$(pwd -P)"). Move the checkout)
endif
ifeq ($(filter Makefile $(CURDIR)/Makefile,$(lastword $(MAKEFILE_LIST))),)
$(error Makefile: expected to be read in its own folder, got another one. Try: make -C that folder)
endif
ifneq ($(wildcard package.xml)$(wildcard clipose_ros/__init__.py),package.xmlclipose_ros/__init__.py)
$(error folder: expected a checkout of clipose_ros, got $(shell printf %q "$$(pwd -P)"). Try: make -C the checkout)
endif

PYTHON ?= python3
override VENV := .venv
DEMO_SECONDS ?= 30
BENCH := build/bench
BASELINE := $(BENCH)/clipose-paper
BENCH_ARGUMENTS ?=
# PyPI's torch for Linux brings gigabytes of CUDA libraries that the tests do not need; on a GPU machine, install the torch of your choice into .venv before.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell grep '^torch==' requirements-training.txt)

# Of the caller's environment, what would make these runs another program's: another Python's library and modules,
unexport PYTHONHOME PYTHONPATH PYTHONPLATLIBDIR
# asserts that check nothing, and other packages' warnings as errors,
unexport PYTHONOPTIMIZE PYTHONWARNINGS
# another ROS, its libraries, and a middleware that the wheels do not have,
unexport LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO ROS_VERSION
unexport ROS_PYTHON_VERSION ROS_ETC_DIR RMW_IMPLEMENTATION CONDA_PREFIX
# a discovery, a transport or a security that the processes of a run do not have in common; each run takes a domain and a profile of its own,
unexport ROS_DOMAIN_ID ROS_LOCALHOST_ONLY ROS_STATIC_PEERS ROS_DISCOVERY_SERVER ROS_SUPER_CLIENT FASTDDS_BUILTIN_TRANSPORTS
unexport FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE RMW_FASTRTPS_USE_QOS_FROM_XML RMW_FASTRTPS_PUBLICATION_MODE
unexport ROS_SECURITY_ENABLE ROS_SECURITY_STRATEGY ROS_SECURITY_KEYSTORE ROS_SECURITY_ENCLAVE_OVERRIDE
# another form of the log, which the tests read,
unexport RCUTILS_CONSOLE_OUTPUT_FORMAT RCUTILS_LOGGING_USE_STDOUT RCUTILS_LOGGING_BUFFERED_STREAM RCUTILS_COLORIZED_OUTPUT
# another folder to install to, what the shell would run first, and the options of this make, which are not those of the builds that it starts.
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER DESTDIR BASH_ENV ENV CDPATH MAKEFLAGS MFLAGS
# The log lies in the checkout: the home folder may be missing, or not ours to write to.
export ROS_LOG_DIR := $(CURDIR)/log/ros
# The environment of a colcon build against the wheels.
ROS_ENV := PATH="$(CURDIR)/.venv/bin:$$PATH" VIRTUAL_ENV=$(CURDIR)/.venv AMENT_PREFIX_PATH=$(CURDIR)/.venv CMAKE_PREFIX_PATH=$(CURDIR)/.venv \
	ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
LINTED := clipose_ros training test launch scripts setup.py

.PHONY: help env demo test lint bench clean prerequisites forget

help:
	@echo "make demo    pose node and player over ROS 2 on the rendered sequence, with masks and without; prints tables, writes demo.png"
	@echo "make test    formatter, linter and the whole test suite (adds torch to the environment)"
	@echo "make lint    formatter and linter alone"
	@echo "make bench   latency of the pipeline and, over ROS 2, of the node, by model and number of instances; writes build/bench/"
	@echo "make env     only the environment: . .venv/bin/activate gives clipose, clipose_pose_node, clipose_player"
	@echo "make clean   remove .venv, build, install, log"

env: $(VENV)/.stamp-messages

demo: env
	$(RUN) -m clipose_ros.ros.lab.demo --seconds $(DEMO_SECONDS)

test: lint env
	$(RUN) -m pytest test

lint: $(VENV)/.stamp-training
	$(RUN) -m ruff format --check $(LINTED)
	$(RUN) -m ruff check $(LINTED)

# The baseline needs torch, which `make test` brings: without it there is none, and everything else is measured all the same.
bench: env
	@if [ ! -f $(BASELINE)/card.yaml ] && $(RUN) -c 'import torch, onnxscript' 2>/dev/null; then \
	  echo "== baseline: the paper's network as ONNX, once (about 2 minutes)"; \
	  $(RUN) -m training.plain_baseline --output $(BASELINE); fi
	@[ -f $(BASELINE)/card.yaml ] || echo "== no baseline: it needs the training environment (make test, or pip install -r requirements-training.txt)"
	$(RUN) -m clipose_ros.cli.command bench --model clipose-lite clipose-base --dds --output $(BENCH)/report.json --plot $(BENCH)/latency.png \
	  $$([ ! -f $(BASELINE)/card.yaml ] || echo --baseline $(BASELINE)) $(BENCH_ARGUMENTS)
	$(RUN) -m clipose_ros.ros.lab.delivery --rate-hz 30
	$(RUN) -m clipose_ros.ros.lab.delivery --rate-hz 60

# Names alone, relative to this folder: no variable can lead elsewhere.
clean:
	rm -rf .venv build install log

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

# The environment and what colcon built hold absolute paths: where the checkout was moved or copied, their commands are dead or run the other folder's
# code. The .pth line of the messages, below, says for which folder they were made; before it is there, Python does.
MADE_FOR := $(shell sed -n 's,/install/clipose_ros/lib/.*,,p' $(VENV)/lib/python3*/site-packages/clipose_ros_messages.pth 2>/dev/null \
	|| sed -n 's,^command = .* -m venv \(.*\)/.venv$$,\1,p' $(VENV)/pyvenv.cfg 2>/dev/null)
ifneq ($(MADE_FOR),$(CURDIR))
ifneq ($(MADE_FOR),)
$(VENV)/.stamp-venv: forget
endif
endif

forget: | prerequisites
	@$(info == .venv was made for $(MADE_FOR), not for this folder: it is made again)rm -rf .venv build/clipose_ros install

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
	$(ROS_ENV) $(VENV)/bin/python -m colcon build --symlink-install --packages-select clipose_ros --event-handlers console_direct+ \
	  --cmake-args -DCMAKE_PROJECT_INCLUDE=$(CURDIR)/wheel_paths.cmake -DPython3_EXECUTABLE=$(CURDIR)/.venv/bin/python -DBUILD_TESTING=OFF -DCMAKE_INSTALL_MESSAGE=NEVER -Wno-dev
	ln -sf $(CURDIR)/install/clipose_ros/lib/*.so $(VENV)/lib/
	dirname $(CURDIR)/install/clipose_ros/lib/python3*/site-packages/clipose_ros > $$(echo $(VENV)/lib/python3*/site-packages)/clipose_ros_messages.pth
	$(RUN) -c 'from clipose_ros.msg import ObjectPoseArray'
	touch $@

# torch first: from a folder of wheels that the machine offers (PIP_FIND_LINKS), else from the CPU index, else whatever the next step finds.
$(VENV)/.stamp-training: requirements-training.txt $(VENV)/.stamp-runtime
	@echo "== torch and test tools (about 1 minute, 1 GB)"
	$(PIP) install --quiet --no-index --no-deps $(TORCH) 2>/dev/null || $(PIP) install --retries 1 --no-deps --index-url $(TORCH_INDEX) $(TORCH) || true
	$(PIP) install -r requirements-training.txt
	touch $@
