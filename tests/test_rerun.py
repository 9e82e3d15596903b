"""A second run in the same interpreter, after a real Ctrl-C in the middle of serve_forever."""

import pytest
from conftest import connect, free_port

RUN_TWICE = """
import sys
from socketse import StreamRequestHandler, {server}

class Echo(StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())

for i in (1, 2):
    server = {server}(("127.0.0.1", int(sys.argv[1])), Echo)
    print("run", i)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted", i)
"""


@pytest.mark.parametrize("server", ["TCPServer", "ThreadingTCPServer"])
def test_second_run_after_ctrl_c(target, start, tmp_path, server):
    path = tmp_path / "twice.py"
    path.write_text(RUN_TWICE.format(server=server))
    port = free_port()
    program = start(target, path, port)
    for i in (1, 2):
        program.wait_for("run %d" % i)
        with connect(port) as client:
            client.sendall(b"hello\n")
            assert client.recv(10) == b"hello\n"
        program.interrupt()
        program.wait_for("interrupted %d" % i)
    assert program.wait(20) == 0
