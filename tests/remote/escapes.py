"""A server with objects from which somebody may try to reach more: escapes.py PORT."""

import io
import sys

from socketse import RemoteServer


class Text(str):
    """Text of a class of its own: it does not travel."""


class Number(int):
    """A number of a class of its own: it does not travel."""


class Named(Exception):
    """An exception that a method returns."""


class Part:
    """A part of the thing."""

    def __init__(self):
        self.value = 1

    def __call__(self):
        return self.value


class Thing:
    """What the clients get."""

    module = sys
    kind = Part
    builtin = len

    def __init__(self):
        self.part = Part()
        self.text = Text("text")
        self.pattern = Text("%999999d")
        self.number = Number(5)
        self.function = lambda: 1
        self.method = self.get
        self.own_module = io
        self.items = [1]
        self.mapping = {"a": 1}
        self._private = "private"
        self.__secret = "secret"

    def get(self):
        """Return a value."""
        return 1

    def count(self):
        """Count."""
        yield 1
        yield 2

    def numbers(self):
        return range(1 << 30)

    def give_module(self):
        return sys

    def give_class(self):
        return Part

    def give_function(self):
        return len

    def give_method(self):
        return self.get

    def give_globals(self):
        return globals()

    def give_tuple(self):
        return 1, (sys, Part)

    def give_error(self):
        try:
            raise Named("x")
        except Named as e:
            return e

    def give_list(self):
        return [sys, Part, len]

    def take(self, x):
        return type(x).__name__


if __name__ == "__main__":
    with RemoteServer(("127.0.0.1", int(sys.argv[1])), Thing) as server:
        print("serving")
        server.serve_forever()
