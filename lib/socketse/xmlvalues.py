"""XML-RPC's values, http://xmlrpc.com/spec.md: to text and back, by a parser for nothing else."""

from binascii import a2b_base64, b2a_base64

from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

# Which elements may stand in which, with text around.
_INSIDE = {
    "": ("methodCall",),
    "methodCall": ("methodName", "params"),
    "params": ("param",),
    "param": ("value",),
    "array": ("data",),
    "data": ("value",),
    "struct": ("member",),
    "member": ("name", "value"),
    # With "ex:" before them too, but for the last two.
    "value": (
        "int i1 i2 i4 i8 biginteger boolean string double float dateTime.iso8601 base64 nil "
        "array struct".split()
    ),
}
_TAGS = const(64)  # so many leave some 5 kB of garbage
_SLASH = const(47)
_QUESTION = const(63)
_NONE = ()  # no value


class Fault(Exception):
    """An error that the client gets: raise it in a function that it calls.

    faultCode  an int
    faultString  what went wrong
    """

    def __init__(self, faultCode, faultString):
        super().__init__(faultCode, faultString)
        self.faultCode = faultCode
        self.faultString = faultString


class Binary:
    """Bytes, as xmlrpc.client has them: data."""

    def __init__(self, data=b""):
        self.data = bytes(data)

    def __eq__(self, other):
        return self.data == getattr(other, "data", other)


class DateTime:
    """A time without a zone.

    value  "19980717T14:08:55", or a tuple as time.localtime() returns it
    """

    def __init__(self, value):
        if isinstance(value, tuple):
            value = "%04d%02d%02dT%02d:%02d:%02d" % value[:6]
        self.value = value

    def __eq__(self, other):
        return self.value == getattr(other, "value", other)

    def __str__(self):
        return self.value


def _wrong(at):
    return ValueError("not an XML-RPC call: byte %d" % at)


def loads(data, max_depth, use_builtin_types):
    """Return (parameters, name of the method) of a call.

    data       bytes of UTF-8
    max_depth  of arrays and structs in each other
    Raises ValueError for what is not a call.
    """
    # Not recursive: boards have small stacks. What is open, and what it has so far.
    names: list = []
    found: list = []
    result: Any = None
    tags = 0
    at = start = 3 if data[:3] == b"\xef\xbb\xbf" else 0  # a byte order mark
    for c in range(32):
        if c in data and c not in (9, 10, 13):
            raise _wrong(data.find(bytes((c,))))  # XML 1.0, 2.2
    while True:
        tags += 1
        if port.platform and tags % _TAGS == 0:
            port.collect()  # or the values would stand all over the heap, among garbage
        end = data.find(b"<", at)
        text = data[at : end if end >= 0 else len(data)]
        name = names[-1] if names else ""
        children = _INSIDE.get(name, _NONE)
        full = name == "value" and found[-1][0] is not _NONE
        if text.strip() and (full or children and name != "value"):
            raise _wrong(at)  # text where none belongs
        if end < 0:
            break
        at = data.find(b">", end) + 1
        if not at:
            raise _wrong(end)
        kind = data[end + 1]
        tag = str(data[end + 2 if kind == _SLASH else end + 1 : at - 1], "utf-8").rstrip()
        if kind == _QUESTION:
            tag = tag.lower()
            if end != start or tag[-1] != "?":
                raise _wrong(end)
            if "encoding" in tag and "utf-8" not in tag and "us-ascii" not in tag:
                raise _wrong(end)
            continue
        if kind != _SLASH:
            empty = data[at - 2] == _SLASH
            if empty:
                tag = tag[:-1].rstrip()
            if not names and tag[:17] == "methodCall xmlns:" and tag[-1] in "'\"":
                tag = "methodCall"  # a name for what "ex" is
            if (
                tag not in children
                and (tag[:3] != "ex:" or name != "value" or tag[3:] not in children[:-2])
                or full
                or text.strip()
                or not names
                and result
                or len(names) > 3 * max_depth + 3
            ):
                raise _wrong(end)
            names.append(tag)
            if tag in ("params", "data"):
                found.append([])
            else:
                found.append({} if tag == "struct" else [_NONE, _NONE])
            if not empty:
                continue
            text = b""
        elif not names or tag != name:
            raise _wrong(end)
        # The end of an element: its item goes to a slot of its parent, or, -1, to the end of it.
        tag = names.pop()
        item = value = found.pop()
        slot = 0
        if not names:
            if value[0] is _NONE:
                raise _wrong(end)
            result = tuple(value[1]), value[0]  # none are () too
            continue
        if tag == "value" or tag == "param" or tag == "array":
            item = value[0]
            if tag == "param" or names[-1] == "data":
                slot = -1
            elif names[-1] == "member":
                slot = 1
                if found[-1][0] is _NONE:
                    raise _wrong(end)  # its name comes first
            if tag == "value" and item is _NONE:
                item = _text(text)
        elif tag == "name" or tag == "methodName":
            item = _text(text)
        elif tag == "params":
            slot = 1
        elif tag == "member":
            if value[0] is _NONE or value[1] is _NONE:
                raise _wrong(end)
            found[-1][value[0]] = value[1]
            continue
        elif tag != "data" and tag != "struct":
            item = _scalar(tag, text, use_builtin_types)
        if item is _NONE or slot >= 0 and found[-1][slot] is not _NONE:
            raise _wrong(end)
        if slot < 0:
            found[-1].append(item)
        else:
            found[-1][slot] = item
    if result is None or names:
        raise _wrong(at)
    return result


def _scalar(tag, text, use_builtin_types):
    # Return the value of an element that has no others in it.
    if tag[:3] == "ex:":
        tag = tag[3:]
    if tag == "string":
        return _text(text)
    if tag == "base64":
        value = a2b_base64(text)
        return value if use_builtin_types else Binary(value)
    if tag == "nil":
        if text.strip():
            raise ValueError(text)
        return None
    if len(text) > 400:
        raise ValueError(text)
    text = str(text.strip(), "utf-8")
    if tag == "double" or tag == "float":
        return float(text)
    if tag == "dateTime.iso8601":
        return DateTime(_text(text.encode()))
    if tag == "boolean":
        if text not in ("0", "1"):
            raise ValueError(text)
        return text == "1"
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError(text)
    return int(text)


def _text(data):
    # Return text with the five entities and the characters by number put in.
    if b"\r" in data:  # XML 1.0, 2.11
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    parts = data.split(b"&")
    for i in range(1, len(parts)):
        part = parts[i]
        end = part.find(b";")
        name = part[:end] if 0 < end < 12 else b""
        c = {b"lt": 60, b"gt": 62, b"amp": 38, b"quot": 34, b"apos": 39}.get(name, 0)
        if name[:2] == b"#x" and not name[2:].strip(b"0123456789abcdefABCDEF"):
            c = int(name[2:], 16)
        elif name[:1] == b"#" and name[1:].isdigit():
            c = int(name[1:])
        # XML 1.0, 2.2
        if c < 32 and c not in (9, 10, 13) or 0xD800 <= c < 0xE000 or c > 0x10FFFF:
            raise ValueError(data)
        parts[i] = _utf8(c) + part[end + 1 :]
    return str(b"".join(parts), "utf-8")


def _utf8(c):
    # Return a character as bytes. What chr() returns, MicroPython keeps for ever.
    if c < 128:
        return bytes((c,))
    tail = b""
    most = 63  # that the first byte has room for
    while c > most:
        tail = bytes((c & 63 | 128,)) + tail
        c >>= 6
        most >>= 1
    return bytes((~most << 1 & 255 | c,)) + tail


def dumps(params, allow_none):
    """Return an answer, in a buffer of bytes: of (result,), or of a Fault.

    Raises TypeError or OverflowError for a result that cannot be sent.
    """
    out = bytearray(b"<?xml version='1.0'?>\n<methodResponse>")
    if isinstance(params, Fault):
        out += b"<fault>"
        _dump({"faultCode": params.faultCode, "faultString": params.faultString}, out, 0, 1)
        out += b"</fault></methodResponse>\n"
    else:
        out += b"<params><param>"
        _dump(params[0], out, allow_none, 1)
        out += b"</param></params></methodResponse>\n"
    return out


def _dump(value, out, allow_none, depth):
    if depth > 40:
        raise TypeError("cannot marshal recursive objects")
    if value is None:
        if not allow_none:
            raise TypeError("cannot marshal None unless allow_none is enabled")
        text = "<nil/>"
    elif isinstance(value, bool):
        text = "<boolean>%d</boolean>" % value
    elif isinstance(value, int):
        if not -0x80000000 <= value <= 0x7FFFFFFF:
            raise OverflowError("int exceeds XML-RPC limits")
        text = "<int>%d</int>" % value
    elif isinstance(value, float):
        text = repr(value)
        if float(text) != value == value:
            text = "%.17g" % value
        text = "<double>%s</double>" % text
    elif isinstance(value, str):
        text = "<string>%s</string>" % _escape(value)
    elif isinstance(value, (bytes, bytearray, Binary)):
        value = value.data if isinstance(value, Binary) else value
        text = "<base64>\n%s</base64>" % str(b2a_base64(value), "ascii")
    elif isinstance(value, (list, tuple)):
        out += b"<value><array><data>"
        for one in value:
            _dump(one, out, allow_none, depth + 1)
        out += b"</data></array></value>"
        return
    elif isinstance(value, dict):
        out += b"<value><struct>"
        for name in value:
            if not isinstance(name, str):
                raise TypeError("dictionary key must be string")
            out += ("<member><name>%s</name>" % _escape(name)).encode()
            _dump(value[name], out, allow_none, depth + 1)
            out += b"</member>"
        out += b"</struct></value>"
        return
    elif isinstance(value, DateTime):
        text = "<dateTime.iso8601>%s</dateTime.iso8601>" % value.value
    elif hasattr(value, "strftime"):  # CPython's datetime
        text = "<dateTime.iso8601>%s</dateTime.iso8601>" % value.strftime("%Y%m%dT%H:%M:%S")
    elif hasattr(value, "__dict__"):
        _dump(dict(value.__dict__), out, allow_none, depth + 1)
        return
    else:
        raise TypeError("cannot marshal %s objects" % type(value))
    out += ("<value>%s</value>" % text).encode()


def _escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
