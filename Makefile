# make run    the standard services, on MicroPython (PORT_BASE=7000, HOST=127.0.0.1)
# make test   all tests; make test-all: the same with bigger numbers
# make bench  speed and memory beside a bare poll loop, asyncio and others; bench-check: the targets
# make memory what importing and serving costs in heap, on the 32-bit MicroPython
# make mpy    the library as boards load it, in build/board/lib
# make clean  forget what was fetched and built

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT_BASE ?= 7000
VENV := build/venv
IN_VENV := $(VENV)/bin/python

.PHONY: run test test-all bench bench-check memory mpy clean

run:
	@$(PYTHON) tools/run.py --host "$(HOST)" --port-base "$(PORT_BASE)"

test: $(VENV)/ready
	$(IN_VENV) -m pytest $(ARGS)

test-all: $(VENV)/ready
	$(IN_VENV) -m pytest --all $(ARGS)

bench: $(VENV)/ready
	@$(IN_VENV) tools/bench $(ARGS)

bench-check: $(VENV)/ready
	@$(IN_VENV) tools/bench --check $(ARGS)

memory: $(VENV)/ready
	@$(IN_VENV) tools/memory.py

mpy: $(VENV)/ready
	@$(IN_VENV) tools/mpy.py build/board/lib

$(VENV)/ready: tools/requirements.txt
	@echo "Virtual environment in $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	@echo "Installing what the tests need"
	@$(IN_VENV) -m pip install --quiet --disable-pip-version-check -r tools/requirements.txt || \
		{ echo "pip could not fetch them: check the network and try again"; exit 1; }
	@touch $@

clean:
	rm -rf build
