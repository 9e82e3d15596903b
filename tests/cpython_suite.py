"""Runs CPython's own tests of socketserver against socketse:

    cpython_suite.py WORKDIR [TESTS [FILE]]

TESTS is the folder that tools/clients.py's testsuite() found, or "" if this Python has its own.
FILE is the core in one file, as tools/single.py writes it, to be tested instead. The
last line of the output is a dict in JSON:

    ran       how many tests ran
    left_out  names of the tests that were not run
    skipped   [name, reason] of those that skipped themselves
    failed    names of those that failed; what they printed stands before
"""

import importlib.util
import json
import os
import socketserver as real
import sys
import types
import unittest

# It compares __all__ with the module that every class says it is from: socketse has several.
LEFT_OUT = ["test_all"]


def forbid_real():
    """Let no object of the standard library's servers and handlers come into being."""

    def init(self, *args):
        raise AssertionError("%s is the standard library's" % type(self))

    real.BaseServer.__init__ = real.TCPServer.__init__ = init
    real.BaseRequestHandler.__init__ = init


def our_module(path):
    """Return socketse as a module called socketserver, with CPython's ForkingMixIn on top.

    path  the file to load instead, or None
    """
    if path:
        spec = importlib.util.spec_from_file_location("socketserver", path)
        ours = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(ours)
    else:
        import socketse

        ours = types.ModuleType("socketserver")
        for name in socketse.__all__:
            setattr(ours, name, getattr(socketse, name))
        ours.__all__ = []
    ours.ForkingMixIn = real.ForkingMixIn
    ours.__all__.append("ForkingMixIn")
    for name in ("TCPServer", "UDPServer", "UnixStreamServer", "UnixDatagramServer"):
        bases = real.ForkingMixIn, getattr(ours, name)
        made = type("Forking" + name, bases, {"__module__": "socketserver"})
        setattr(ours, made.__name__, made)
        ours.__all__.append(made.__name__)
    missing = [name for name in real.__all__ if not hasattr(ours, name)]
    assert not missing, missing
    return ours


def load(folder, path):
    """Return CPython's test module, made for our classes."""
    forbid_real()
    ours = sys.modules["socketserver"] = our_module(path)
    import test

    if folder:
        test.__path__.append(os.path.join(folder, "test"))
    import test.support

    test.support.use_resources = ["network"]
    test.support.verbose = False
    import test.test_socketserver as module

    assert module.socketserver is ours
    return module


def leaves(suite):
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from leaves(entry)
        else:
            yield entry


def name_of(case):
    return case.id().rsplit(".", 1)[-1]


def main(workdir, folder=None, path=None):
    os.chdir(workdir)
    module = load(folder, path)
    cases = list(leaves(unittest.defaultTestLoader.loadTestsFromModule(module)))
    leave_out = [] if path else LEFT_OUT
    left_out = [name_of(case) for case in cases if name_of(case) in leave_out]
    suite = unittest.TestSuite(case for case in cases if name_of(case) not in leave_out)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    report = {
        "ran": result.testsRun,
        "left_out": left_out,
        "skipped": [(name_of(case), reason) for case, reason in result.skipped],
        "failed": [name_of(case) for case, _ in result.failures + result.errors],
    }
    print(json.dumps(report))


main(*sys.argv[1:])
