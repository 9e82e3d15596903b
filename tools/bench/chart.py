"""The chart in the README, written as SVG: pygal has no several charts on one sheet."""

from xml.sax.saxutils import escape

import report

# Title, what is read from the results, the figure there, and how it is shown.
PANELS = (
    ("Server CPU per request (bare poll loop: 1)", ("requests",), "to_poll", "%.2f"),
    ("Server CPU per connection (bare poll loop: 1)", ("connections",), "to_poll", "%.2f"),
    ("Bytes of heap per idle connection", ("idle", "armhf"), "silent", "%.0f"),
)

_WIDTH, _LABELS, _VALUES = 720, 220, 60
_ROW, _BAR, _TITLE, _GAP = 22, 14, 28, 18

# The browser's preference decides: an image in a README knows nothing of the page around it.
_STYLE = """
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #d1d7e0 }
  .bar { fill: #656c76 }
  .ours { fill: #4493f8 }
}
"""


def _panel(title, rows, form, top):
    """Return the SVG elements of one panel, and the y where the next one starts."""
    longest = max(figure for _, figure in rows)
    found = ['<text class="title" x="0" y="%d">%s</text>' % (top + 14, escape(title))]
    y = top + _TITLE
    for name, figure in rows:
        width = figure / longest * (_WIDTH - _LABELS - _VALUES)
        ours = " ours" if report.NAMES[name].startswith("socketse") else ""
        middle = y + _BAR - 3
        found += [
            '<text x="%d" y="%d" text-anchor="end">%s</text>'
            % (_LABELS - 10, middle, escape(report.NAMES[name])),
            '<rect class="bar%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>'
            % (ours, _LABELS, y, width, _BAR),
            '<text x="%.1f" y="%d">%s</text>' % (_LABELS + width + 8, middle, form % figure),
        ]
        y += _ROW
    return found, y + _GAP


def draw(results):
    """Return the chart of a whole benchmark's results as SVG."""
    elements = []
    y = 0
    for title, path, key, form in PANELS:
        part = results
        for step in path:
            part = part[step]
        rows = [(name, row[key]) for name, row in part.items() if row.get(key) is not None]
        if rows:
            more, y = _panel(title, rows, form, y)
            elements += more
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="%d" viewBox="0 0 %d %d" role="img">' % (
        _WIDTH,
        _WIDTH,
        y - _GAP,
    )
    about = "<title>What servers cost; shorter is better</title>"
    return "\n".join([head, about, "<style>%s</style>" % _STYLE, *elements, "</svg>"]) + "\n"
