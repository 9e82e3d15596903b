# make run    the standard services, on MicroPython (PORT_BASE=7000, HOST=127.0.0.1)
# make test   all tests; make test-all: the same with bigger numbers
# make bench  speed and memory beside a bare poll loop, asyncio and others; bench-check: the targets
# make bench-faults   what they survive: the same harm to socketse, asyncio and microdot
# make soak MINUTES=10   all services among honest and hostile clients, with a verdict
# make memory what importing and serving costs in heap, on the 32-bit MicroPython
# make flash  the library and main.py onto a board (PORT=/dev/ttyACM0, PORT=all); flash-py: as sources
# make find   the boards in this network; make uninstall: what make flash has put on a board
# make board  a board without hardware, for mpremote and make flash (KIND=esp32, pico_w, esp8266)
# make test-board PORT=... HOST=...   the tests that a board of yours can take
# make passwd ARGS="FILE USER"   a user's password in a users file
# make cert HOST="board.local 192.168.1.7"   a key and certificate for TLS, ready to flash
# make mpy    the library as boards load it, in build/board/lib
# make single the core as one file, build/single/socketse.py
# make clean  forget what was fetched and built

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT_BASE ?= 7000
PORT ?=
MINUTES ?= 10
KIND ?= esp32
# For test-board and cert HOST has no default.
BOARD_HOST := $(if $(filter file,$(origin HOST)),,$(HOST))
VENV := build/venv
IN_VENV := $(VENV)/bin/python

.PHONY: run test test-all test-board bench bench-check bench-faults soak memory mpy passwd cert single board flash flash-py uninstall find clean

run:
	@$(PYTHON) tools/run.py --host "$(HOST)" --port-base "$(PORT_BASE)"

test: $(VENV)/ready
	$(IN_VENV) -m pytest $(ARGS)

test-all: $(VENV)/ready
	$(IN_VENV) -m pytest --all $(ARGS)

test-board: $(VENV)/ready
	$(IN_VENV) -m pytest tests/test_real_board.py \
		--board-port "$(PORT)" --board-host "$(BOARD_HOST)" $(ARGS)

bench: $(VENV)/ready
	@$(IN_VENV) tools/bench $(ARGS)

bench-check: $(VENV)/ready
	@$(IN_VENV) tools/bench --check $(ARGS)

bench-faults: $(VENV)/ready
	@$(IN_VENV) tools/bench/faults.py $(ARGS)

soak: $(VENV)/ready
	@$(IN_VENV) tools/soak --minutes "$(MINUTES)" $(ARGS)

memory: $(VENV)/ready
	@$(IN_VENV) tools/memory.py

passwd:
	@$(PYTHON) tools/passwd.py $(ARGS)

cert: $(VENV)/ready
	@$(IN_VENV) tools/cert.py $(BOARD_HOST) $(ARGS)

mpy: $(VENV)/ready
	@$(IN_VENV) tools/mpy.py build/board/lib

single:
	@mkdir -p build/single
	@$(PYTHON) tools/single.py build/single/socketse.py

board: $(VENV)/ready
	@$(IN_VENV) tools/virtual_board --kind "$(KIND)" $(ARGS)

flash: $(VENV)/ready
	@$(IN_VENV) tools/flash.py --port "$(PORT)" $(ARGS)

flash-py: $(VENV)/ready
	@$(IN_VENV) tools/flash.py --port "$(PORT)" --source $(ARGS)

uninstall: $(VENV)/ready
	@$(IN_VENV) tools/flash.py --port "$(PORT)" --uninstall $(ARGS)

find: $(VENV)/ready
	@$(IN_VENV) tools/find.py $(ARGS)

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
