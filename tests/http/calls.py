"""One XML-RPC server for CPython's module and for ours: calls.py MODULE PORT."""

import gc
import sys

name = sys.argv[1]
xmlrpc = __import__(name, None, None, ("SimpleXMLRPCServer",))
Fault = __import__(
    "xmlrpc.client" if name == "xmlrpc.server" else name, None, None, ("Fault",)
).Fault


class Thing:
    """Its methods can be called."""

    def add(self, a, b):
        """Return the sum."""
        return a + b

    def nothing(self):
        """Return None."""

    def _hidden(self):
        return 1


server = xmlrpc.SimpleXMLRPCServer(
    ("127.0.0.1", int(sys.argv[2])), allow_none=True, logRequests=False
)


@server.register_function
def echo(value):
    """Return the value."""
    return value


@server.register_function(name="fail")
def failing(kind):
    """Fail."""
    if kind == "fault":
        raise Fault(-7, "a <fault> & more")
    kinds = {"key": KeyError, "value": ValueError, "type": TypeError}
    kinds.update({"exit": SystemExit, "generator": GeneratorExit})
    raise kinds[kind]("it fails")


@server.register_function
def wrong(kind):
    """Return what cannot be sent."""
    return {"big": 1 << 40, "key": {1: 2}, "type": len}[kind]


@server.register_function
def heap():
    """Return the bytes of heap in use."""
    gc.collect()
    return gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0


server.register_function(pow)
server.register_instance(Thing())
server.register_introspection_functions()
server.register_multicall_functions()
print("ready")
server.serve_forever()
