"""One thread that waits for everything: files to read, moments to come."""

import os
import selectors
import threading
import time
import traceback


class Loop:
    """Calls functions when a file has something, or when their time has come, under one lock.

    failed  called with a text when one of them raises something; the loop goes on

    lock    held while they are called; whoever else changes what they use holds it, too
    """

    def __init__(self, failed):
        self._failed = failed
        self.lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._timers = {}
        self._ending = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.watch(self._woken, lambda: os.read(self._woken, 4096))

    def start(self):
        """Begin."""
        self._thread.start()

    def watch(self, file, function, writable=None):
        """Call function() when file can be read and writable() when it can be written.

        Either may be None; with both, forget the file.
        """
        events = (selectors.EVENT_READ if function else 0) | (
            selectors.EVENT_WRITE if writable else 0
        )
        known = file in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(file)
        elif known:
            self._selector.modify(file, events, (function, writable))
        else:
            self._selector.register(file, events, (function, writable))
        self._interrupt()

    def at(self, name, seconds, function=None):
        """Call function() once, in some seconds; a later call with this name replaces it.

        function  None: do not call the one of this name any more
        """
        with self.lock:
            if function:
                self._timers[name] = (time.monotonic() + seconds, function)
                self._interrupt()
            else:
                self._timers.pop(name, None)

    def end(self):
        """End the thread; nothing is called after that."""
        self._ending = True
        self._interrupt()
        if self._thread.ident and threading.current_thread() is not self._thread:
            self._thread.join()
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    def _interrupt(self):
        if threading.current_thread() is not self._thread:
            try:
                os.write(self._wake, b".")
            except BlockingIOError:
                return  # there is more than enough in it

    def _run(self):
        while not self._ending:
            with self.lock:
                moments = [moment for moment, _ in self._timers.values()]
            wait = max(0, min(moments) - time.monotonic()) if moments else None
            ready = self._selector.select(wait)
            with self.lock:
                if self._ending:
                    return
                for key, events in ready:
                    # What was called before may have ended this one's watch.
                    now = self._selector.get_map().get(key.fileobj)
                    if now is None or now.data is not key.data:
                        continue
                    function, writable = key.data
                    if events & selectors.EVENT_READ and function:
                        self._call(function)
                    elif events & selectors.EVENT_WRITE and writable:
                        self._call(writable)
                for name, timer in list(self._timers.items()):
                    if timer[0] <= time.monotonic() and self._timers.get(name) is timer:
                        del self._timers[name]
                        self._call(timer[1])

    def _call(self, function):
        try:
            function()
        except Exception:
            self._failed("the virtual board has a fault:\n" + traceback.format_exc())
