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
# Pico W: 4 is the chip's own temperature. ESP32: GPIO 34 measures a voltage.
SENSOR = 4 if sys.platform == "rp2" else 34


class Handler(AsyncStreamRequestHandler):
    """Answers each line with a line."""

    async def handle(self):
        """Serve one client until it goes, or says nothing for a minute."""
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            command = line.strip().decode()
            if command == "read":
                answer = str(self.server.sensor.read_u16())  # 0 to 65535
            elif command in ("led on", "led off") and self.server.led:
                self.server.led.value(command == "led on")
                answer = "ok"
            else:
                answer = "say read, led on or led off"
            self.wfile.write(answer.encode() + b"\n")
            await self.wfile.drain()


def setup(hub):
    """Add our server. main.py calls this once, before it serves.

    hub  a socketse.Multiplexer; hub.led is the Pin that config.json names, None without one
    """
    server = TCPServer(("", PORT), Handler)
    server.name = "app/tcp"
    server.sensor = machine.ADC(machine.Pin(SENSOR) if SENSOR > 4 else SENSOR)
    server.led = hub.led
    hub.add(server)
