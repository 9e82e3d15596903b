"""SimpleXMLRPCServer: functions that any PC calls with xmlrpc.client.ServerProxy.

https://docs.python.org/3/library/xmlrpc.server.html, http://xmlrpc.com/spec.md
"""

from .http import BaseHTTPRequestHandler  # first: the largest compiles best into a whole heap

# isort: split
# Each call needs them: later they would land in the middle of the heap.
from . import httpbody, httpdate, httperror  # noqa: F401
from .xmlvalues import Binary, DateTime, Fault, dumps, loads

# isort: split
from . import port
from .names import has
from .server import TCPServer

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

__all__ = ["Binary", "DateTime", "Fault", "SimpleXMLRPCRequestHandler", "SimpleXMLRPCServer"]


class SimpleXMLRPCRequestHandler(BaseHTTPRequestHandler):
    """Answers the calls that come to one of rpc_paths; () are all paths."""

    rpc_paths = ("/", "/RPC2")
    max_body = 16384  # bytes of a call

    def do_POST(self):
        """Answer one call."""
        if self.rpc_paths and self.path not in self.rpc_paths:
            self.report_404()
        elif self.headers.get("Content-Encoding", "identity").lower() != "identity":
            self.send_error(501, "encoding %r not supported" % self.headers["Content-Encoding"])
        elif "Content-Length" not in self.headers and "Transfer-Encoding" not in self.headers:
            self.send_error(411)
        else:
            data = self.rfile.read()
            self.rfile = None  # one copy is enough
            data = self.server._marshaled_dispatch(data)
            self.send_response(200)
            self.send_header("Content-type", "text/xml")
            self.send_header("Content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def report_404(self):
        """Answer a call to another path."""
        self.send_response(404)
        self.send_header("Content-type", "text/plain")
        self.send_header("Content-length", "12")
        self.end_headers()
        self.wfile.write(b"No such page")

    def log_request(self, code="-", size="-"):
        """Log a call, if the server's logRequests is True."""
        if self.server.logRequests:
            BaseHTTPRequestHandler.log_request(self, code, size)


class SimpleXMLRPCServer(TCPServer):
    """A server of functions that are called by XML-RPC.

    requestHandler     answers the HTTP requests
    logRequests        False: calls are not logged
    allow_none         True: None may be an argument and a result
    use_builtin_types  True: base64 comes as bytes, not as a Binary
    encoding is ignored: it is UTF-8. Without more a server of one call at a time; for many
    clients add it to a Multiplexer.
    """

    max_depth = 16  # of lists and dicts in each other

    def __init__(
        self,
        addr,
        requestHandler=SimpleXMLRPCRequestHandler,
        logRequests=True,
        allow_none=False,
        encoding=None,
        bind_and_activate=True,
        use_builtin_types=False,
    ):
        self.funcs: dict[str, Any] = {}
        self.instance: Any = None
        self.logRequests = logRequests
        self.allow_none = allow_none
        self.use_builtin_types = use_builtin_types
        self.allow_dotted_names = False
        TCPServer.__init__(self, addr, requestHandler, bind_and_activate)

    def register_function(self, function=None, name=None):
        """Let function be called by name, None: its own; also a decorator. Returns function.

        Raises ValueError if it has none of its own.
        """
        if function is None:
            return lambda function: self.register_function(function, name)
        if name is None:
            name = getattr(function, "__name__", None)
            if name is None:
                from .xmlsystem import name_of

                name = name_of(function)
        self.funcs[name] = function
        return function

    def register_instance(self, instance, allow_dotted_names=False):
        """Let the methods of instance be called whose names do not begin with _.

        If it has a method _dispatch(method, params), that is called instead.
        allow_dotted_names  True: those of its attributes too, "a.b": for clients you trust
        """
        self.instance = instance
        self.allow_dotted_names = allow_dotted_names

    def register_introspection_functions(self):
        """Let clients call system.listMethods, system.methodHelp and system.methodSignature."""
        from .xmlsystem import introspection

        introspection(self)

    def register_multicall_functions(self):
        """Let clients call system.multicall: several calls in one."""
        from .xmlsystem import Multicall

        self.funcs["system.multicall"] = Multicall(self).call

    def _marshaled_dispatch(self, data, dispatch_method=None, path=None):
        try:
            params, method = loads(data, self.max_depth, self.use_builtin_types)
            response = (dispatch_method or self._dispatch)(method, params)
            return dumps((response,), self.allow_none)
        except Fault as e:
            return dumps(e, self.allow_none)
        except (MemoryError, KeyboardInterrupt):
            raise  # the server is to know
        except BaseException as e:  # exit() in a function ends no server
            return dumps(Fault(1, "%s:%s" % (type(e), e)), self.allow_none)

    def _dispatch(self, method, params):
        func = self.funcs.get(method)
        if func is None and self.instance is not None:
            if hasattr(self.instance, "_dispatch"):
                return self.instance._dispatch(method, params)
            func = self._se_find(method)
        if func is None:
            raise Exception('method "%s" is not supported' % method)
        return func(*params)

    def _se_find(self, method):
        # Return the method of the instance; None: it has none of that name.
        found = self.instance
        for name in method.split(".") if self.allow_dotted_names else (method,):
            if name[:1] == "_" or port.platform and not has(found, name):
                return None
            found = getattr(found, name, None)
        return found
