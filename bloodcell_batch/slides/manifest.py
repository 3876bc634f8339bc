"""Slides from a table that somebody made."""

import posixpath
from collections.abc import Iterable
from pathlib import Path

from bloodcell_batch.errors import InputError
from bloodcell_batch.files.names import look
from bloodcell_batch.files.sheets import listed_lines, read_sheet
from bloodcell_batch.progress import counted


class ManifestRule:
    """Slides from a CSV file or workbook with the columns `path` (relative to the scanned folder) and `slide_id`.

    Raises:
        InputError: unreadable file, missing or repeated columns, or a path listed under two slides.
    """

    def __init__(self, manifest: Path) -> None:
        self._manifest = manifest
        self._slides: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        self._repeated: list[int] = []
        for row in read_sheet(manifest, ("path", "slide_id")).rows:
            path = posixpath.normpath(row["path"].replace("\\", "/"))
            if path in self._slides:
                self._repeated.append(row.line)
            if self._slides.setdefault(path, row["slide_id"]) != row["slide_id"]:
                message = f"The manifest {manifest}, line {row.line}, puts {path} into a second slide."
                raise InputError(message, hint="List every image once.")
            self._lines.setdefault(path, row.line)

    def __call__(self, path: str) -> str:
        """The slide of one image; InputError if the manifest has none for it."""
        slide = self._slides.get(path)
        if not slide:
            alike = [name for name in self._slides if look(name) == look(path)]
            hint = "Add a line for it, or move the file out of the folder."
            if alike:
                hint = f"It has {alike[0]!a}, which looks the same but is written otherwise. {hint}"
            raise InputError(f"The manifest {self._manifest} has no slide for the image {path}.", hint=hint)
        return slide

    def remarks(self, found: Iterable[str]) -> list[str]:
        """What disagrees between the manifest and the paths that were found, for a person to check."""
        left = dict(self._lines)
        for path in found:
            left.pop(path, None)
        said = []
        if self._repeated:
            said.append(f"the manifest {self._manifest} names images again in {listed_lines(self._repeated)}")
        if left:
            first = next(iter(left))
            them = "it" if len(left) == 1 else "them"
            images = counted(len(left), "image that was", "images that were")
            said.append(
                f"the manifest {self._manifest} names {images} not found, the first "
                f"{first!r} ({listed_lines(sorted(left.values()))}); the results lack {them}"
            )
        return said
