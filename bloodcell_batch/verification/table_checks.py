"""Checks of the image table as a whole: one row per path, duplicates that name kept pictures, no duplicate missed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from bloodcell_batch.differential.slide import SlideCounts, faults_in
from bloodcell_batch.fields.same_cell import POSSIBLY_SAME_CELL, SAME_CELL
from bloodcell_batch.images.hamming import as_words, pairs_within
from bloodcell_batch.records import BLANK_BRIGHTNESS, BLANK_CONTRAST, Reason, Status
from bloodcell_batch.results.run_record import FAILURES_LISTED, RunRecord
from bloodcell_batch.verification.findings import Findings
from bloodcell_batch.verification.row_checks import (
    OF_FIELD,
    Row,
    Rules,
    is_cell,
    is_duplicate,
    is_seen_before,
    row_faults,
)

_ROWS_AT_A_TIME = 8192
_KEPT = ("slide_id", "sha256", "phash", "width", "height", "brightness", "contrast")
# The run decided on the contrast before it was rounded to two digits.
_SURELY_BLANK, _SURELY_NOT_BLANK = BLANK_CONTRAST - 0.005, BLANK_CONTRAST + 0.005


@dataclass(slots=True)
class Seen:
    """What the rows say, for all further checks. `files` has size and SHA-256 by path, `failed` path and reason of the
    first, `by_status` the statuses as the run left them; `slides`, what their rows come to, follow a review. In fields,
    `further_cells` are the rows beyond the first of each, `cells` has slide and hash of each by path and number, and
    `kept` has the image once; `last_field` is what the last row said of its field."""

    rows: int = 0
    position: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Row] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    slides: dict[str, SlideCounts] = field(default_factory=dict)
    by_status: Counter[Status] = field(default_factory=Counter)
    cells: dict[tuple[str, int], tuple[str, str | None]] = field(default_factory=dict)
    further_cells: int = 0
    last_field: Row = field(default_factory=dict)


def check_table(images: pa.Table, rules: Rules, record: RunRecord, findings: Findings) -> Seen:
    """Check every row, then the rows against each other."""
    seen = Seen()
    for number, row in _numbered(images):
        where = f"row {number}, {row['path'] or 'without a path'}"
        faults = list(row_faults(row, rules))
        faults += _place_faults(row, number, seen)
        for fault in faults:
            findings.add(where, fault)
        _remember(seen, number, row)
    dedup = str(record.config.get("dedup", ""))
    distance = record.config.get("dedup_distance")
    limit = distance if isinstance(distance, int) and 0 <= distance <= 256 else None
    for number, row in _numbered(images):
        faults = []
        if is_duplicate(row):
            faults += _duplicate_faults(row, number, seen, limit, ordered=not rules.pseudonymised)
        elif is_seen_before(row):
            faults += _seen_before_faults(row, number, seen, ordered=not rules.pseudonymised)
        for fault in faults:
            findings.add(f"row {number}, {row['path']}", fault)
    _check_matches(seen, record, findings)
    if not rules.pseudonymised:
        _check_equal_files(seen, dedup, findings)
        if dedup == "near" and limit is not None:
            _check_near(seen, limit, record, findings)
    return seen


def _place_faults(row: Row, number: int, seen: Seen) -> Iterator[str]:
    """A path has one row, or the rows of a field's cells one after the other, numbered from 1."""
    first = seen.position.get(row["path"])
    if row["cell"] is None or row["cell"] <= 1:
        if first is not None:
            yield f"row {first} has this path, too"
    elif first is None or number - first != row["cell"] - 1:
        yield f"it is cell {row['cell']} of its field, but not the {row['cell']}. row with this path"
    elif seen.last_field != _field_of(row):
        yield "it says something else of its field than the row before"


def _numbered(images: pa.Table) -> Iterator[tuple[int, Row]]:
    """Rows with their number, from 2 as in a spreadsheet, where the header is row 1."""
    number = 1
    for batch in images.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _field_of(row: Row) -> Row:
    return {name: row[name] for name in (*OF_FIELD, "red_cell_pixels", "sha256")}


def _remember(seen: Seen, number: int, row: Row) -> None:
    path, slide = row["path"] or "", row["slide_id"] or ""
    seen.rows += 1
    seen.position.setdefault(path, number)
    seen.last_field = _field_of(row)
    seen.files[path] = (row["size_bytes"] or 0, row["sha256"] or "")
    try:
        status = Status(row["status"])
    except ValueError:
        return  # reported with the row
    seen.by_status[status] += 1
    cell = row["cell"]
    seen.further_cells += cell is not None and cell > 1
    if cell:
        seen.cells[path, cell] = slide, row["cell_phash"]
    label = ""
    if is_cell(row):
        size = {name: row[name] if cell is None else row[f"field_{name}"] for name in ("width", "height")}
        seen.kept.setdefault(path, {name: row[name] for name in _KEPT} | size)
        # A verified label counts in place of the program's, as in `review import`.
        label = row.get("verified_label") or row["label"] or ""
        status = Status.CLASSIFIED if label else Status.UNCLASSIFIED
    elif status is Status.FAILED and len(seen.failed) < FAILURES_LISTED:
        seen.failed.append((path, row["reason"] or ""))
    counts = seen.slides.setdefault(slide, SlideCounts())
    beside = (row["red_cells"] or 0, row["platelets"] or 0)
    faults = faults_in(row["review_reason"])
    counts.add(status, label, row["group"] or "", row["reason"], cell, beside, faults)


def _duplicate_faults(row: Row, number: int, seen: Seen, limit: int | None, *, ordered: bool) -> Iterator[str]:
    original = seen.kept.get(row["duplicate_of"] or "")
    if original is None:
        yield f"duplicate_of is {row['duplicate_of']!r}, which is not a picture that was kept"
        return
    if original["slide_id"] != row["slide_id"]:
        yield f"duplicate_of is a picture of the slide {original['slide_id']!r}"
    if ordered and seen.position[row["duplicate_of"]] > number and _pixels(original) <= _pixels(row):
        yield "duplicate_of is a picture that comes later and is no larger"
    distance, gap = row["duplicate_distance"], _gap(row["phash"], original["phash"])
    if distance is None or distance < 0 or (limit is not None and distance > limit):
        yield f"duplicate_distance is {distance}, outside 0-{limit}"
    elif row["status"] == Status.EXACT_DUPLICATE and distance != 0:
        yield f"duplicate_distance is {distance} for equal pixels"
    elif row["status"] == Status.NEAR_DUPLICATE and gap is not None and distance != gap:
        yield f"duplicate_distance is {distance}, the two hashes are {gap} bits apart"
    elif gap is not None and limit is not None and gap > limit:
        yield f"its hash is {gap} bits from that of duplicate_of, more than {limit}"


def _seen_before_faults(row: Row, number: int, seen: Seen, *, ordered: bool) -> Iterator[str]:
    """The cell that it is, or may be, is in an earlier field of its slide, and as near as the reason says."""
    field, cell, distance = row["duplicate_of"], row["duplicate_of_cell"], row["duplicate_distance"]
    original = seen.cells.get((field, cell))
    if original is None:
        yield f"duplicate_of is the cell {cell} of {field!r}, which is no cell of the table"
        return
    slide, phash = original
    if slide != row["slide_id"] or field == row["path"] or (ordered and seen.position[field] > number):
        yield f"duplicate_of is the cell {cell} of {field!r}, which is not in an earlier field of its slide"
    low, high = (-1, SAME_CELL) if row["reason"] == Reason.SEEN_BEFORE else (SAME_CELL, POSSIBLY_SAME_CELL)
    gap = _gap(row["cell_phash"], phash)
    if distance is None or not low < distance <= high:
        yield f"duplicate_distance is {distance}, of a cell that is {row['reason']} it should be {low + 1}-{high}"
    elif gap is not None and distance != gap:
        yield f"duplicate_distance is {distance}, the hashes of the two cells are {gap} bits apart"


def _gap(one: str | None, other: str | None) -> int | None:
    try:
        return (int(one or "x", 16) ^ int(other or "x", 16)).bit_count()
    except ValueError:
        return None


def _check_equal_files(seen: Seen, dedup: str, findings: Findings) -> None:
    if dedup not in {"exact", "near"}:
        return
    first: dict[tuple[str, str], str] = {}
    for path, row in seen.kept.items():
        if row["sha256"] and _contrast(row) >= _SURELY_NOT_BLANK and not _is_black(row):
            earlier = first.setdefault((row["slide_id"], row["sha256"]), path)
            if earlier != path:
                findings.add(path, f"has the same bytes as {earlier}, but is not a duplicate of it")


def _check_near(seen: Seen, distance: int, record: RunRecord, findings: Findings) -> None:
    """Compare the hashes of all kept pictures again: none of one slide may be near, those of two must be recorded."""
    hashed = [path for path, row in seen.kept.items() if _is_hash(row["phash"]) and _contrast(row) >= _SURELY_BLANK]
    words = as_words(b"".join(bytes.fromhex(seen.kept[path]["phash"]) for path in hashed))
    recorded = {frozenset(match.paths) for match in record.cross_slide_duplicates}
    for i, j, gap in pairs_within(words, distance):
        one, other = seen.kept[hashed[i]], seen.kept[hashed[j]]
        if min(_contrast(one), _contrast(other)) < _SURELY_NOT_BLANK or _is_black(one) or _is_black(other):
            continue
        if one["slide_id"] == other["slide_id"]:
            findings.add(hashed[j], f"is {gap} bits from {hashed[i]} in the same slide, but is not a duplicate of it")
        elif frozenset((hashed[i], hashed[j])) not in recorded:
            findings.add(hashed[j], f"is the same picture as {hashed[i]} in another slide; the run record doesn't know")


def _pixels(row: Row) -> int:
    return (row["width"] or 0) * (row["height"] or 0)


def _is_black(row: Row) -> bool:
    return row["brightness"] is not None and row["brightness"] < BLANK_BRIGHTNESS


def _check_matches(seen: Seen, record: RunRecord, findings: Findings) -> None:
    for match in record.cross_slide_duplicates:
        one, other = (seen.kept.get(path) for path in match.paths)
        named = " and ".join(match.paths)
        if one is None or other is None or one["slide_id"] == other["slide_id"]:
            findings.add("run record", f"cross_slide_duplicates: {named} are not kept pictures of two slides")
        elif _gap(one["phash"], other["phash"]) not in {match.distance, None}:
            findings.add("run record", f"cross_slide_duplicates: {named} are not {match.distance} bits apart")


def _contrast(row: Row) -> float:
    return row["contrast"] or 0.0


def _is_hash(text: str | None) -> bool:
    try:
        return len(bytes.fromhex(text or "")) == 32
    except ValueError:
        return False
