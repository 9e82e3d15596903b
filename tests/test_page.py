"""The page of a board, and of `make run`, in a Chromium: it shows, moves, and asks nobody else.

The pictures are in build/page afterwards.
"""

import re

import browser
import interpreters
import pytest
from conftest import ROOT, certificates, connect, find_target, free_port
from test_board import Board, images  # noqa: F401  # a fixture
from test_services import PORTS, serve  # noqa: F401

FILE = ROOT / "board" / "node" / "page.html"
PICTURES = ROOT / "build" / "page"
THERE = "document.body && document.body.className == 'there'"
LOST = "document.body.className == 'lost'"
NAME = "<u>kitchen</u> & co"
# How many points each chart has.
POINTS = "[...document.querySelectorAll('path')].map(p => p.getAttribute('d').split('L').length)"


def browsing(**options):
    """Return a browser, or skip the test with what is missing."""
    try:
        return browser.Browser(report=lambda line: None, **options)
    except interpreters.Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def chromium():
    """A browser without a page."""
    with browsing() as found:
        yield found


@pytest.fixture
def board(images, tmp_path):  # noqa: F811
    """An ESP32 whose name has to be taken for text; its url."""
    path = tmp_path / "flash"
    path.write_bytes(images("esp32").read_bytes())
    with Board("esp32", flash=path) as made:
        made.at = 0
        made.served()
        made.configure(hostname=NAME)
        made.served()
        made.url = "http://%s:%d/" % (made.address, 80 + made.port_offset)
        yield made


@pytest.fixture(params=["esp32", "cpython", "unix64"])
def site(request):
    """(which, URL, the name that is shown) of a board's page, and of what `make run` serves."""
    if request.param == "esp32":
        return "esp32", request.getfixturevalue("board").url, NAME
    program = request.getfixturevalue("serve")(find_target(request.param))
    connect(program.base + PORTS["http"]).close()
    return request.param, "http://127.0.0.1:%d/" % (program.base + PORTS["http"]), "socketse"


def test_the_file_is_small_and_whole():
    text = FILE.read_text()
    assert len(text.encode()) < 8000
    assert re.findall(r"https?:|\bsrc=|@import|url\(|innerHTML", text) == []
    assert re.findall(r'href="([^"]*)"', text) == ["data:,", "stats.json"]


def test_the_page_in_a_browser(chromium, site):
    which, url, name = site
    page = chromium.open(url + "?every=0.2", 360, 780)
    page.wait_for(THERE)
    page.wait_for(POINTS + ".every(n => n > 3)")
    shown = page.evaluate("document.body.innerText")
    assert page.evaluate("[document.title, document.querySelector('h1').textContent]") == [
        name,
        name,
    ]
    assert page.evaluate("document.querySelector('u')") is None
    clock = "not set" if which == "esp32" else r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.search("time\n%s\nup for\n\\d" % clock, shown), shown
    if which == "cpython":
        assert "heap free\n–" in shown
    else:
        assert re.search(r"heap free\n[\d.]+ k?M?B of", shown), shown
    row = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map(row => row.innerText)"
        ".filter(text => text.startsWith('http/tcp'))"
    )
    assert len(row) == 1 and re.search(r"\t1\t[12]\t[\d.]+ k?B\t[\d.]+ k?B$", row[0]), row
    # The charts move.
    for at in (0, 1):
        selector = "figure:nth-child(%d) svg" % (at + 1)
        before = page.screenshot(selector=selector)
        count = page.evaluate(POINTS)[at]
        page.wait_for(POINTS + "[%d] > %d" % (at, count + 3))
        assert page.screenshot(selector=selector) != before
    # On a phone, in light and in dark, nothing is wider than the window.
    light = {}
    for dark in (False, True):
        page.theme(dark)
        for width in (320, 360, 1000):
            page.resize(width, 780)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            words = (which, "dark" if dark else "light", width)
            page.screenshot(PICTURES / ("%s-%s-%d.png" % words))
        colours = [
            page.evaluate("getComputedStyle(document.body).%s" % one)
            for one in ("backgroundColor", "color")
        ]
        light[dark] = [sum(map(int, re.findall(r"\d+", one))) for one in colours]
    assert light[False][0] > 600 > 200 > light[False][1]
    assert light[True][0] < 200 < 600 < light[True][1]
    assert page.console == []
    assert {one for one in page.requests if not one.startswith("data:")} == {
        url + "?every=0.2",
        url + "stats.json",
    }
    page.close()


def test_a_board_that_goes_and_comes_back(chromium, board):
    page = chromium.open(board.url + "?every=0.2")
    page.wait_for(THERE)
    board.power_off()
    page.wait_for(LOST)
    assert page.evaluate("document.querySelector('#state').innerText").startswith("no answer")
    page.screenshot(PICTURES / "lost.png")
    board.power_on()
    page.wait_for(THERE)
    assert page.evaluate("document.querySelector('#state').innerText") == "serving"
    page.close()


def test_the_page_forgets_what_is_old(chromium, serve):  # noqa: F811
    program = serve(find_target("cpython"))
    page = chromium.open("http://127.0.0.1:%d/?every=0.2" % (program.base + PORTS["http"]))
    page.wait_for(THERE)
    page.evaluate("for (let i = 0; i < 500; i++) { draw(0, i % 7); draw(1, i % 5) }")
    assert max(page.evaluate(POINTS)) <= 120
    page.close()


def test_without_javascript_a_sentence_is_left(serve):  # noqa: F811
    program = serve(find_target("cpython"))
    with browsing(scripts=False) as without:
        page = without.open("http://127.0.0.1:%d/" % (program.base + PORTS["http"]))
        page.wait_for("!!document.querySelector('noscript a')")
        shown = page.evaluate("document.body.innerText")
    assert "JavaScript" in shown and "heap" not in shown


@pytest.mark.parametrize("name", ["cpython", "unix64", "i386"])
def test_the_time_server_over_tls(start, name):
    port = free_port()
    program = ROOT / "tests" / "programs" / "time_https.py"
    start(find_target(name), program, "server", port, certificates() / "server.pem")
    connect(port).close()
    with browsing(insecure=True) as insecure:
        page = insecure.open("https://127.0.0.1:%d/" % port)
        time = "document.querySelector('time').textContent"
        page.wait_for("!!document.querySelector('time')")
        page.screenshot(PICTURES / ("time-%s.png" % name))
        first = page.evaluate(time)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first)
        page.wait_for("document.querySelector('time') && %s != %r" % (time, first))
        assert page.console == []


OVER_TLS = """
import sys
from socketse import Multiplexer, PageHandler, TCPServer, server_context

PageHandler.page = sys.argv[3]
server = TCPServer(("127.0.0.1", int(sys.argv[1])), PageHandler)
server.ssl_context = server_context(sys.argv[2])
hub = Multiplexer()
hub.add(server)
hub.serve_forever()
"""


@pytest.mark.parametrize("name", ["cpython", "unix64"])
def test_the_page_over_tls(start, tmp_path, name):
    port = free_port()
    program = tmp_path / "page.py"
    program.write_text(OVER_TLS)
    start(find_target(name), program, port, certificates() / "server.pem", FILE)
    connect(port).close()
    url = "https://127.0.0.1:%d/?every=0.2" % port
    with browsing(insecure=True) as insecure:
        page = insecure.open(url)
        page.wait_for(THERE)
        page.wait_for(POINTS + ".every(n => n > 3)")
        assert page.console == []
    with browsing() as strict, pytest.raises(browser.BrowserError, match="CERT_AUTHORITY_INVALID"):
        strict.open(url)
