"""What a verification finds."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the run left it: the place, and what is wrong there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Findings:
    """Counts all findings and keeps the first `limit` of them, so that a wholly wrong table needs no memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[Finding] = []
        self.count = 0

    def add(self, where: str, what: str) -> None:
        """Note one finding."""
        self.count += 1
        if len(self._kept) < self._limit:
            self._kept.append(Finding(where, what))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
