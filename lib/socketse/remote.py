"""RemoteServer: the objects of a class of yours, used from clients as if they were theirs.

A client's connection is a session: it makes one instance of the class, and what that leads to.
Values travel: None, numbers, text, bytes, and tuples and frozensets of such; everything else stays
here and is known to the client by a number, which it sends to mean the object.

A request is a message of kind P, a list; what is not needed at its end may be left out:

    [verb, id of an object, name, [arguments], {keyword arguments}, [id, times, ...]]

The last one tells of objects that the client has dropped, and how often it had been given them.

    NEW  make the instance, once; it has the id 0
    DIR  the names of what an object has
    ALL  a copy: containers as they are, of an instance a dict of its public attributes
    GET  an attribute: of a method an object with the id -1, or -2 if the instance has it
    SET  an attribute
    DEL  an attribute
    RUN  call a method
    OPS  use an operator, named as in Python: __getitem__, see operate.py
    DROP nothing: for more dropped objects than another request has room for
    BYE  end the session

Each is answered with what it gives: a value, or an object as a message of kind W; or with the
exception that it raises, as a message of kind E.
"""

from .multiplex import MultiplexingTCPServer  # first: the largest compiles best

# isort: split
from . import message, port
from .server import TCPServer
from .session import Session

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


class RemoteMixIn:
    """Makes a server of streams one of remote objects.

    user_class   called with the arguments of each client's new(); None: only functions
    options      values for the attributes below
    Raises ValueError beyond loopback if neither `allow` nor `secret` says who may come, and
    TypeError for an unknown option.
    """

    user_class: "Any" = None
    expose: "Any" = None  # names that clients may use; None: all that begin with no underscore
    secret: "Any" = None  # what clients have to prove that they know, see auth.py
    on_request: "Any" = None  # called with session and request before each, to see or refuse it
    max_objects = 256  # of one session
    # Of keyword arguments and attributes, which MicroPython never forgets: those that clients may
    # use although they are not in the program, and how many others, a quarter of them per session.
    names: "Any" = ()
    max_names = 64
    max_message = message.max_message  # bytes of a message
    max_calls = 1000 if port.platform else 10000  # of one session in a second: more have to wait
    session_timeout: "float | None" = 600  # seconds that a client may be silent
    log_level = 0  # see message.py
    log_file: "Any" = None
    allow: "Any"

    def __init__(self: "Any", server_address, user_class=None, **options):
        for name in options:
            if not hasattr(self, name) or name[0] == "_":
                raise TypeError("RemoteServer has no option %r" % name)
            setattr(self, name, options[name])
        if self.allow is None and self.secret is None and not isinstance(server_address, str):
            host = server_address[0]
            if host[:4] != "127." and host not in ("localhost", "::1"):
                raise ValueError(
                    "anybody could use your objects at %r: say who may, with secret= or allow=; "
                    'allow=["*"] for all' % host
                )
        for text in (self.expose, self.names):
            if isinstance(text, str):
                raise TypeError("a tuple of names, not a text: %r" % text)
        if isinstance(self.secret, (str, bytes)):
            from .auth import Secret

            self.secret = Secret(self.secret)
        if user_class is not None:
            self.user_class = user_class
        self.functions: Any = {}
        TCPServer.__init__(self, server_address, Session)

    def register(self, function, name=None):
        """Let clients call function by its name, or another one, beside the instance's methods.

        Returns function: it may be used as a decorator.
        """
        self.functions[name or function.__name__] = function
        return function

    def verify_request(self: "Any", request, client_address):
        """Return True if the address may connect; tell the client if not."""
        if TCPServer.verify_request(self, request, client_address):
            return True
        from .entry import refuse

        return refuse(self, request, client_address)


class RemoteServer(RemoteMixIn, MultiplexingTCPServer):
    """A server of remote objects: many sessions in one thread."""


def __getattr__(name):
    if name != "ThreadingRemoteServer":
        raise AttributeError("module 'socketse.remote' has no attribute '%s'" % name)
    # Made on first use: few programs need it.
    from .threads import ThreadingTCPServer

    class ThreadingRemoteServer(RemoteMixIn, ThreadingTCPServer):
        """A server of remote objects: each session in a thread."""

        def _se_prepare(self):
            # Now, and not in several threads at once: they would see them half made.
            from . import bounds, entry, faults, looks, operate, operators, weight  # noqa: F401

            if self.secret is not None:
                from . import auth  # noqa: F401
            ThreadingTCPServer._se_prepare(self)

    globals()[name] = ThreadingRemoteServer
    return ThreadingRemoteServer
