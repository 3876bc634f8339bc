"""The types that pass between stages. A bad image is a value here, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Status(StrEnum):
    """What became of an image file. Every image file ends with exactly one of these."""

    CLASSIFIED = "classified"
    UNCLASSIFIED = "unclassified"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a file failed or a cell was left unclassified, as written to the `reason` column."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    MULTIPLE_FRAMES = "multiple_frames"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    UNSUPPORTED_FORMAT = "unsupported_format"
    BROKEN_LINK = "broken_link"
    NOT_A_REGULAR_FILE = "not_a_regular_file"
    UNREADABLE = "unreadable"
    CHANGED_DURING_RUN = "changed_during_run"
    TIMED_OUT = "timed_out"
    LOW_CONFIDENCE = "low_confidence"
    OUTLIER = "outlier"
    NO_CONTRAST = "no_contrast"
    NO_CELL = "no_cell"
    SEVERAL_CELLS = "several_cells"
    CUT_OFF = "cut_off"
    UNKNOWN_SCALE = "unknown_scale"
    SEEN_BEFORE = "seen_before"
    POSSIBLY_SEEN_BEFORE = "possibly_seen_before"

    @property
    def is_failure(self) -> bool:
        """Whether a file with this reason failed; with the others, a cell stays unclassified."""
        return self not in _OF_CELLS

    @property
    def asks_for_review(self) -> bool:
        """Whether a person should look at a cell with this reason, which is in the count of unclassified cells."""
        return self not in NOT_COUNTED

    @property
    def is_of_the_finder(self) -> bool:
        """Whether it follows from what the finder saw, and not from the classifier's numbers."""
        return self in _OF_THE_FINDER


NOT_COUNTED = frozenset({Reason.CUT_OFF, Reason.SEEN_BEFORE})
"""Cells of a field in no count of cells: what lies half outside of it, and what an earlier field shows, too."""

SEEN_BEFORE = frozenset({Reason.SEEN_BEFORE, Reason.POSSIBLY_SEEN_BEFORE})
"""Cells of a field that an earlier one shows, too, surely or perhaps."""

_OF_THE_FINDER = NOT_COUNTED | SEEN_BEFORE | {Reason.NO_CELL, Reason.SEVERAL_CELLS, Reason.UNKNOWN_SCALE}
_OF_CELLS = _OF_THE_FINDER | {Reason.LOW_CONFIDENCE, Reason.OUTLIER, Reason.NO_CONTRAST}


class FieldFault(StrEnum):
    """What makes a field of view unfit, as written to the `review_reason` of its rows."""

    TOO_THICK = "too_thick"
    TOO_THIN = "too_thin"
    OUT_OF_FOCUS = "out_of_focus"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file found by the scan.

    `path` is relative to the scanned folder, with `/` between its parts; `size_bytes` and `mtime_ns` are as the
    scan saw them, so that a file changing under the run is noticed.
    """

    path: str
    slide_id: str
    size_bytes: int
    mtime_ns: int
    is_regular: bool = True

    @property
    def was_not_there(self) -> bool:
        """True when the scan saw the name, but nothing that it stands for: a broken link."""
        return self.size_bytes == 0 and self.mtime_ns == 0


BLANK_CONTRAST = 2.0
"""Grey-level standard deviation below which an image is blank; cells of three laboratories have 15 and more."""

BLANK_BRIGHTNESS = 8.0
"""Mean grey level below which a picture is all but black; cells of five laboratories have 99 and more."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of the decoded image: `brightness` and `contrast` are the mean and standard deviation of the grey
    levels (0-255), `sharpness` the variance of their Laplacian, all on the 64x64 grey image of the hash."""

    brightness: float
    contrast: float
    sharpness: float

    @property
    def is_blank(self) -> bool:
        """True when the picture shows nothing: its perceptual hash would be rounding noise, and no cell is in it."""
        return self.contrast < BLANK_CONTRAST or self.brightness < BLANK_BRIGHTNESS


PIXEL_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What decoding learned about a file. `sha256` is of the file's bytes (hex); `phash` is 32 bytes, row-major;
    `pixel_digest` identifies the full-size decoded RGB image whatever the file format. Of a field, `red_cell_pixels` is
    the diameter of a red cell, None where nothing tells it, `red_cells` and `platelets` how many were found."""

    sha256: str
    phash: bytes
    width: int
    height: int
    quality: Quality
    pixel_digest: bytes
    red_cell_pixels: float | None = None
    red_cells: int | None = None
    platelets: int | None = None
    faults: tuple[FieldFault, ...] = ()


@dataclass(frozen=True, slots=True)
class CellBox:
    """Where a cell lies in a field of view, in pixels of the decoded image; `x` and `y` are the upper left corner.

    `number` counts from 1 in each field. 0 stands for a field without a cell: the box is then the whole field.
    `score` (0-1) is the finder's; `doubt` is why the cell can't be classified, as far as the finder sees it. `phash`
    (32 bytes, empty for none) is the hash of the cell and its rim, by which it is known again in another field.
    """

    number: int
    x: int
    y: int
    width: int
    height: int
    score: float
    doubt: Reason | None = None
    phash: bytes = b""


@dataclass(frozen=True, slots=True)
class Crop:
    """A cell of a field and what the network gets of it: `pixels` as in `DecodedImage`."""

    box: CellBox
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Found:
    """What the finder says of an image: the cells of a field, with its facts as in `ImageFacts`, or None for an image
    of a single cell, and why that can't be classified."""

    crops: tuple[Crop, ...] | None = None
    doubt: Reason | None = None
    red_cell_pixels: float | None = None
    red_cells: int | None = None
    platelets: int | None = None
    faults: tuple[FieldFault, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A decoded image before it is described: `thumbnail` is its 64x64 grey image, uint8, from which hash and quality
    follow. The other fields are those of `ImageFacts` and `DecodedImage`."""

    file: ImageFile
    sha256: str
    width: int
    height: int
    pixel_digest: bytes
    thumbnail: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    found: Found = Found()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image: `pixels` is the model input, uint8 of shape (S, S, 3), RGB.

    `crops` are the cells of a field, whose own `pixels` nobody uses; None for an image of a single cell. `cell` is
    which of them this is, once they go on one by one. `doubt` is why it can't be classified, as far as the finder sees
    it.
    """

    file: ImageFile
    facts: ImageFacts
    pixels: NDArray[np.uint8]
    crops: tuple[Crop, ...] | None = None
    cell: CellBox | None = None
    doubt: Reason | None = None


class _Row:
    """What every row is, an image or a cell of a field."""

    __slots__ = ()
    cell: CellBox | None

    @property
    def is_first_of_its_file(self) -> bool:
        """False for the second and further cells of a field."""
        return self.cell is None or self.cell.number <= 1


@dataclass(frozen=True, slots=True)
class Rejection(_Row):
    """A file that gets no prediction: failed (`reason`, `detail`), a duplicate of `duplicate_of`, or a field without a
    cell (unclassified; `cell` is the whole field).

    `duplicate_distance` is the Hamming distance between the two 256-bit perceptual hashes.
    """

    file: ImageFile
    status: Status
    reason: Reason | None = None
    detail: str = ""
    facts: ImageFacts | None = None
    duplicate_of: str = ""
    duplicate_distance: int | None = None
    cell: CellBox | None = None


@dataclass(frozen=True, slots=True)
class RawPrediction:
    """What a backend said of one image: calibrated probabilities of the classes that the run reports, and
    the outlier score; `embedding` as in `Prediction`."""

    file: ImageFile
    facts: ImageFacts
    probabilities: tuple[float, ...]
    outlier_score: float
    cell: CellBox | None = None
    doubt: Reason | None = None
    embedding: bytes | None = None


@dataclass(frozen=True, slots=True)
class Prediction(_Row):
    """A classified or unclassified cell. `label` is empty when unclassified, so that nobody counts a guess; `group` and
    its calibrated probability are what such a cell surely is nonetheless, empty and None for nothing. `review_reasons`
    is why a person should look at it. `embedding` is the network's features (D,), float16, little-endian; None where
    nobody asked for them, or where they were put away already. The last three name the cell of an earlier field that
    this one is, or may be: the field's path, the cell's number, and the Hamming distance of the two cells' hashes."""

    file: ImageFile
    facts: ImageFacts
    status: Status
    reason: Reason | None
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    outlier_score: float
    review_reasons: tuple[str, ...]
    group: str = ""
    group_confidence: float | None = None
    cell: CellBox | None = None
    embedding: bytes | None = None
    duplicate_of: str = ""
    duplicate_of_cell: int | None = None
    duplicate_distance: int | None = None


Outcome = Prediction | Rejection


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image whose facts are known without decoding it, from the journal of an interrupted run or from an earlier
    result. `rows` are what became of it, one of each cell of a field; none for what was a duplicate then."""

    file: ImageFile
    facts: ImageFacts
    rows: tuple[Outcome, ...]
