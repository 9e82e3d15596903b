"""XML-RPC's values, http://xmlrpc.com/spec.md: to text and back, by a parser for nothing else."""

from binascii import a2b_base64, b2a_base64

# Which elements may stand in which.
_INSIDE = (
    " methodCall: methodName params, params: param, param: value, array: data, data: value, "
    "struct: member, member: name value, value: int i4 i8 boolean string double "
    "dateTime.iso8601 base64 nil ex:nil array struct,"
)
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


def _children(name):
    # Return the names of the elements that may stand in one, with text around.
    start = _INSIDE.find(" %s: " % name)
    return _INSIDE[start : _INSIDE.find(",", start)].split(" ") if start >= 0 else None


def _wrong(what):
    return ValueError("not an XML-RPC call: " + what)


def loads(data, max_depth, use_builtin_types):
    """Return (parameters, name of the method) of a call.

    data       bytes of UTF-8
    max_depth  of arrays and structs in each other
    Raises ValueError for what is not a call.
    """
    # Not recursive: boards have small stacks. What is open, and what it has so far.
    names: list = []
    found: list = []
    result = None
    at = 0
    while True:
        end = data.find(b"<", at)
        text = data[at : end if end >= 0 else len(data)]
        name = names[-1] if names else ""
        children = _children(name)
        if text.strip() and (
            not names or children and (name != "value" or found[-1] is not _NONE)
        ):
            raise _wrong("text where none belongs")
        if end < 0:
            break
        at = data.find(b">", end)
        if at < 0:
            raise _wrong("it ends in a tag")
        tag = str(data[end + 1 : at], "utf-8").rstrip()
        at += 1
        if tag[:1] == "?":
            if end or tag[:5] != "?xml " or tag[-1:] != "?":
                raise _wrong("an instruction")
            tag = tag.lower()
            if "encoding" in tag and "utf-8" not in tag and "us-ascii" not in tag:
                raise _wrong("its encoding is not UTF-8")
            continue
        if tag[:1] == "!":
            raise _wrong("a comment, CDATA or a document type")
        empty = tag[-1:] == "/"
        if tag[:1] != "/":
            if empty:
                tag = tag[:-1].rstrip()
                text = b""
            elif text.strip() and name == "value":
                raise _wrong("text before an element")
            if not (tag in children if children else not names and tag == "methodCall"):
                raise _wrong("<%s> in <%s>" % (tag[:40], name))
            if not names and result is not None:
                raise _wrong("two calls")
            if name == "value" and found[-1] is not _NONE:
                raise _wrong("two values in one")
            if len(names) > 3 * max_depth + 3:
                raise _wrong("too deep")
            names.append(tag)
            if tag == "methodCall":
                found.append([None, None])
            elif tag == "array":
                found.append(None)
            elif tag in ("params", "data"):
                found.append([])
            elif tag == "struct":
                found.append({})
            elif tag == "member":
                found.append([None, _NONE])
            else:
                found.append(_NONE)
            if not empty:
                continue
        elif not names or tag[1:] != names[-1]:
            raise _wrong("<%s> is not open" % tag[:40])
        # The end of an element.
        tag = names.pop()
        value = found.pop()
        if not names:
            if value[0] is None:
                raise _wrong("no methodName")
            result = tuple(value[1] or ()), value[0]
            continue
        parent = found[-1]
        name = names[-1]
        if tag == "value":
            if value is _NONE:
                value = _text(text)
            if name == "data":
                parent.append(value)
            elif name == "param":
                if parent is not _NONE:
                    raise _wrong("two values in one")
                found[-1] = value
            elif parent[1] is not _NONE:
                raise _wrong("two values in one")
            else:
                parent[1] = value
        elif tag == "param":
            if value is _NONE:
                raise _wrong("no value")
            parent.append(value)
        elif tag == "data":
            if parent is not None:
                raise _wrong("two <data> in one")
            found[-1] = value
        elif tag == "member":
            if value[0] is None or value[1] is _NONE:
                raise _wrong("a member without name or value")
            parent[value[0]] = value[1]
        elif tag == "name" or tag == "methodName":
            if parent[0] is not None:
                raise _wrong("two names")
            parent[0] = _text(text)
        elif tag == "params":
            if parent[1] is not None:
                raise _wrong("two <params>")
            parent[1] = value
        elif tag == "array":
            if value is None:
                raise _wrong("no <data>")
            found[-1] = value
        elif tag == "struct":
            found[-1] = value
        else:
            found[-1] = _scalar(tag, text, use_builtin_types)
    if result is None or names:
        raise _wrong("it is not complete")
    return result


def _scalar(tag, text, use_builtin_types):
    # Return the value of an element that has no others in it.
    if tag == "string":
        return _text(text)
    if tag == "base64":
        value = a2b_base64(text)
        return value if use_builtin_types else Binary(value)
    if tag[-3:] == "nil":
        if text.strip():
            raise _wrong("nil with a value")
        return None
    if len(text) > 400:
        raise _wrong("a number that is too long")
    text = str(text.strip(), "utf-8")
    if tag == "double":
        return float(text)
    if tag == "dateTime.iso8601":
        return DateTime(_text(text.encode()))
    if tag == "boolean":
        if text not in ("0", "1"):
            raise _wrong("a boolean is 0 or 1")
        return text == "1"
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits.isdigit() or len(digits) > 20:
        raise _wrong("an int that is none")
    return int(text)


def _text(data):
    # Return text with the five entities and the characters by number put in.
    text = str(data, "utf-8")
    if "\r" in text:  # XML 1.0, 2.11
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "&" not in text:
        return text
    parts = text.split("&")
    found = [parts[0]]
    for part in parts[1:]:
        end = part.find(";")
        name = part[:end] if 0 < end < 12 else ""
        c = {"lt": 60, "gt": 62, "amp": 38, "quot": 34, "apos": 39}.get(name, 0)
        if name[:2] == "#x":
            c = int(name[2:], 16)
        elif name[:1] == "#":
            c = int(name[1:])
        # XML 1.0, 2.2
        if c < 32 and c not in (9, 10, 13) or 0xD800 <= c < 0xE000 or c > 0x10FFFF:
            raise _wrong("an entity that is not known")
        found.append(chr(c) + part[end + 1 :])
    return "".join(found)


def dumps(params, allow_none):
    """Return the bytes of an answer: of (result,), or of a Fault.

    Raises TypeError or OverflowError for a result that cannot be sent.
    """
    out = ["<?xml version='1.0'?>\n<methodResponse>"]
    if isinstance(params, Fault):
        out.append("<fault>")
        _dump({"faultCode": params.faultCode, "faultString": params.faultString}, out, 0, 1)
        out.append("</fault></methodResponse>\n")
    else:
        out.append("<params><param>")
        _dump(params[0], out, allow_none, 1)
        out.append("</param></params></methodResponse>\n")
    return "".join(out).encode()


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
        out.append("<value><array><data>")
        for one in value:
            _dump(one, out, allow_none, depth + 1)
        out.append("</data></array></value>")
        return
    elif isinstance(value, dict):
        out.append("<value><struct>")
        for name in value:
            if not isinstance(name, str):
                raise TypeError("dictionary key must be string")
            out.append("<member><name>%s</name>" % _escape(name))
            _dump(value[name], out, allow_none, depth + 1)
            out.append("</member>")
        out.append("</struct></value>")
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
    out.append("<value>%s</value>" % text)


def _escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
