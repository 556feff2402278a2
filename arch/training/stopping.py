"""How one asks a group to stop, and what it raises when it has."""

import os
import signal


class Interrupted(Exception):
    """Asked to stop; everything up to here is saved."""


class Stop:
    """Becomes true at SIGTERM or Ctrl-C; a second one ends at once."""

    def __init__(self):
        self.asked = False

    def __enter__(self):
        try:
            self._old = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread: nobody can ask
            self._old = {}
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nstopping at the next step that is logged; again to stop at once\n")
