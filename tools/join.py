"""Join rooms of the library into its __init__: python tools/join.py shows what comes out.

A board that runs board/main.py needs these rooms at all events. In one file they share their
names and constants, which makes some 5 kB of heap, and nothing is in the way when they load.
The other rooms remain files beside it. For them, and for programs that name a joined room, a
small file in its place asks the package.
"""

import ast
import pathlib
import shutil

import mpy

PACKAGE = mpy.LIB / "socketse"
ROOMS = "port server udp stream table hub multiplexer services".split()
_OBJECTS = ("port", "services")  # those that are used as objects, port.collect()
_STUB = """from sys import modules

def __getattr__(name):
    return getattr(modules[__name__.split(".")[0]], name)
"""


# A room that makes names is asked first: the front door knows why something is not there.
_DOOR = """
def __getattr__(name):
    try:
        return %s(name)
    except AttributeError:
        return %s(name)
"""


class JoinError(Exception):
    """Two rooms give one name to different things; the message names both."""


class _Room(ast.NodeTransformer):
    """Takes out of a room's tree what joining makes superfluous, and docstrings."""

    def __init__(self, rooms):
        self._rooms = rooms

    def visit_ImportFrom(self, node):
        if node.level != 1 or node.module and node.module not in self._rooms:
            return node
        if node.module is None:
            node.names = [alias for alias in node.names if alias.name not in self._rooms]
            if node.names:
                return node
        return ast.Pass()  # it is a global name here

    def visit_If(self, node):
        if isinstance(node.test, ast.Constant) and not node.test.value:
            return None  # for the type checker
        if ast.unparse(node.test) == "not PLATFORM":
            return [self.visit(one) for one in node.orelse]  # MicroPython's half
        return self.generic_visit(node)

    def _visit_body(self, node):
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _visit_body


def _names(node):
    """Return the names that a statement of a module binds; imports may be repeated."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [one.id for target in targets for one in ast.walk(target) if hasattr(one, "id")]
    if isinstance(node, (ast.If, ast.Try)):
        nested = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)]
        return [name for one in nested for name in _names(one)]
    return []


def join(package=PACKAGE, rooms=ROOMS):
    """Return the source of an __init__.py that has the rooms in it, for boards.

    package  the folder of sources
    rooms    their names, each after those that it imports at its top
    Raises JoinError if they cannot be in one file, or this Python cannot do it.
    """
    if not hasattr(ast, "unparse"):
        raise JoinError("this needs Python 3.9; sources can be copied without (--source)")
    bound = {name: ("the front door", "") for name in _OBJECTS}

    doors = []

    def statements(room):
        tree = _Room(rooms).visit(ast.parse((package / (room + ".py")).read_text()))
        for node in tree.body:
            if getattr(node, "name", "") == "__getattr__":
                node.name = "_%s_door" % room
                doors.append(node.name)
            text = ast.unparse(ast.fix_missing_locations(node))
            known = False
            for name in _names(node):
                first, before = bound.setdefault(name, (room, text))
                if first != room and before != text:
                    raise JoinError("%s.py and %s.py both have a %s" % (first, room, name))
                known = known or first != room
            if not known and text != "pass":
                yield text

    joined = list(statements("__init__")) + ["%s = modules[__name__]" % " = ".join(_OBJECTS)]
    for room in rooms:
        joined += statements(room)
    joined.append(_DOOR % tuple(reversed(doors)))
    return "\n".join(joined) + "\n"


def write(folder, package=PACKAGE, rooms=ROOMS):
    """Write the package as a board gets it into a folder, and return its path.

    rooms  those to be joined; none: each remains a file

    Raises JoinError as join does, and FileExistsError if the folder has a package of that name.
    """
    into = pathlib.Path(folder) / package.name
    left_out = shutil.ignore_patterns(*mpy.NOT_ON_BOARDS, "__pycache__")
    shutil.copytree(package, into, ignore=left_out)
    for room in rooms:
        (into / (room + ".py")).write_text(_STUB)
    if rooms:
        (into / "__init__.py").write_text(join(package, rooms))
    return into


if __name__ == "__main__":
    print(join())
