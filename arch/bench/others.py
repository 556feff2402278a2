"""How much of the machine other processes took meanwhile: where it is much, a turn is no measure.

Of two libraries that share cores with others, the one whose threads wait for each other in a loop
suffers most, so that even a ratio of turns says little then.
"""

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, interrupts, and what other guests of the host stole


class Meter:
    """From its making on: what share of all cores was used by others than one process."""

    def __init__(self):
        self._start, self._busy = time.perf_counter(), _busy_seconds()

    def others(self, own_seconds: float) -> float | None:
        """The share, 0 to 1, if a process used `own_seconds` of CPU; None where the system does not
        say."""
        if self._busy is None:
            return None
        there = (time.perf_counter() - self._start) * (os.cpu_count() or 1)
        used = (_busy_seconds() or 0.0) - self._busy
        return min(1.0, max(0.0, (used - own_seconds) / there))


def _busy_seconds() -> float | None:
    """CPU seconds that all processes have used since the machine started."""
    try:
        fields = STAT.read_text().partition("\n")[0].split()[1:]
    except OSError:
        return None
    return sum(int(fields[i]) for i in BUSY) / os.sysconf("SC_CLK_TCK")
