"""Checks of single rows of the image table: what a row says must follow from its own numbers and from the record."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.differential.slide import faults_in
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.records import (
    NOT_COUNTED,
    SEEN_BEFORE,
    ImageFacts,
    ImageFile,
    Prediction,
    Quality,
    RawPrediction,
    Reason,
    Status,
)
from bloodcell_batch.results.tables import REVIEW_CROSS_SLIDE
from bloodcell_batch.slides.rules import SlideRule
from bloodcell_batch.stages.interpret import Thresholds, decide, sure_group

Row = Mapping[str, Any]

_SUM_TOLERANCE = 1e-4  # of eight rounded shares; bfloat16 runtimes stay within it as well
_PREDICTED = ("label", "confidence", "group", "group_confidence", "review_reason", "outlier_score")
_FACTS = ("sha256", "phash", "width", "height", "brightness", "contrast", "sharpness", "pixel_hash")
_LEFT_OUT_OF_SHARED = {"phash", "pixel_hash"}
_HEX_DIGITS = {"sha256": 64, "phash": 64, "pixel_hash": 32}
_OF_DUPLICATES = ("duplicate_of", "duplicate_distance")
_OF_CELLS_SEEN_BEFORE = ("duplicate_of_cell",)
_VERIFIED = ("verified_label", "verified_by", "verified_at")
_CELLS = frozenset({Status.CLASSIFIED, Status.UNCLASSIFIED})
_DUPLICATES = frozenset({Status.EXACT_DUPLICATE, Status.NEAR_DUPLICATE})
OF_FIELD = ("field_width", "field_height", "red_cells", "platelets")
"""Columns in which the rows of one field say the same."""
_FAILURES = frozenset(reason for reason in Reason if reason.is_failure)
_SEEN_BY_THE_FINDER = frozenset((Status.UNCLASSIFIED, reason) for reason in Reason if reason.is_of_the_finder)
_NO_FILE = ImageFile("", "", 0, 0)
# Half of the last digit that the table keeps: the run decided on the numbers before they were rounded.
_ROUNDED = {"confidence": 5e-7, "outlier_score": 5e-5, "contrast": 5e-3}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the run record says that rows must obey; None for what it doesn't say.

    `partners` are the paths of pictures that are in two slides; `slide_of` gives the slide of a path.
    """

    thresholds: Thresholds | None
    partners: frozenset[str]
    slide_of: SlideRule | None
    max_pixels: int | None
    pseudonymised: bool
    classes: ClassList

    @property
    def probabilities(self) -> tuple[str, ...]:
        """The columns of the classes' probabilities."""
        return tuple(f"p_{name}" for name in self.classes.names)


def row_faults(row: Row, rules: Rules) -> Iterator[str]:
    """Everything that is wrong with a row by itself, in words."""
    try:
        status = Status(row["status"])
    except ValueError:
        yield f"status is {row['status']!r}, which is not a status"
        return
    yield from _name_faults(row, rules)
    yield from _box_faults(row, rules)
    if status in _CELLS and row["cell"] != 0:
        yield from _cell_faults(row, rules)
    elif row["cell"] == 0 and (status is not Status.UNCLASSIFIED or row["reason"] != Reason.NO_CELL):
        yield f"it is a field without a cell, but {status} ({row['reason']})"
    else:
        faults = "; ".join(faults_in(row["review_reason"])) or None if row["cell"] == 0 else None
        shown = row if row["review_reason"] != faults else {**row, "review_reason": None}
        yield from _filled(
            shown, (*_PREDICTED, *rules.probabilities, "review", *_VERIFIED), f"of a file that is {status}"
        )
    if not is_seen_before(row):
        yield from _filled(row, _OF_CELLS_SEEN_BEFORE, "of a cell that was not seen before")
        if status not in _DUPLICATES:
            yield from _filled(row, _OF_DUPLICATES, "of a file that is not a duplicate")
    if status is Status.FAILED:
        yield from _filled(row, _FACTS, "of a file that failed")
        if row["reason"] not in _FAILURES:
            yield f"failed with the reason {row['reason']!r}, which is not a reason for that"
    else:
        yield from _fact_faults(row, rules)
        if status is not Status.UNCLASSIFIED:
            yield from _filled(row, ("reason",), f"of a file that is {status}")


def is_cell(row: Row) -> bool:
    """Whether the row is of a picture that was kept: classified or unclassified."""
    return row["status"] in _CELLS


def is_duplicate(row: Row) -> bool:
    """Whether the row is of a picture that was left out as a duplicate."""
    return row["status"] in _DUPLICATES


def is_seen_before(row: Row) -> bool:
    """Whether the row is of a cell that an earlier field shows, too, or perhaps."""
    return row["status"] == Status.UNCLASSIFIED and row["reason"] in SEEN_BEFORE


def _filled(row: Row, names: tuple[str, ...], why: str) -> Iterator[str]:
    for name in names:
        if row.get(name) is not None:
            yield f"{name} is {row[name]!r}, {why}: it should be empty"


def _is_hex(text: str | None, digits: int) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{digits}}}", text or "") is not None


def _name_faults(row: Row, rules: Rules) -> Iterator[str]:
    path, slide = row["path"], row["slide_id"]
    if not path or not slide:
        yield "path or slide_id is empty"
        return
    if path.startswith("/") or ".." in path.split("/"):
        yield "the path leads out of the scanned folder"
    if rules.slide_of is not None and rules.slide_of(path) != slide:
        yield f"slide_id is {slide!r}, by its path it is {rules.slide_of(path)!r}"
    if row["size_bytes"] is None or row["size_bytes"] < 0:
        yield f"size_bytes is {row['size_bytes']!r}"


def _box_faults(row: Row, rules: Rules) -> Iterator[str]:
    """A cell's box lies in its field; an image of a single cell has none."""
    places = ("x", "y", "finder_score", *OF_FIELD)
    if row["cell"] is None:
        yield from _filled(row, (*places, "red_cell_pixels", "cell_phash"), "of an image that is no field")
        return
    if row["cell"] == 0:
        yield from _filled(row, ("cell_phash",), "of a field without a cell")
    elif not _is_hex(row["cell_phash"], _HEX_DIGITS["phash"]) and not rules.pseudonymised:
        yield f"cell_phash is {row['cell_phash']!r}, not {_HEX_DIGITS['phash']} hexadecimal digits"
    if any(row[name] is None for name in (*places, "width", "height")) or row["cell"] < 0:
        yield f"it is cell {row['cell']} of a field, but its box or score is incomplete"
        return
    outside = row["x"] + row["width"] > row["field_width"] or row["y"] + row["height"] > row["field_height"]
    if outside or min(row["x"], row["y"]) < 0 or min(row["width"], row["height"]) < 1:
        yield "its box is not inside its field"
    scale = row["red_cell_pixels"]
    if min(row["red_cells"], row["platelets"]) < 0 or (scale is not None and scale <= 0):
        yield "its field has fewer than no cells, or red cells without a size"
    if scale is None and row["status"] == Status.CLASSIFIED:
        yield "it is classified, but nothing tells the scale of its field"


def _fact_faults(row: Row, rules: Rules) -> Iterator[str]:
    needed = tuple(name for name in _FACTS if not (rules.pseudonymised and name in _LEFT_OUT_OF_SHARED))
    empty = [name for name in needed if row[name] is None]
    if empty:
        yield f"{', '.join(empty)} should not be empty"
        return
    for name, digits in _HEX_DIGITS.items():
        if name in needed and not _is_hex(row[name], digits):
            yield f"{name} is {row[name]!r}, not {digits} hexadecimal digits"
    field_width, field_height = row["field_width"], row["field_height"]
    width, height = (row["width"], row["height"]) if row["cell"] is None else (field_width, field_height)
    if width is None or height is None:
        return  # told with the box
    if min(width, height) < DecodeLimits().min_side or (rules.max_pixels and width * height > rules.max_pixels):
        yield f"the size {width}x{height} is outside the limits of the run"
    if row["size_bytes"] == 0:
        yield "size_bytes is 0, but it was decoded"
    if not (0 <= row["brightness"] <= 255 and row["contrast"] >= 0 and row["sharpness"] >= 0):
        yield "brightness, contrast or sharpness is out of range"


def _cell_faults(row: Row, rules: Rules) -> Iterator[str]:
    shares = tuple(row[name] for name in rules.probabilities)
    empty = [name for name in ("confidence", "outlier_score", "review") if row[name] is None]
    if empty or None in shares:
        yield f"{', '.join(empty) or 'a probability'} should not be empty"
        return
    if not any(map(math.isnan, shares)):
        yield from _share_faults(row, shares)
    yield from _label_faults(row, shares, rules.classes)
    if rules.thresholds is not None and row["contrast"] is not None and row["brightness"] is not None:
        yield from _decision_faults(row, shares, rules.thresholds, rules.classes)
    if rules.thresholds is not None:
        yield from _group_faults(row, shares, rules.thresholds, rules.classes)
    yield from _review_faults(row, rules)
    yield from _verified_faults(row, rules.classes)


def _share_faults(row: Row, shares: tuple[float, ...]) -> Iterator[str]:
    if any(not 0 <= share <= 1 for share in shares):
        yield "a probability is not in 0-1"
    elif abs(sum(shares) - 1) > _SUM_TOLERANCE:
        yield f"the probabilities add up to {sum(shares):.6f}"
    if row["confidence"] != max(shares):
        yield f"confidence is {row['confidence']}, the top probability is {max(shares)}"


def _label_faults(row: Row, shares: tuple[float, ...], classes: ClassList) -> Iterator[str]:
    if row["status"] == Status.UNCLASSIFIED:
        if row["label"] is not None:
            yield f"label is {row['label']!r}, but the cell is unclassified"
    elif row["label"] not in classes.names:
        yield f"label is {row['label']!r}, which is not a class"
    elif shares[classes.names.index(row["label"])] != max(shares):
        top = classes.names[shares.index(max(shares))]
        yield f"label is {row['label']!r}, the most probable class is {top!r}"


def _decision_faults(row: Row, shares: tuple[float, ...], thresholds: Thresholds, classes: ClassList) -> Iterator[str]:
    """The decision is made again; where it differs, rounding may be why, so both neighbours are tried as well."""
    said = (row["status"], row["reason"])
    quality = Quality(row["brightness"], row["contrast"], 0.0)

    def decision(confidence: float, score: float, contrast: float) -> tuple[str, str | None]:
        facts = ImageFacts("", b"", 0, 0, replace(quality, contrast=contrast), b"")
        # `decide` takes the confidence for the largest share; one more share holds it when it is an edge of rounding.
        top = shares.index(max(shares))
        moved = tuple(confidence if i == top else share for i, share in enumerate(shares))
        decided: Prediction = decide(RawPrediction(_NO_FILE, facts, moved, score), thresholds, classes)
        return decided.status.value, decided.reason.value if decided.reason else None

    if said in _SEEN_BY_THE_FINDER:
        return  # follows from the pixels, which nobody has here
    first = decision(row["confidence"], row["outlier_score"], row["contrast"])
    if first == said:
        return
    edges = [(row[name] - half, row[name] + half) for name, half in _ROUNDED.items()]
    for confidence, score, contrast in itertools.product(*edges):
        if decision(confidence, score, contrast) == said:
            return
    yield f"status and reason are {_told(said)}, by its numbers and the run's thresholds {_told(first)}"


def _group_faults(row: Row, shares: tuple[float, ...], thresholds: Thresholds, classes: ClassList) -> Iterator[str]:
    """The group is looked for again; the sum of rounded shares may lie on the other side of the threshold."""
    said = (row["group"], row["group_confidence"])
    unsure = row["reason"] == Reason.LOW_CONFIDENCE and not any(map(math.isnan, shares))
    blur = len(shares) * _ROUNDED["confidence"]
    around = [thresholds.confidence + shift for shift in (0, blur, -blur)] if unsure else []
    found = [sure_group(shares, least, classes) or (None, None) for least in around] or [(None, None)]
    for name, share in found:
        if name == said[0] and (share == said[1] or _near(share, said[1], 2 * blur)):
            return
    yield f"group is {said[0]} ({said[1]}), by its numbers and the run's thresholds {found[0][0]} ({found[0][1]})"


def _near(one: float | None, other: float | None, most: float) -> bool:
    return one is not None and other is not None and abs(one - other) <= most


def _told(decision: tuple[str, str | None]) -> str:
    return f"{decision[0]} ({decision[1]})" if decision[1] else decision[0]


def _review_faults(row: Row, rules: Rules) -> Iterator[str]:
    counted = row["reason"] not in NOT_COUNTED
    reasons = [row["reason"]] if row["reason"] and counted else []
    faults = [] if row["cell"] is None else list(faults_in(row["review_reason"]))
    matched = [REVIEW_CROSS_SLIDE] if row["path"] in rules.partners else []
    expected = "; ".join([*reasons, *faults, *matched]) or None
    asked = bool(reasons or matched or (faults and counted))
    if (row["review"], row["review_reason"]) != (asked, expected):
        yield (
            f"review is {row['review']} ({row['review_reason']!r}), by its reason and the run record it is "
            f"{asked} ({expected!r})"
        )


def _verified_faults(row: Row, classes: ClassList) -> Iterator[str]:
    filled = [name for name in _VERIFIED if row.get(name) is not None]
    if filled and len(filled) < len(_VERIFIED):
        yield f"of {', '.join(_VERIFIED)} only {', '.join(filled)} is filled in"
    if row.get("verified_label") not in {None, *classes.verified_labels}:
        yield f"verified_label is {row['verified_label']!r}, which is not a label"
