"""How long a training has worked, over all the times it was interrupted and continued."""

import time
from pathlib import Path

from bloodcell_batch.files.publishing import written_whole
from bloodcell_batch.progress import ForwardingObserver, Observer, RunCounts

_INTERVAL_S = 2.0


class WorkingTime(ForwardingObserver):
    """An observer that passes everything on, and adds up the working time in a file as the work goes on.

    After a kill at most the last two seconds before it are missing.
    """

    def __init__(self, observer: Observer, path: Path) -> None:
        super().__init__(observer)
        self._path = path
        self._before = float(path.read_text(encoding="ascii")) if path.exists() else 0.0
        self._began = time.monotonic()
        self._written = self._began

    @property
    def seconds(self) -> float:
        """Working time so far, earlier runs included."""
        return self._before + time.monotonic() - self._began

    def stop(self) -> float:
        """Write the time down a last time, and return it, in seconds."""
        self._write()
        return self.seconds

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        """See `Observer.advanced`."""
        if time.monotonic() - self._written >= _INTERVAL_S:
            self._write()
        super().advanced(done, counts)

    def _write(self) -> None:
        self._written = time.monotonic()
        with written_whole(self._path) as partial:
            partial.write_text(f"{self.seconds:.3f}", encoding="ascii")
