"""A run that ends in the middle."""

from bloodcell_batch.progress import NullObserver, RunCounts


class Killed(BaseException):
    """Stands for whatever ends a run in the middle."""


class Stopping(NullObserver):
    """Remembers what it is told, and ends the run after some files."""

    def __init__(self, after: int = 10**9) -> None:
        self.after = after
        self.notes: list[str] = []
        self.warnings: list[str] = []

    @property
    def told(self) -> list[str]:
        """Both."""
        return self.notes + self.warnings

    def note(self, text: str, **_fields: object) -> None:
        self.notes.append(text)

    def warn(self, text: str, **_fields: object) -> None:
        self.warnings.append(text)

    def advanced(self, done: int, counts: RunCounts | None = None) -> None:
        if counts is not None and done == self.after:
            raise Killed
