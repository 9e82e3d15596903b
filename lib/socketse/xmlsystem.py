"""The functions that clients of a SimpleXMLRPCServer can call as system.something."""

import builtins

from .xmlvalues import Fault


def name_of(function):
    """Return the name of a builtin function. Raises ValueError if it is none."""
    for name in dir(builtins):
        if getattr(builtins, name) is function:
            return name
    raise ValueError("register_function: %r has no name here, give it one" % function)


def _names(server):
    instance = server.instance
    names = list(server.funcs)
    if instance is not None:
        if hasattr(instance, "_listMethods"):
            names += instance._listMethods()
        elif not hasattr(instance, "_dispatch"):
            for name in dir(instance):
                if name[:1] != "_" and callable(getattr(instance, name)):
                    names.append(name)
    return sorted(set(names))


def _help(server, method):
    function = server.funcs.get(method)
    if function is None and server.instance is not None:
        if hasattr(server.instance, "_methodHelp"):
            return server.instance._methodHelp(method)
        if not hasattr(server.instance, "_dispatch"):
            function = server._se_find(method)
    text = getattr(function, "__doc__", None) or ""  # MicroPython keeps none
    lines = [line.strip() for line in text.strip().split("\n")]
    return "\n".join(lines)


def introspection(server):
    """Register them with a server."""
    server.funcs["system.listMethods"] = lambda: _names(server)
    server.funcs["system.methodSignature"] = lambda method: "signatures not supported"
    server.funcs["system.methodHelp"] = lambda method: _help(server, method)


class Multicall:
    """system.multicall of a server."""

    def __init__(self, server):
        self.server = server

    def call(self, calls):
        """Return [result], or a dict of faultCode and faultString, for each of calls."""
        results: list = []
        for one in calls:
            method, params = one["methodName"], one["params"]
            try:
                results.append([self.server._dispatch(method, params)])
            except Fault as e:
                results.append({"faultCode": e.faultCode, "faultString": e.faultString})
            except (MemoryError, KeyboardInterrupt):
                raise  # the server is to know
            except BaseException as e:  # exit() in a function ends no server
                results.append({"faultCode": 1, "faultString": "%s:%s" % (type(e), e)})
        return results
