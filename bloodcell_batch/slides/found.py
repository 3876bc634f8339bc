"""What a walk through the folders found."""

from collections.abc import Sequence
from dataclasses import dataclass

from bloodcell_batch.records import ImageFile


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file that is not an image by its name (hidden, a thumbnail cache, another suffix); `why` says which."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Everything one walk found: image files sorted by slide and path, ignored files, unreadable folders.

    A shard's share of it keeps `listing_sha256`, a digest (hex) of all images that were found.
    """

    root: str
    files: Sequence[ImageFile]
    ignored: tuple[IgnoredFile, ...]
    unreadable_folders: tuple[str, ...]
    listing_sha256: str = ""

    @property
    def found(self) -> int:
        """All files seen, ignored ones included: the left side of the conservation law."""
        return len(self.files) + len(self.ignored)
