"""Write the core of socketse as one file, for people who copy one by hand.

    python tools/single.py FILE

The core is what CPython's socketserver has: servers and handlers for TCP, UDP and Unix sockets,
and threads. The file needs nothing but itself, on CPython, MicroPython's unix port and boards.

The rooms of lib/socketse are joined by their text, so that docstrings and comments stay:

    names       public ones stay; each other name of a room gets one that is its own in the file
    imports     of another room go, and what they brought is named directly
    port.py     CPython's half is put where port.py imports it, below "if _CPYTHON": MicroPython's
                compiler drops that. So is the unix port's, below a question that boards answer no
    unix.py     what follows "if not ...: raise" is put below "if ..."
    lazy        classes that are made by mixed.py when asked for become class statements
    left out    what nobody uses here, type annotations, comments for tools

What it cannot join, it refuses: see JoinError.
"""

import argparse
import ast
import builtins
import collections
import io
import os
import pathlib
import re
import sys
import tokenize

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lib" / "socketse"
CORE = ("port", "server", "handler", "udp", "unix", "threads")  # and what they import
# What the core imports for rooms that are not in the core: without them it is never used.
UNUSED = {("alone", "run")}
# What the core asks of rooms that are not in the file, and what it gets.
LEFT_OUT = {
    b"from . import tls\n\n    return tls": (
        b'raise ImportError("ssl_context: TLS needs the whole package of socketse")'
    ),
}

_FOR_TOOLS = re.compile(r"#\s*(type:|noqa|isort:)")
_PURE_CALLS = ("getattr", "hasattr", "isinstance")
_CONST = ("port", "const")
_GUARD = "\0"  # stands for a guard until its room is whole
_HEAD = '''\
"""socketserver for microcontrollers: the core of socketse %(version)s in one file.

TCPServer, UDPServer, UnixStreamServer, UnixDatagramServer, ThreadingMixIn and the threading
servers, BaseRequestHandler, StreamRequestHandler and DatagramRequestHandler, as in CPython's
socketserver, https://docs.python.org/3/library/socketserver.html, with differences that
the README of socketse lists. Made by its tools/single.py: change the package, not this.
"""

# %(copyright)s
# SPDX-License-Identifier: MIT

%(imports)s

try:
    from micropython import const
except ImportError:  # CPython
    from operator import not_ as const

# False on MicroPython, whose compiler drops what stands below "if _CPYTHON".
_CPYTHON = const(0)
if _CPYTHON:
    from operator import index as const

__version__ = "%(version)s"
'''
_TAIL = """
if _CPYTHON:
    __all__ = [
%(names)s
    ]
%(more)s

def __getattr__(name):
    if name.startswith("Forking"):
        name += ": microcontrollers cannot fork; use ThreadingMixIn"
    raise AttributeError("socketse.py, the core in one file, has no " + name)
"""


class JoinError(Exception):
    """The rooms cannot be joined; the message is a sentence with file and line."""


class _Room:
    """One file of the package.

    bindings  {name: [what binds it at module level, ...]}, each ("own",), ("import", text),
              ("room", other) or ("from", other, name)
    uses      [_Use, ...] of names of module level, of this and other rooms
    """

    def __init__(self, name):
        self.name = name
        self.path = PACKAGE / (name + ".py")
        self.data = self.path.read_bytes()
        for text, instead in LEFT_OUT.items():
            self.data = self.data.replace(text, instead)
        self.tree = ast.parse(self.data)
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.bindings = collections.defaultdict(list)
        self.uses = []
        self.typing = set()  # names for the type checker
        self.inlined = {}  # {statement: room put in its place}
        self.guard = None  # the statement "if not ...: raise"
        self.lazy = []  # [(name, mix-in's key, base's key), ...]
        self.all = []  # __all__
        self.edits = []  # [(start, end, text to be put there), ...], in bytes
        self.chained = {
            self.span(target)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Assign) and len(node.targets) > 1
            for target in node.targets
        }

    def fail(self, node, text):
        raise JoinError("%s:%d: %s" % (self.path, getattr(node, "lineno", 1), text))

    def start(self, node):
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node):
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def span(self, node):
        return self.start(node), self.end(node)

    def text(self, node):
        return self.data[self.start(node) : self.end(node)].decode()

    def edit(self, start, end, text):
        self.edits.append((start, end, text))

    def remove(self, node, blank=True, put=""):
        """Put a text in the place of a statement's lines, and of blank lines after it if blank."""
        first = node.lineno - 1
        if getattr(node, "decorator_list", None):
            first = node.decorator_list[0].lineno - 1
        lines = self.data.splitlines()
        last = node.end_lineno
        while blank and last < len(lines) and not lines[last].strip():
            last += 1
        self.edit(self._starts[first], self._starts[last], put)

    def remove_comments_above(self, node):
        lines = self.data.splitlines()
        first = node.lineno - 1
        while first and lines[first - 1].strip().startswith(b"#"):
            first -= 1
        self.edit(self._starts[first], self._starts[node.lineno - 1], "")


class _Use:
    """A place where a name of module level stands.

    key     (room, name) of what it means
    room    where it stands
    span    (start, end) in bytes
    scopes  sets of the names that are bound in the functions around it
    unit    the definition that it stands in, or None
    """

    def __init__(self, key, room, span, scopes, unit):
        self.key = key
        self.room = room
        self.span = span
        self.scopes = scopes
        self.unit = unit


def _bound(node):
    """Return (names that a function, lambda, comprehension or class binds, its "global" names)."""
    names, free = set(), set()

    def target(node):
        names.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name))

    def visit(node, top):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not top:
            names.add(node.name)
            return
        comprehension = isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp))
        if (comprehension or isinstance(node, (ast.Lambda, ast.GeneratorExp))) and not top:
            return
        if isinstance(node, ast.arguments):
            every = node.posonlyargs + node.args + node.kwonlyargs + [node.vararg, node.kwarg]
            names.update(arg.arg for arg in every if arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            names.add(node.id)
        elif isinstance(node, ast.comprehension):
            target(node.target)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            free.update(node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, False)

    visit(node, True)
    return names - free, free


class _Reader:
    """Finds out what the names in a room mean."""

    def __init__(self, house, room):
        self.house = house
        self.room = room
        self.unit = None

    def read_module(self):
        self._bind(self.room.tree.body, True)
        for node in self.room.tree.body:
            if getattr(node, "name", None) == "__getattr__":
                self._bind_lazy(node)

    def _bind(self, body, top):
        """Note what the statements of a module bind, also those below "if" and "try"."""
        room = self.room
        for node in body:
            if isinstance(node, ast.If) and _is_constant(node.test, False):
                for one in node.body:
                    if not isinstance(one, ast.ImportFrom) or one.module != "typing":
                        room.fail(one, 'only "from typing import" may stand below "if False"')
                    room.typing.update(alias.name for alias in one.names)
            elif isinstance(node, ast.ImportFrom) and node.level:
                self._bind_relative(node, top)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    origin = "import " + alias.name
                    if isinstance(node, ast.ImportFrom):
                        origin = "from %s import %s" % (node.module, alias.name)
                    if alias.name == "*" or "." in (alias.asname or alias.name):
                        room.fail(node, "cannot join %r" % origin)
                    room.bindings[alias.asname or alias.name].append(("import", origin))
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                if node.name != "__getattr__":
                    room.bindings[node.name].append(("own",))
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if not isinstance(target, ast.Name):
                        room.fail(node, "cannot join an assignment to %s" % room.text(target))
                    if target.id == "__all__":
                        room.all = ast.literal_eval(node.value)
                    else:
                        room.bindings[target.id].append(("own",))
            elif isinstance(node, ast.If):
                if top and len(node.body) == 1 and isinstance(node.body[0], ast.Raise):
                    not_ = isinstance(node.test, ast.UnaryOp)
                    if room.guard or node.orelse or not not_ or not _pure(node.test):
                        room.fail(node, 'cannot join a "raise" but after one "if not NAME"')
                    room.guard = node
                self._bind(node.body, False)
                self._bind(node.orelse, False)
            elif isinstance(node, ast.Try):
                for part in (node.body, *[h.body for h in node.handlers], node.orelse):
                    self._bind(part, False)
                if node.finalbody:
                    room.fail(node, 'cannot join "finally" at module level')
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            elif isinstance(node, ast.Expr) and (_pure_update(node.value) or _collects(node)):
                continue
            elif not isinstance(node, ast.Raise):
                room.fail(node, "cannot join this statement at module level")

    def _bind_relative(self, node, top):
        room = self.room
        if node.level > 1 or node.module and "." in node.module:
            room.fail(node, "cannot join an import from outside of the package")
        if node.module and not top:
            if node.module in self.house.inlined:
                room.fail(node, "%s.py is put into two places" % node.module)
            room.inlined[node] = self.house.room(node.module, inlined=True)
        for alias in node.names:
            if not node.module:
                room.bindings[alias.asname or alias.name].append(("room", alias.name))
                self.house.room(alias.name)
                continue
            other = self.house.room(node.module)
            names = [(alias.name, alias.asname or alias.name)]
            if alias.name == "*":
                names = [(name, name) for name in other.all]
            for name, as_name in names:
                room.bindings[as_name].append(("from", node.module, name))

    def _bind_lazy(self, node):
        """Understand a __getattr__ that leaves it to mixed.py to mix a class with the room's own.

        Such classes are named in rooms.py, and after what they are made of.
        """
        room = self.room
        calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
        found = [
            call.args[1].id
            for call in calls
            if isinstance(call.func, ast.Name)
            and call.func.id == "find"
            and len(call.args) == 3
            and isinstance(call.args[1], ast.Name)
            and call.args[1].id.endswith("MixIn")
        ]
        first = node.body[0]
        wanted = "from .mixed import find"
        if ast.get_source_segment(room.data.decode(), first) != wanted or len(found) != 1:
            room.fail(node, "cannot join this __getattr__")
        prefix = found[0][: -len("MixIn")]
        public = {name: other for other, name in self.house.public}
        for name, other in public.items():
            if other == room.name and name not in room.bindings:
                base = name[len(prefix) :]
                if not name.startswith(prefix) or base not in public:
                    room.fail(node, "cannot tell what %s is made of" % name)
                self.house.room(public[base])
                room.lazy.append((name, (room.name, found[0]), (public[base], base)))
                room.bindings[name].append(("own",))

    # What stands in functions and classes, and the names that are used.

    def read_uses(self):
        self._visit_body(self.room.tree.body, [], True)
        self._prune(self.room.tree.body)

    def _visit_body(self, body, scopes, module):
        for node in body:
            if module:
                name = getattr(node, "name", None)
                if isinstance(node, ast.If) and _is_constant(node.test, False):
                    continue
                if name == "__getattr__":
                    continue
                if isinstance(node, (ast.If, ast.Try)):
                    self.unit = None
                    if isinstance(node, ast.If):
                        self._visit(node.test, scopes)
                        self._visit_body(node.body, scopes, True)
                    else:
                        self._visit_body(node.body, scopes, True)
                        for handler in node.handlers:
                            if handler.type is not None:
                                self._visit(handler.type, scopes)
                            self._visit_body(handler.body, scopes, True)
                    self._visit_body(node.orelse, scopes, True)
                    continue
                self.unit = node if _removable(node) else None
            self._visit(node, scopes)
            if module:
                self.unit = None

    def _visit(self, node, scopes):
        room = self.room
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self._name_of_definition(node, scopes)
            for one in node.decorator_list + node.args.defaults + node.args.kw_defaults:
                if one is not None:
                    self._visit(one, scopes)
            if node.returns:
                room.fail(node, "cannot join an annotation of what a function returns")
            inner = scopes + [self._function_scope(node)]
            for one in node.body:
                self._visit(one, inner)
        elif isinstance(node, ast.Lambda):
            inner = scopes + [self._function_scope(node)]
            self._visit(node.body, inner)
        elif isinstance(node, ast.ClassDef):
            self._name_of_definition(node, scopes)
            for one in node.decorator_list + node.bases + [k.value for k in node.keywords]:
                self._visit(one, scopes)
            names, _ = _bound(node)
            inner = scopes + [{"kind": "class", "bound": names, "imports": {}}]
            for one in node.body:
                self._visit(one, inner)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            inner = scopes + [self._function_scope(node)]
            for child in ast.iter_child_nodes(node):
                self._visit(child, inner)
        elif isinstance(node, ast.Attribute):
            other = self._alias(node.value, scopes)
            if other is None:
                self._visit(node.value, scopes)
            else:
                self._use((other, node.attr), node, scopes)
        elif isinstance(node, ast.Name):
            key = self._resolve(node, scopes)
            if key:
                self._use(key, node, scopes)
        elif isinstance(node, ast.Global):
            self._visit_global(node, scopes)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            return
        elif isinstance(node, ast.AnnAssign):
            self._visit(node.target, scopes)
            if node.value is not None:
                self._visit(node.value, scopes)
        elif isinstance(node, ast.arg):
            return
        else:
            for child in ast.iter_child_nodes(node):
                self._visit(child, scopes)

    def _function_scope(self, node):
        names, free = _bound(node)
        imports = {}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            stack = list(node.body)
            stores = collections.Counter()
            while stack:
                one = stack.pop()
                if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    continue
                if isinstance(one, ast.ImportFrom) and one.level:
                    for alias in one.names:
                        name = alias.asname or alias.name
                        stores[name] += 1
                        if not one.module:
                            imports[name] = ("room", alias.name)
                            key = (alias.name, None)
                        else:
                            imports[name] = ("from", one.module, alias.name)
                            key = (one.module, alias.name)
                        if key not in UNUSED:
                            self.house.room(key[0])
                elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                    stores[one.id] += 1
                stack.extend(ast.iter_child_nodes(one))
            for name in imports:
                if stores[name] != 1 or name in free:
                    self.room.fail(node, "%r is imported and bound again here" % name)
        return {"kind": "function", "bound": names - set(imports), "imports": imports}

    def _lookup(self, name, scopes):
        """Return what a name means: "local", ("room", ...), ("from", ...), "module" or None."""
        for depth, scope in enumerate(reversed(scopes)):
            if scope["kind"] == "class" and depth:
                continue
            if name in scope["imports"]:
                return scope["imports"][name]
            if name in scope["bound"]:
                return "local"
        return "module" if name in self.room.bindings else None

    def _alias(self, node, scopes):
        """Return the room that a name stands for, or None."""
        if not isinstance(node, ast.Name):
            return None
        found = self._lookup(node.id, scopes)
        if found == "module":
            kinds = self.room.bindings[node.id]
            found = kinds[0] if len(kinds) == 1 else None
        return found[1] if isinstance(found, tuple) and found[0] == "room" else None

    def _resolve(self, node, scopes):
        room, name = self.room, node.id
        found = self._lookup(name, scopes)
        if found == "local":
            return None
        if found is None:
            known = hasattr(builtins, name) or name in ("__name__", "__all__")
            if not known or name in room.typing:
                room.fail(node, "the name %r is not known" % name)
            return None
        if self._alias(node, scopes):
            room.fail(node, "the room %r is used as a value" % name)
        return found[1:] if isinstance(found, tuple) else (room.name, name)

    def _use(self, key, node, scopes, span=None):
        room = self.room
        if key[1] not in self.house.room(key[0]).bindings:
            room.fail(node, "%s.py has no %r" % key)
        # The names that functions around it bind; a class's, if it stands directly in it.
        around = [s["bound"] for s in scopes[:-1] if s["kind"] == "function"]
        around += [s["bound"] for s in scopes[-1:]]
        span = span or room.span(node)
        room.uses.append(_Use(key, room, span, around, self.unit))

    def _name_of_definition(self, node, scopes):
        room = self.room
        if scopes:
            return
        found = re.compile(rb"(async\s+)?(def|class)\s+").match(room.data, room.start(node))
        span = (found.end(), found.end() + len(node.name.encode()))
        self._use((room.name, node.name), node, scopes, span)

    def _visit_global(self, node, scopes):
        room = self.room
        for name in node.names:
            found = re.compile(rb"global\b[^\n]*?\b(%s)\b" % name.encode())
            match = found.match(room.data, room.start(node))
            self._use((room.name, name), node, [], match.span(1))

    def _prune(self, body, module=True):
        """Remove the relative imports; return True if nothing is left of the block."""
        room = self.room
        gone = []
        for node in body:
            if isinstance(node, ast.ImportFrom) and node.level:
                if node in room.inlined:
                    continue
                room.remove(node)
                gone.append(node)
            elif isinstance(node, ast.If) and _is_constant(node.test, False):
                room.remove(node)
            elif getattr(node, "name", None) == "__getattr__" and module:
                continue
            elif isinstance(node, ast.If):
                empty = self._prune(node.body, module)
                if empty and (node.orelse or not _pure(node.test)):
                    room.fail(node, "cannot join a branch that does nothing but import")
                if empty:
                    room.edits = [e for e in room.edits if not _within(e, room, node)]
                    room.uses = [u for u in room.uses if not _within(u.span, room, node)]
                    room.remove(node)
                    gone.append(node)
                if self._prune(node.orelse, module):
                    room.fail(node, "cannot join an else that does nothing but import")
            else:
                function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
                for part in ("body", "orelse", "finalbody"):
                    inner = getattr(node, part, None)
                    if inner and self._prune(inner, module and not function):
                        room.fail(node, "cannot join a block that does nothing but import")
                for handler in getattr(node, "handlers", ()):
                    if self._prune(handler.body, module and not function):
                        room.fail(handler, "cannot join a block that does nothing but import")
        return bool(body) and len(gone) == len(body)


def _within(span, room, node):
    return room.start(node) <= span[0] and span[1] <= room.end(node) + 1


def _is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def _pure(test):
    """Return True if a test does nothing but look."""
    for node in ast.walk(test):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _PURE_CALLS:
                return False
        elif isinstance(node, (ast.Await, ast.Yield, ast.NamedExpr)):
            return False
    return True


def _pure_update(node):
    """Return True for NAME.update(...): it fills a table of the room's own."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.attr == "update"
    )


def _collects(node):
    """Return True for port.collect(): it makes room for what is loaded next, here nothing."""
    call = node.value
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and (call.func.value.id, call.func.attr, call.args) == ("port", "collect", [])
    )


def _removable(node):
    """Return True if a statement of module level may go when nobody uses what it binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    return (
        isinstance(node, ast.Assign) and len(node.targets) == 1 or isinstance(node, ast.AnnAssign)
    )


class _House:
    """The rooms that are joined, what their names mean, and what these are called in the file."""

    def __init__(self):
        self.rooms = {}
        self.inlined = set()
        self.order = []
        self.public = public_names()
        self._same = {}  # a key: another one of the same thing
        self._final = {}

    def room(self, name, inlined=False):
        """Return a room, read if need be. Raises JoinError if there is none of this name."""
        if inlined:
            self.inlined.add(name)
        if name not in self.rooms:
            try:
                room = self.rooms[name] = _Room(name)
            except OSError as e:
                raise JoinError("there is no room %r: %s" % (name, e)) from e
            _Reader(self, room).read_module()
            self.order.append(name)  # after those that it imports
        return self.rooms[name]

    def join(self):
        """Return the text of the file."""
        for name in CORE:
            self.room(name)
        done = set()
        while done != set(self.rooms):  # functions import further rooms
            for name in [name for name in self.rooms if name not in done]:
                _Reader(self, self.rooms[name]).read_uses()
                done.add(name)
        for room in self.rooms.values():
            for name, bindings in room.bindings.items():
                for binding in bindings:
                    if binding[0] == "from":
                        self._unite((room.name, name), binding[1:])
        self._live = self._find_live()
        self._name_all()
        self._hoisted = set()  # (prefix, what is imported) of the imports at the head
        for name in self.order:
            if name not in self.inlined:
                for node in self.rooms[name].tree.body:
                    self._hoisted.update(self._import_parts(self.rooms[name], node))
        bodies = []
        for name in self.order:
            if name not in self.inlined:
                bodies.append(self._heading(self.rooms[name]))
                bodies.append(self._body(self.rooms[name]))
        text = self._head() + "\n\n".join(bodies) + self._tail()
        text = _tidy(text)
        _check(text)
        return text

    # What is the same thing.

    def _unite(self, a, b):
        a, b = self._thing(a), self._thing(b)
        if a != b:
            self._same[a] = b

    def _thing(self, key):
        while key in self._same:
            key = self._same[key]
        return key

    def _members(self):
        members = collections.defaultdict(list)
        for name in self.order:
            for bound in self.rooms[name].bindings:
                if self.rooms[name].bindings[bound][0][0] != "room":
                    members[self._thing((name, bound))].append((name, bound))
        return members

    def _origins(self, keys):
        """Return the texts of the imports that bind one of keys; None stands for anything else."""
        found = set()
        for room, name in keys:
            for binding in self.rooms[room].bindings[name]:
                if binding[0] != "from":
                    found.add(binding[1] if binding[0] == "import" else None)
        return found

    def _find_live(self):
        """Return the things that somebody uses, public ones first of all."""
        uses = [use for room in self.rooms.values() for use in room.uses]
        defined = collections.defaultdict(set)  # by unit: what it binds
        for use in uses:
            unit = use.unit
            if unit is not None and _defines(use.room, unit, use.span):
                defined[unit].add(self._thing(use.key))
        live = {self._thing((room, name)) for room, name in self.public if room in self.rooms}
        for room in self.rooms.values():
            for _, mixin, base in room.lazy:
                live.update((self._thing(mixin), self._thing(base)))
            if room.guard:
                live.update(
                    self._thing(u.key) for u in room.uses if _within(u.span, room, room.guard)
                )
        size = -1
        while size != len(live):
            size = len(live)
            for use in uses:
                if use.unit is None or defined[use.unit] & live:
                    if use.unit is not None and _defines(use.room, use.unit, use.span):
                        continue
                    if use.unit is None and self._is_target(use):
                        continue
                    live.add(self._thing(use.key))
        return live

    def _is_target(self, use):
        """Return True for a target of a = b = None: that alone is no use."""
        return use.span in use.room.chained

    # What things are called.

    def _name_all(self):
        members = self._members()
        scopes = collections.defaultdict(list)
        for room in self.rooms.values():
            for use in room.uses:
                scopes[self._thing(use.key)].extend(use.scopes)
        taken = {}
        later = []
        for thing, keys in members.items():
            origins = self._origins(keys)
            names = sorted({name for _, name in keys})
            public = [key for key in keys if key in self.public]
            if thing == self._thing(_CONST):
                self._take(thing, "const", None, taken, scopes)
            elif public:
                self._take(thing, public[0][1], None, taken, scopes)
            elif None not in origins and len(origins) == 1 and len(names) == 1:
                self._take(thing, names[0], origins.pop(), taken, scopes)
            elif thing in self._live:
                keys.sort(key=lambda key: key[0] in self.inlined)
                inlined = keys[0][0] in self.inlined
                later.append((not keys[0][1].startswith("_"), inlined, thing, keys[0]))
        # Those first that may keep their names.
        for _, _, thing, (room, name) in sorted(later, key=lambda entry: entry[:2]):
            short = name if name.startswith("_") else "_" + name
            for candidate in (short, "_%s_%s" % (room, name.lstrip("_"))):
                free = candidate not in taken and not hasattr(builtins, candidate)
                if free and not any(candidate in bound for bound in scopes[thing]):
                    self._final[thing] = candidate
                    taken[candidate] = None
                    break
            else:
                raise JoinError("no name is free for %r of %s.py" % (name, room))

    def _take(self, thing, name, origin, taken, scopes):
        if name in taken and (origin is None or taken[name] != origin):
            raise JoinError("two things would be called %r: %s and another" % (name, thing))
        if any(name in bound for bound in scopes[thing]):
            raise JoinError("%r of %s.py is hidden by a local name where it is used" % thing[::-1])
        taken[name] = origin
        self._final[thing] = name

    def name(self, key):
        return self._final[self._thing(key)]

    # The text.

    def _heading(self, room):
        doc = ast.get_docstring(room.tree) or ""
        lines = ["# %s.py" % room.name + "  " + "-" * (92 - len(room.name)), "#"]
        lines += [("# " + line).rstrip() for line in doc.split("\n")]
        return "\n".join(lines) + "\n"

    def _body(self, room):
        """Return the text of a room without its docstring and the imports at the head."""
        self._edit_statements(room, room.tree.body)
        self._edit_names(room)
        self._edit_annotations(room)
        self._edit_comments(room)
        first = room.tree.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            room.remove(first)
        text = _apply(room)
        if room.guard:
            test = self._guard_text(room)
            before, after = text.split(_GUARD, 1)
            text = (
                before.rstrip("\n") + "\n\nif %s:\n\n" % test + _indent(after.strip("\n"), 4, room)
            )
        return text.strip("\n") + "\n"

    def _guard_text(self, room):
        operand = room.guard.test.operand
        use = [u for u in room.uses if u.span == room.span(operand)]
        if not use:
            room.fail(room.guard, 'cannot join a guard that is not "if not NAME"')
        return self.name(use[0].key)

    def _edit_statements(self, room, body):
        for node in body:
            if node in room.inlined:
                other = room.inlined[node]
                text = _indent(self._body(other).rstrip("\n"), node.col_offset, other)
                doc = (ast.get_docstring(other.tree) or "").split("\n")[0]
                text = "# %s.py: %s\n" % (other.name, doc) + text
                text = text.split("\n", 1)[0] + "\n\n" + text.split("\n", 1)[1]
                room.edit(room.start(node), room.end(node), text)
            elif node is room.guard:
                room.remove(node, put=_GUARD)
            elif isinstance(node, ast.If) and not _is_constant(node.test, False):
                inner = node.body[0]
                if inner in room.inlined and inner.names[0].name == "*":
                    room.edit(room.start(node.test), room.end(node.test), "_CPYTHON")
                self._edit_statements(room, node.body)
                self._edit_statements(room, node.orelse)
            elif isinstance(node, ast.Try):
                for part in (node.body, *[h.body for h in node.handlers], node.orelse):
                    self._edit_statements(room, part)
            elif isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0):
                self._edit_import(room, node)
            elif getattr(node, "name", None) == "__getattr__":
                room.remove(node, put=self._lazy_classes(room))
            elif isinstance(node, ast.Expr) and _collects(node):
                self._remove_whole(room, node)
            elif isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
                room.remove(node)
            elif isinstance(node, ast.Assign) and len(node.targets) > 1:
                self._edit_chain(room, node)
            elif _removable(node):
                names = _names_bound(node)
                thing = self._thing((room.name, names[0]))
                if thing not in self._live or thing == self._thing(_CONST):
                    self._remove_whole(room, node)

    def _remove_whole(self, room, node):
        room.edits = [e for e in room.edits if not _within(e, room, node)]
        room.uses = [u for u in room.uses if not _within(u.span, room, node)]
        room.remove_comments_above(node)
        room.remove(node, blank=False)

    def _edit_chain(self, room, node):
        kept = [
            target for target in node.targets if self._thing((room.name, target.id)) in self._live
        ]
        for target, following in zip(node.targets, node.targets[1:] + [node.value]):
            if target not in kept:
                room.uses = [u for u in room.uses if not _within(u.span, room, target)]
                room.edit(room.start(target), room.start(following), "")
        if not kept:
            room.fail(node, "nobody uses any of these names")

    def _import_parts(self, room, node):
        """Return [(prefix, part), ...] of what is used of an import of a module of Python's."""
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "level", 0):
            return []
        prefix = "import " if isinstance(node, ast.Import) else "from %s import " % node.module
        parts = []
        for alias in node.names:
            thing = self._thing((room.name, alias.asname or alias.name))
            if thing in self._live and thing != self._thing(_CONST):
                final = self._final[thing]
                as_final = " as " + final if final != alias.name else ""
                parts.append((prefix, alias.name + as_final))
        return parts

    def _edit_import(self, room, node):
        found = self._import_parts(room, node)
        parts = [part for prefix, part in found if (prefix, part) not in self._hoisted]
        if not parts:
            room.remove(node, blank=not node.col_offset)
            return
        text = found[0][0] + ", ".join(parts)
        if node.col_offset + len(text) > 90:
            pad = "\n" + " " * node.col_offset
            text = found[0][0] + "(" + "".join(pad + "    " + p + "," for p in parts) + pad + ")"
        room.edit(room.start(node), room.end(node), text)

    def _lazy_classes(self, room):
        text, guarded = "", {}
        for name, mixin, base in room.lazy:
            mixin, base_name = self.name(mixin), self.name(base)
            one = 'class %s(%s, %s):\n    """%s with a thread for each request."""\n' % (
                name,
                mixin,
                base_name,
                base_name,
            )
            guard = self.rooms[base[0]].guard
            if guard:
                guarded.setdefault(self._guard_text(self.rooms[base[0]]), []).append(one)
            else:
                text += one + "\n\n"
        for test, classes in guarded.items():
            text += "if %s:\n\n" % test + _indent("\n".join(classes), 4, room)
        return text

    def _edit_names(self, room):
        for use in room.uses:
            if any(start <= use.span[0] < end for start, end, _ in room.edits):
                continue  # it goes
            name = self.name(use.key)
            if room.data[use.span[0] : use.span[1]].decode() != name:
                room.edit(*use.span, name)

    def _edit_annotations(self, room):
        for node in ast.walk(room.tree):
            if isinstance(node, ast.AnnAssign):
                if node.value is None:
                    room.remove_comments_above(node)
                    room.remove(node, blank=False)
                else:
                    room.edit(room.end(node.target), room.end(node.annotation), "")
            elif isinstance(node, ast.arg) and node.annotation:
                end = room.start(node) + len(node.arg.encode())
                room.edit(end, room.end(node.annotation), "")

    def _edit_comments(self, room):
        for token in tokenize.tokenize(io.BytesIO(room.data).readline):
            if token.type != tokenize.COMMENT or not _FOR_TOOLS.match(token.string):
                continue
            line = room.data.splitlines()[token.start[0] - 1]
            start = len(token.line[: token.start[1]].rstrip().encode())
            at = room._starts[token.start[0] - 1]
            room.edit(at + start, at + len(line) + (not start), "")

    def _head(self):
        hoisted = self._hoisted
        plain = sorted(part for prefix, part in hoisted if prefix == "import ")
        lines = ["import " + part for part in plain]
        for prefix in sorted({prefix for prefix, _ in hoisted} - {"import "}):
            lines.append(prefix + ", ".join(sorted(p for f, p in hoisted if f == prefix)))
        licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
        version = re.search(r'__version__ = "([^"]+)"', (PACKAGE / "__init__.py").read_text())
        return (
            _HEAD
            % {
                "version": version[1],
                "copyright": re.search(r"Copyright.*", licence)[0],
                "imports": "\n".join(lines),
            }
            + "\n\n"
        )

    def _tail(self):
        names, guarded = [], collections.defaultdict(list)
        for room, name in self.public:
            if room not in self.rooms:
                continue
            guards = [self.rooms[room].guard and room]
            guards += [base[0] for lazy, _, base in self.rooms[room].lazy if lazy == name]
            guards = [g for g in guards if g and self.rooms[g].guard]
            if guards:
                guarded[self._guard_text(self.rooms[guards[0]])].append(name)
            else:
                names.append(name)
        more = ""
        for test, some in guarded.items():
            lines = ["            %r," % name for name in sorted(some)]
            more += "    if %s:\n        __all__ += [\n%s\n        ]\n" % (test, "\n".join(lines))
        lines = ["        %r," % name for name in sorted(names)]
        return _TAIL.replace("'", '"') % {
            "names": "\n".join(lines).replace("'", '"'),
            "more": more.replace("'", '"'),
        }


def public_names():
    """Return [(room, name), ...] of the public names, as rooms.py lists them."""
    path = PACKAGE / "rooms.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and node.targets[0].id == "rooms":
            entries = [
                entry.split(":") for some in ast.literal_eval(node.value) for entry in some.split()
            ]
            return [
                (room, name) for room, names, _ in entries for name in names.split("/") if name
            ]
    raise JoinError("%s: there is no list of names" % path)


def _names_bound(node):
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets]
    return [node.target.id] if isinstance(node, ast.AnnAssign) else [node.name]


def _defines(room, unit, span):
    """Return True if the name at span is the one that unit defines."""
    if isinstance(unit, ast.Assign):
        return span == room.span(unit.targets[0])
    if isinstance(unit, ast.AnnAssign):
        return span == room.span(unit.target)
    found = re.compile(rb"(async\s+)?(def|class)\s+").match(room.data, room.start(unit))
    return span[0] == found.end()


def _apply(room):
    """Return the room's text with its edits made."""
    text, at = b"", 0
    # The widest first of those that begin together.
    for start, end, new in sorted(room.edits, key=lambda e: (e[0], -e[1])):
        if end <= at and not new:
            continue  # it has gone with what stands around it
        if start < at:
            line = room.data[:start].count(b"\n") + 1
            raise JoinError("%s:%d: two changes meet here" % (room.path, line))
        text += room.data[at:start] + new.encode()
        at = end
    return (text + room.data[at:]).decode()


def _indent(text, columns, room):
    """Return text moved to the right. Raises JoinError where that would change a string."""
    starts = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            starts.add(body[0].lineno)  # docstrings may change
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and token.start[0] != token.end[0]:
            if token.start[0] not in starts:
                raise JoinError("%s: cannot move a string of several lines" % room.path)
    return "\n".join(" " * columns + line if line else "" for line in text.split("\n"))


def _tidy(text):
    """Return text with at most two blank lines in a row, one before what is indented."""
    lines = []
    for line in text.split("\n"):
        line = line.rstrip()
        if line:
            while len(lines) > 1 and not lines[-1] and not lines[-2]:
                if line[0] != " " and len(lines) > 2 and lines[-3]:
                    break
                lines.pop()
            opened = lines and lines[-1] == "" and len(lines) > 1 and lines[-2].endswith(":")
            if opened and lines[-2].startswith(" ") and not line.lstrip().startswith("def"):
                lines.pop()
        lines.append(line)
    return "\n".join(lines).rstrip("\n") + "\n"


def _check(text):
    """Raise JoinError if text is no Python, or if a name in it is bound nowhere."""
    tree = ast.parse(text)
    names = set(dir(builtins)) | {"__name__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise JoinError("an import of a room is left in line %d" % node.lineno)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Module)):
            names |= _bound(node)[0]
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            names |= _bound(node)[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in names:
            within = [
                c for c in ast.walk(tree) if isinstance(c, ast.ClassDef) and node in ast.walk(c)
            ]
            if not any(node.id in _bound(c)[0] for c in within):
                raise JoinError("line %d: the name %r is bound nowhere" % (node.lineno, node.id))


def join():
    """Return the text of the core as one file. Raises JoinError if it cannot be joined."""
    return _House().join()


def main():
    """Write the file and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="what to write, e.g. build/socketse.py")
    path = pathlib.Path(parser.parse_args().file)
    try:
        text = join()
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".new")
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except (JoinError, OSError) as e:
        print("%s was not written: %s" % (path, e), file=sys.stderr)
        return 1
    print("%s: %d lines, %d bytes" % (path, text.count("\n"), len(text.encode())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
