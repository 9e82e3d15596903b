"""Runs one portable test: run.py FILE FUNCTION PORT ... on CPython or MicroPython.

The last line of the output says how it went: OK, SKIP and what is missing, or a traceback.
"""

import sys

path, function = sys.argv[1:3]
directory, name = path.rsplit("/", 1)
sys.path.insert(0, directory)

import support  # noqa: E402

support.ports = [int(port) for port in sys.argv[3:]]
try:
    getattr(__import__(name.split(".")[0]), function)()
    support.check()
    print("OK")
except support.Skip as e:
    print("SKIP", e)
