"""Lines over time, as SVG."""

from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _TITLE, _LEFT, _GAP = 720, 80, 24, 70, 30
_STYLE = """
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f }
polyline { fill: none; stroke: #0969da; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #d1d7e0 }
  polyline { stroke: #4493f8 }
}
"""


def draw(panels):
    """Return an SVG.

    panels  list of (title, points), a point is (seconds, value); the y axis begins at the least
    """
    parts = []
    y = 10
    for title, points in panels:
        parts.append('<text x="0" y="%d">%s</text>' % (y + 14, escape(title)))
        y += _TITLE
        values = [value for _, value in points] or [0]
        low, high = min(values), max(values)
        end = max([seconds for seconds, _ in points] or [1])
        place = " ".join(
            "%.1f,%.1f"
            % (
                _LEFT + (_WIDTH - _LEFT) * seconds / end,
                y + _HEIGHT * (0.5 if high == low else (high - value) / (high - low)),
            )
            for seconds, value in points
        )
        parts.append('<polyline points="%s"/>' % place)
        for value in {low, high}:
            at = y + (_HEIGHT / 2 if high == low else 0 if value == high else _HEIGHT)
            parts.append('<text x="0" y="%d">%s</text>' % (at + 5, format(value, ",")))
        y += _HEIGHT + _GAP
        parts.append('<text x="%d" y="%d">%d s</text>' % (_WIDTH - 50, y - 12, end))
    size = 'width="%d" height="%d" viewBox="0 0 %d %d"' % (_WIDTH, y, _WIDTH, y)
    head = '<svg xmlns="http://www.w3.org/2000/svg" %s>' % size
    return "%s\n<style>%s</style>\n%s\n</svg>\n" % (head, _STYLE, "\n".join(parts))
