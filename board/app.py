"""Your own servers: whatever setup() adds to the hub is served beside the others.

This one reads a sensor and switches the LED, for clients of TCP port 8000:

    $ nc 192.168.1.20 8000
    read
    31415
    led on
    ok
"""

import sys

import machine
from socketse import AsyncStreamRequestHandler, TCPServer

PORT = 8000


class Handler(AsyncStreamRequestHandler):
    """Answers each line with a line."""

    async def handle(self):
        """Serve one client until it goes, or says nothing for a minute."""
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            command = line.strip()  # bytes: who knows what comes
            if command == b"read":
                answer = b"%d" % self.server.sensor.read_u16()  # 0 to 65535
            elif command in (b"led on", b"led off") and self.server.led:
                self.server.led.value(command == b"led on")
                answer = b"ok"
            else:
                answer = b"say read, led on or led off"
            self.wfile.write(answer + b"\n")
            await self.wfile.drain()


def find_sensor():
    """Return an ADC: on a Pico W the chip's own thermometer, on an ESP32 a pin's voltage."""
    if sys.platform == "rp2":
        return machine.ADC(4)
    for pin in (34, 1):  # ESP32; ESP32-S2, -S3, -C3, -C6
        try:
            return machine.ADC(machine.Pin(pin))
        except ValueError:
            continue
    raise ValueError("no pin of this chip is known to measure: choose one in app.py")


def setup(hub):
    """Add our server. main.py calls this once, before it serves.

    hub  a socketse.Multiplexer; hub.led is the Pin that config.json names, None without one
    """
    server = TCPServer(("", PORT), Handler)
    server.name = "app/tcp"
    server.sensor = find_sensor()
    server.led = hub.led
    hub.add(server)
