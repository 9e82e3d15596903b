"""Drive a headless Chromium by its DevTools protocol, over a pipe: no port, no other package.

    with Browser() as browser:
        page = browser.open("http://127.0.0.1:7080/", width=360)
        page.wait_for("document.title == 'x'")
        page.screenshot("page.png")

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import clients

_SECONDS = 30  # for anything
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # it needs rights that root in a container has not; all pages are our own
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*",  # it leaves this machine by no name
)
# Chromium wants the pipe's ends as descriptors 3 and 4.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser, or a page's script, has said no; the message has its words."""


class Browser:
    """A Chromium at work, from `with` to the end of its block.

    insecure  True: take any certificate, a self-signed one too
    scripts   False: as for people who have switched JavaScript off
    report    called with one line of text per step of a fetch
    Raises interpreters.Unavailable without a Chromium.
    """

    def __init__(self, insecure=False, scripts=True, report=print):
        self._argv = [*clients.client("chromium", report), *_OPTIONS]
        if insecure:
            self._argv.append("--ignore-certificate-errors")
        if not scripts:
            self._argv.append("--blink-settings=scriptEnabled=false")
        self._process = None
        self._changed = threading.Condition()
        self._count = 0
        self._answers = {}
        self._pages = {}  # by session
        self._ended = False

    def __enter__(self):
        self._folder = tempfile.mkdtemp(prefix="browser-")
        theirs, self._out = _pipe()
        self._in, theirs_out = _pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs), str(theirs_out)]
                + [*self._argv, "--user-data-dir=" + self._folder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs, theirs_out),
                env=dict(os.environ, HOME=self._folder),
                start_new_session=True,
            )
        finally:
            os.close(theirs)
            os.close(theirs_out)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *args):
        try:
            with contextlib.suppress(BrowserError):
                self.call("Browser.close")
            self._process.wait(_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what it has left behind
            self._process.wait()
            self._reader.join()
            os.close(self._out)
            os.close(self._in)
            shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method, session=None, **params):
        """Do what the protocol calls so, and return its result, a dict. Raises BrowserError."""
        with self._changed:
            self._count += 1
            number = self._count
            message = {"id": number, "method": method, "params": params}
            if session:
                message["sessionId"] = session
            data = json.dumps(message).encode() + b"\0"
            try:
                while data:
                    data = data[os.write(self._out, data) :]
            except BrokenPipeError:
                raise BrowserError("the browser has ended before %s" % method) from None
            self._changed.wait_for(lambda: number in self._answers or self._ended, _SECONDS)
            answer = self._answers.pop(number, {"error": {"message": "no answer"}})
        if "error" in answer:
            raise BrowserError("%s: %s" % (method, answer["error"]["message"]))
        return answer["result"]

    def open(self, url, width=800, height=800, dark=False):
        """Open a page, with a size in CSS pixels, and return it. Raises BrowserError."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        with self._changed:
            self._pages[session] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(domain + ".enable")
        page.resize(width, height)
        page.theme(dark)
        page.go(url)
        return page

    def _read(self):
        buffer = b""
        while True:
            data = os.read(self._in, 65536)
            if not data:
                break
            *whole, buffer = (buffer + data).split(b"\0")
            for text in whole:
                message = json.loads(text)
                with self._changed:
                    if "id" in message:
                        self._answers[message["id"]] = message
                    elif message.get("sessionId") in self._pages:
                        self._pages[message["sessionId"]].told(
                            message["method"], message["params"]
                        )
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Page:
    """A page in the browser.

    console   list of texts: warnings and errors, and what scripts print
    requests  list of the URLs that it asked for
    """

    def __init__(self, browser, target, session):
        self._browser = browser
        self._target = target
        self._session = session
        self.console = []
        self.requests = []

    def call(self, method, **params):
        """As Browser.call, for this page."""
        return self._browser.call(method, self._session, **params)

    def told(self, method, params):
        """Take an event of the protocol."""
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.console.append("%(level)s: %(text)s" % params["entry"])
        elif method == "Runtime.consoleAPICalled":
            words = [str(one.get("value", one.get("description"))) for one in params["args"]]
            self.console.append("%s: %s" % (params["type"], " ".join(words)))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            self.console.append("exception: " + text)

    def go(self, url):
        """Open another address in it. Raises BrowserError if nothing comes from there."""
        error = self.call("Page.navigate", url=url).get("errorText")
        if error:
            raise BrowserError("%s: %s" % (url, error))

    def close(self):
        """Close it: it asks for nothing any more."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def resize(self, width, height):
        """Make the window so large, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def theme(self, dark):
        """Let the system prefer dark colours, or light ones."""
        value = "dark" if dark else "light"
        feature = {"name": "prefers-color-scheme", "value": value}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def evaluate(self, script):
        """Return what a JavaScript expression gives, if JSON can say it. Raises BrowserError."""
        got = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in got:
            details = got["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return got["result"].get("value")

    def wait_for(self, script, seconds=_SECONDS):
        """Wait until an expression is true, and return it. Raises BrowserError if it never is."""
        end = time.monotonic() + seconds
        while True:
            found = self.evaluate(script)
            if found:
                return found
            if time.monotonic() > end:
                text = self.evaluate("document.documentElement.outerHTML")
                raise BrowserError("%s is not true of:\n%s" % (script, text))
            time.sleep(0.05)  # the page may be another one meanwhile: nothing to wait for

    def screenshot(self, path=None, selector=None):
        """Return a picture as PNG, and write it to a file if path names one.

        selector  of CSS: of this element alone
        """
        params = {}
        if selector:
            box = self.evaluate(
                "(({x, y, width, height}) => ({x, y, width, height}))"
                "(document.querySelector(%s).getBoundingClientRect())" % json.dumps(selector)
            )
            params["clip"] = dict(box, scale=1)
        data = base64.b64decode(self.call("Page.captureScreenshot", **params)["data"])
        if path:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(path).write_bytes(data)
        return data


def _pipe():
    """Return the ends of a pipe, far from the descriptors 3 and 4."""
    found = []
    for number in os.pipe():
        found.append(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(number)
    return found
