"""The page's handler, for boards that serve it."""

from socketse import AsyncStreamRequestHandler

from . import forget


class Page(AsyncStreamRequestHandler):
    """Serves the page, as a socketse.page.PageHandler that is loaded while somebody looks."""

    page = "/node/page.html"

    async def handle(self):
        """Answer the requests of one connection."""
        try:
            from socketse.page import serve

            await serve(self)
        finally:
            if self._se_stats["active"] < 2:
                forget("socketse.page")
