"""Freezes socketse into a firmware: include("/path/to/lib") in the board's manifest.py.

include("/path/to/lib", extras=False) leaves out what is not the core, as package.json does;
include("/path/to/lib", unix=True) is for a firmware of MicroPython's unix port.
https://docs.micropython.org/en/latest/reference/manifest.html
"""

# ruff: noqa: F821  # metadata, options and package are there when it is run

metadata(
    description="socketserver for microcontrollers",
    version="0.1.0",
    license="MIT",
)

options.defaults(extras=True, unix=False)

# opt: no asserts and no line numbers, as in the .mpy files that tools/mpy.py makes.
package(
    "socketse",
    files=(
        "__init__.py",
        "allow.py",
        "alone.py",
        "handler.py",
        "hub.py",
        "limits.py",
        "mixed.py",
        "multiplex.py",
        "multiplexer.py",
        "options.py",
        "plain.py",
        "port.py",
        "revive.py",
        "rooms.py",
        "server.py",
        "stream.py",
        "table.py",
        "tell.py",
        "threads.py",
        "trouble.py",
        "udp.py",
        "unix.py",
        "workers.py",
    ),
    opt=3,
)

if options.extras:
    package(
        "socketse",
        files=(
            "auth.py",
            "bounds.py",
            "certificates.py",
            "classics.py",
            "entry.py",
            "faults.py",
            "guard.py",
            "http.py",
            "httpauth.py",
            "httpbody.py",
            "httpdate.py",
            "httperror.py",
            "httpfiles.py",
            "httplist.py",
            "httpsend.py",
            "login.py",
            "looks.py",
            "message.py",
            "names.py",
            "operate.py",
            "operators.py",
            "page.py",
            "passwords.py",
            "proxy.py",
            "remote.py",
            "scram.py",
            "services.py",
            "session.py",
            "shortage.py",
            "timepage.py",
            "tls.py",
            "tlssocket.py",
            "users.py",
            "weight.py",
            "xmlrpc.py",
            "xmlsystem.py",
            "xmlvalues.py",
        ),
        opt=3,
    )

if options.unix:
    package("socketse", files=("unixport.py",), opt=3)
