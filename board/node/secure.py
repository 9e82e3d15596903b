"""What boards need that serve over TLS."""

from . import forget


def certificate(board):
    """Return the context of /tls.pem, or say why there is none, and return None."""
    try:
        from socketse.certificates import server_context

        return server_context("/tls.pem")
    except (OSError, ValueError, ImportError) as e:
        print("https is not served: /tls.pem: %s; make cert HOST=... and make flash bring one" % e)
        board.failed = True
    finally:
        forget("socketse.certificates")


def handler():
    """Return the handler of the page that tells the time."""
    from socketse.timepage import TimePageHandler

    return TimePageHandler
