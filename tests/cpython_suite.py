"""Runs CPython's own tests of socketserver against socketse: cpython_suite.py WORKDIR [TESTS]

TESTS is the folder that tools/clients.py's testsuite() found, if this Python lacks its own. The
last line of the output is a dict in JSON:

    ran       how many tests ran
    left_out  names of the tests that were not run
    skipped   [name, reason] of those that skipped themselves
    failed    names of those that failed; what they printed stands before
"""

import json
import os
import socketserver as real
import sys
import types
import unittest

import socketse

# It compares __all__ with the module that every class says it is from: socketse has several.
LEFT_OUT = ["test_all"]


def forbid_real():
    """Let no object of the standard library's servers and handlers come into being."""

    def init(self, *args):
        raise AssertionError("%s is the standard library's" % type(self))

    real.BaseServer.__init__ = real.TCPServer.__init__ = init
    real.BaseRequestHandler.__init__ = init


def our_module():
    """Return socketse as a module called socketserver, with CPython's ForkingMixIn on top."""
    ours = types.ModuleType("socketserver")
    for name in socketse.__all__:
        setattr(ours, name, getattr(socketse, name))
    ours.ForkingMixIn = real.ForkingMixIn
    for name in ("TCPServer", "UDPServer", "UnixStreamServer", "UnixDatagramServer"):
        bases = real.ForkingMixIn, getattr(socketse, name)
        setattr(ours, "Forking" + name, type("Forking" + name, bases, {}))
    missing = [name for name in real.__all__ if not hasattr(ours, name)]
    assert not missing, missing
    return ours


def load(folder):
    """Return CPython's test module, made for our classes."""
    forbid_real()
    ours = sys.modules["socketserver"] = our_module()
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


def main(workdir, folder=None):
    os.chdir(workdir)
    module = load(folder)
    cases = list(leaves(unittest.defaultTestLoader.loadTestsFromModule(module)))
    left_out = [name_of(case) for case in cases if name_of(case) in LEFT_OUT]
    suite = unittest.TestSuite(case for case in cases if name_of(case) not in LEFT_OUT)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    report = {
        "ran": result.testsRun,
        "left_out": left_out,
        "skipped": [(name_of(case), reason) for case, reason in result.skipped],
        "failed": [name_of(case) for case, _ in result.failures + result.errors],
    }
    print(json.dumps(report))


main(*sys.argv[1:])
