"""sys as firmware has it: the board's platform, and a console whose buffer is bare."""

import io
from collections import namedtuple

import usys
from _host import KIND as platform
from _host import terminal
from usys import (  # noqa: F401
    argv,
    byteorder,
    exit,
    maxsize,
    modules,
    path,
    print_exception,
    stderr,
    stdin,
    version,
    version_info,
)

_MACHINES = {
    "esp32": "Virtual board with ESP32",
    "rp2": "Virtual Pico W with RP2040",
    "esp8266": "Virtual board with ESP8266",
}
implementation = namedtuple("implementation", ("name", "version", "_machine", "_mpy"))(
    "micropython",
    usys.implementation.version,
    _MACHINES[platform],
    # The architecture of native code, that is: none, in the bits above the version of .mpy.
    usys.implementation._mpy & 0x3FF,
)


class _Stdout(io.IOBase):
    buffer = terminal

    def write(self, text):
        return usys.stdout.write(text)


stdout = _Stdout()
