"""The files of a run in a fifth of the memory that as many `ImageFile` take: there may be millions."""

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from bloodcell_batch.records import ImageFile

_NS = 1_000_000_000


class FileList(Sequence[ImageFile]):
    """Image files in about 70 bytes each and their slide ids, which they share; every access makes them again."""

    def __init__(self, files: Iterable[ImageFile] = ()) -> None:
        self._paths = bytearray()
        self._ends = array("q", [0])
        self._slides: list[str] = []
        self._sizes = array("q")
        # Apart, because a damaged file system may name a year that 64 bits of nanoseconds don't reach.
        self._seconds, self._nanoseconds = array("q"), array("i")
        self._regular = bytearray()
        for file in files:
            self.append(file)

    def append(self, file: ImageFile) -> None:
        """Add one at the end."""
        self._paths += file.path.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._paths))
        self._slides.append(sys.intern(file.slide_id))
        self._sizes.append(file.size_bytes)
        seconds, nanoseconds = divmod(file.mtime_ns, _NS)
        self._seconds.append(seconds)
        self._nanoseconds.append(nanoseconds)
        self._regular.append(file.is_regular)

    def __len__(self) -> int:
        return len(self._slides)

    @overload
    def __getitem__(self, place: int) -> ImageFile: ...

    @overload
    def __getitem__(self, place: slice) -> list[ImageFile]: ...

    def __getitem__(self, place: int | slice) -> ImageFile | list[ImageFile]:
        """One file, or a list of some."""
        places = range(len(self))[place]
        return self._file(places) if isinstance(places, int) else [self._file(each) for each in places]

    def __iter__(self) -> Iterator[ImageFile]:
        return map(self._file, range(len(self)))

    def _file(self, place: int) -> ImageFile:
        return ImageFile(
            path=self._paths[self._ends[place] : self._ends[place + 1]].decode("utf-8", "surrogatepass"),
            slide_id=self._slides[place],
            size_bytes=self._sizes[place],
            mtime_ns=self._seconds[place] * _NS + self._nanoseconds[place],
            is_regular=bool(self._regular[place]),
        )
