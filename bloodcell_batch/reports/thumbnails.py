"""Thumbnails for pages and workbooks: made again from pixels, so that no metadata of the file (EXIF) is in them."""

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from PIL import Image

from bloodcell_batch.files.paths import leaves_folder
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.file_formats import suffix_of
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.results.run_record import RunRecord

_QUALITY = 72
_SURROUND = 0.35  # of the cell's size, on each side
_AT_A_TIME = 512


class NoThumbnail(Enum):
    """Why there is no picture to show."""

    MISSING = "the file is not there"
    CHANGED = "the file was changed since it was classified"
    UNDECODABLE = "the file can't be decoded"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An encoded picture and its size in pixels."""

    data: bytes
    kind: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture as a data: URI."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


class HasRecord(Protocol):
    """Results, as far as it matters where their images are."""

    @property
    def record(self) -> RunRecord: ...  # noqa: D102


class Pictured(Protocol):
    """What there is to draw of a row: see `ResultRow`."""

    @property
    def file(self) -> str: ...  # noqa: D102 - that of ResultRow
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def box(self) -> tuple[int, int, int, int] | None: ...  # noqa: D102
    @property
    def picture(self) -> str: ...  # noqa: D102


def make_thumbnails(
    rows: Iterable[Pictured], root: Path | None, side: int, kind: str = "webp"
) -> dict[str, Thumbnail | NoThumbnail]:
    """A thumbnail per row, keyed by `ResultRow.picture`: of the image, or of a cell with what is
    around it in its field; a file whose bytes are not those that were classified gets none.

    Args:
        rows: duplicates and repeated rows are welcome.
        root: the folder that was classified; None if it is not at hand.
        side: longest side in pixels.
        kind: `webp`, or `png` for spreadsheets.
    """
    if root is None:
        return {row.picture: NoThumbnail.MISSING for row in rows}
    unique = list({row.picture: row for row in rows}.values())
    with ThreadPoolExecutor(available_cpus()) as pool:
        made = (
            result
            for start in range(0, len(unique), _AT_A_TIME)  # a bounded number of decoded images at a time
            for result in pool.map(lambda row: _make(root, row, side, kind), unique[start : start + _AT_A_TIME])
        )
        return {row.picture: thumbnail for row, thumbnail in zip(unique, made, strict=True)}


def images_folder(results: HasRecord, images: Path | None, observer: Observer) -> Path | None:
    """The folder with the images: `images`, or the one in the run record if it is still there."""
    if results.record.pseudonymised:
        missing = "these results have codes in place of the images' paths"
    elif images is not None:
        if images.is_dir():
            return images
        missing = f"--images {images} is not a folder"
    elif not results.record.input:
        missing = "the run record names no folder of images; name it with --images"
    else:
        folder = Path(results.record.input)
        if folder.is_dir():
            return folder
        missing = f"the folder {folder} that was classified is not there; name the images' folder with --images"
    observer.warn(f"no thumbnails: {missing}")
    return None


def warn_of_gaps(thumbnails: dict[str, Thumbnail | NoThumbnail], observer: Observer) -> None:
    """Say how many pictures are not shown, and why."""
    for why in NoThumbnail:
        count = sum(found is why for found in thumbnails.values())
        if count and why is not NoThumbnail.UNDECODABLE:
            observer.warn(f"{counted(count, 'thumbnail is', 'thumbnails are')} left out: {why.value}", count=count)


def _make(root: Path, row: Pictured, side: int, kind: str) -> Thumbnail | NoThumbnail:
    try:
        # The table may come from elsewhere: it must not show what lies beside the folder, nor wait for a pipe.
        path = root / row.file
        if leaves_folder(row.file) or not path.is_file():
            return NoThumbnail.MISSING
        data = path.read_bytes()
    except (OSError, ValueError):
        return NoThumbnail.MISSING
    if not row.sha256:
        return NoThumbnail.UNDECODABLE  # it failed, and so has no hash by which to know it again
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return NoThumbnail.CHANGED
    try:
        image = _part(Image.fromarray(decode_rgb(data, DecodeLimits(), suffix_of(row.file))), row)
    except UndecodableImageError:
        return NoThumbnail.UNDECODABLE
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    stream = io.BytesIO()
    image.save(stream, kind.upper(), quality=_QUALITY)
    return Thumbnail(stream.getvalue(), kind, image.width, image.height)


def _part(image: Image.Image, row: Pictured) -> Image.Image:
    """The cell of a field with some of its surroundings, as far as the field goes; another image as it is."""
    if row.box is None:
        return image
    x, y, width, height = row.box
    side = max(width, height) * (1 + 2 * _SURROUND)
    left, upper = x + width / 2 - side / 2, y + height / 2 - side / 2
    right, lower = min(image.width, round(left + side)), min(image.height, round(upper + side))
    return image.crop((max(0, round(left)), max(0, round(upper)), right, lower))


def uris(thumbnails: dict[str, Thumbnail | NoThumbnail]) -> dict[str, str]:
    """data: URIs of those that have a picture."""
    return dict(_with_picture(thumbnails))


def _with_picture(thumbnails: dict[str, Thumbnail | NoThumbnail]) -> Iterator[tuple[str, str]]:
    for file, found in thumbnails.items():
        if isinstance(found, Thumbnail):
            yield file, found.uri
