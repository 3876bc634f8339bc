"""The published tables: every column is declared here once, with its type, its meaning and where its value is from."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from typing import Generic, TypeVar

import pyarrow as pa

from bloodcell_batch.cell_classes import NOT_A_CELL, OTHER, ClassList
from bloodcell_batch.differential.not_excluded import not_excluded
from bloodcell_batch.files.names import printable
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import CellBox, ImageFacts, Outcome, Prediction

SCHEMA_VERSION = "5"
REVIEW_CROSS_SLIDE = "cross_slide_duplicate"
_DIGITS = 6  # beyond the sixth decimal, probabilities differ between processors

Row = TypeVar("Row")
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column: name, Arrow type, how to get the value from a row, and what it means."""

    name: str
    type: pa.DataType
    value: Callable[[Row], Value]
    meaning: str


def _facts(get: Callable[[ImageFacts], Value]) -> Callable[[Outcome], Value]:
    return lambda outcome: get(outcome.facts) if outcome.facts else None


def _cell(
    get: Callable[[CellBox], Value], otherwise: Callable[[ImageFacts], Value] = lambda _: None
) -> Callable[[Outcome], Value]:
    """A value of the cell's place in a field; `otherwise` of the image, where it shows a single cell."""

    def value(outcome: Outcome) -> Value:
        if outcome.cell is not None:
            return get(outcome.cell)
        return otherwise(outcome.facts) if outcome.facts else None

    return value


def _field(get: Callable[[ImageFacts], Value]) -> Callable[[Outcome], Value]:
    return lambda outcome: get(outcome.facts) if outcome.facts and outcome.cell is not None else None


def _why_review(row: Outcome) -> Value:
    reasons = row.review_reasons if isinstance(row, Prediction) else ()
    return "; ".join(reasons or (row.facts.faults if row.facts and row.cell else ())) or None


def _predicted(get: Callable[[Prediction], Value]) -> Callable[[Outcome], Value]:
    return lambda outcome: get(outcome) if isinstance(outcome, Prediction) else None


def _probability(index: int) -> Callable[[Outcome], Value]:
    return _predicted(lambda cell: round(cell.probabilities[index], _DIGITS))


_TEXT, _FLOAT, _INT, _BOOL = pa.string(), pa.float64(), pa.int64(), pa.bool_()

_BEFORE_CLASSES: tuple[Column[Outcome], ...] = (
    Column("path", _TEXT, lambda o: printable(o.file.path), "file, relative to the scanned folder"),
    Column("slide_id", _TEXT, lambda o: printable(o.file.slide_id), "slide"),
    Column("status", _TEXT, lambda o: o.status.value, "what became of the file"),
    Column("reason", _TEXT, lambda o: o.reason.value if o.reason else None, "why it failed or stayed unclassified"),
    Column("label", _TEXT, _predicted(lambda c: c.label or None), "preclassification; empty unless classified"),
    Column("confidence", _FLOAT, _predicted(lambda c: round(c.confidence, _DIGITS)), "calibrated top probability"),
    Column("group", _TEXT, _predicted(lambda c: c.group or None), "what it surely is where no class is sure"),
    Column(
        "group_confidence",
        _FLOAT,
        _predicted(lambda c: None if c.group_confidence is None else round(c.group_confidence, _DIGITS)),
        "calibrated probability of the group",
    ),
    Column("review", _BOOL, _predicted(lambda c: bool(c.review_reasons)), "a person should look at this cell"),
    Column("review_reason", _TEXT, _why_review, "why, and what is wrong with its field"),
)
_AFTER_CLASSES: tuple[Column[Outcome], ...] = (
    Column("outlier_score", _FLOAT, _predicted(lambda c: round(c.outlier_score, 4)), "distance from training cells"),
    Column(
        "duplicate_of",
        _TEXT,
        lambda o: printable(o.duplicate_of) or None,
        "path of the kept picture, or of the earlier field that shows the cell",
    ),
    Column("duplicate_of_cell", _INT, _predicted(lambda c: c.duplicate_of_cell), "number of the cell in that field"),
    Column("duplicate_distance", _INT, lambda o: o.duplicate_distance, "Hamming distance, bits of 256"),
    Column("sha256", _TEXT, _facts(lambda f: f.sha256), "of the file's bytes"),
    Column("phash", _TEXT, _facts(lambda f: f.phash.hex()), "256-bit perceptual hash"),
    Column("width", _INT, _cell(lambda c: c.width, lambda f: f.width), "pixels; of the cell in a field"),
    Column("height", _INT, _cell(lambda c: c.height, lambda f: f.height), "pixels; of the cell in a field"),
    Column("size_bytes", _INT, lambda o: o.file.size_bytes, "bytes"),
    Column("brightness", _FLOAT, _facts(lambda f: f.quality.brightness), "mean grey level, 0-255"),
    Column("contrast", _FLOAT, _facts(lambda f: f.quality.contrast), "sd of the grey levels"),
    Column("sharpness", _FLOAT, _facts(lambda f: f.quality.sharpness), "variance of the Laplacian, 64 px"),
    Column("pixel_hash", _TEXT, _facts(lambda f: f.pixel_digest.hex()), "of the decoded pixels: equal in exact copies"),
    Column("cell", _INT, _cell(lambda c: c.number), "number of the cell in its field; 0 for a field without one"),
    Column("x", _INT, _cell(lambda c: c.x), "left border of the cell in its field, pixels"),
    Column("y", _INT, _cell(lambda c: c.y), "upper border of the cell in its field, pixels"),
    Column("cell_phash", _TEXT, _cell(lambda c: c.phash.hex() or None), "perceptual hash of the cell and its rim"),
    Column("finder_score", _FLOAT, _cell(lambda c: round(c.score, 4)), "how sure the finder is of the cell, 0-1"),
    Column("field_width", _INT, _field(lambda f: f.width), "pixels of the field that the cell is in"),
    Column("field_height", _INT, _field(lambda f: f.height), "pixels of the field that the cell is in"),
    Column("red_cell_pixels", _FLOAT, _field(lambda f: f.red_cell_pixels), "diameter of a red cell there, pixels"),
    Column("red_cells", _INT, _field(lambda f: f.red_cells), "red cells found in the field"),
    Column("platelets", _INT, _field(lambda f: f.platelets), "platelets found in the field"),
)


@cache
def image_columns(classes: ClassList) -> tuple[Column[Outcome], ...]:
    """The columns of the image table of a run that reports `classes`."""
    probabilities = (
        Column(f"p_{name}", _FLOAT, _probability(index), "calibrated probability of the class")
        for index, name in enumerate(classes.names)
    )
    return (*_BEFORE_CLASSES, *probabilities, *_AFTER_CLASSES)


def _share(name: str, field: str) -> Callable[[SlideDifferential], Value]:
    return lambda slide: _rounded(getattr(slide.shares[name], field))


def _nrbc(field: str) -> Callable[[SlideDifferential], Value]:
    return lambda slide: _rounded(getattr(slide, field))


def _rounded(number: float | None) -> Value:
    return None if number is None else round(number, 4)


def _leukocyte_columns(name: str) -> tuple[Column[SlideDifferential], ...]:
    return (
        Column(f"{name}_count", _INT, lambda s: s.shares[name].count, "cells"),
        Column(f"{name}_percent", _FLOAT, _share(name, "percent"), "of wbc_counted; empty where withheld"),
        Column(
            f"{name}_percent_low",
            _FLOAT,
            _share(name, "percent_low"),
            "lower 95 % limit, whatever the unclassified cells are",
        ),
        Column(
            f"{name}_percent_high",
            _FLOAT,
            _share(name, "percent_high"),
            "upper 95 % limit, whatever the unclassified cells are",
        ),
    )


_SLIDE_COLUMNS: tuple[Column[SlideDifferential], ...] = (
    Column("slide_id", _TEXT, lambda s: printable(s.slide_id), "slide"),
    Column("found", _INT, lambda s: s.found, "image files"),
    Column("fields", _INT, lambda s: s.fields, "image files that are fields of view"),
    Column("classified", _INT, lambda s: s.classified, "cells with a label, a verified one too"),
    Column("duplicates", _INT, lambda s: s.duplicates, "exact and near duplicates left out"),
    Column("failed", _INT, lambda s: s.failed, "files that could not be decoded"),
    Column("unclassified", _INT, lambda s: s.unclassified, "cells left for a person"),
    Column("cut_off", _INT, lambda s: s.cut_off, "cells at the border of a field; not counted anywhere else"),
    Column("seen_before", _INT, lambda s: s.seen_before, "cells that an earlier field shows, too; as those"),
    Column("red_cells", _INT, lambda s: s.red_cells, "red cells found in the fields"),
    Column("platelets", _INT, lambda s: s.platelets, "platelets found in the fields; no class of the differential"),
    Column("wbc_counted", _INT, lambda s: s.wbc_counted, "leukocytes: the denominator of the percentages"),
    Column("withheld", _TEXT, lambda s: s.withheld.value if s.withheld else None, "why percentages are empty"),
)
_NRBC_COLUMNS: tuple[Column[SlideDifferential], ...] = (
    Column("nrbc_per_100_wbc", _FLOAT, _nrbc("nrbc_per_100_wbc"), "nucleated red cells per 100 leukocytes"),
    Column("nrbc_per_100_wbc_low", _FLOAT, _nrbc("nrbc_per_100_wbc_low"), "lower 95 % limit, as for the classes"),
    Column("nrbc_per_100_wbc_high", _FLOAT, _nrbc("nrbc_per_100_wbc_high"), "upper 95 % limit; empty for no limit"),
)
_PLATELET_COLUMNS: tuple[Column[SlideDifferential], ...] = (
    Column("platelet_images", _INT, lambda s: s.platelet_images, "images of platelets; no concentration"),
)
_LAST_SLIDE_COLUMNS: tuple[Column[SlideDifferential], ...] = (
    Column(
        "not_excluded",
        _TEXT,
        lambda s: "; ".join(not_excluded(s)) or None,
        "classes of which no cell was seen, with the upper 95 % limit, and blasts where no class stands for them",
    ),
    Column("adequacy", _TEXT, lambda s: s.adequacy, "band of wbc_counted; withheld: too many cells are unclassified"),
    Column("alerts", _TEXT, lambda s: printable("; ".join(s.alerts)) or None, "what a person should check"),
)


@cache
def slide_columns(classes: ClassList) -> tuple[Column[SlideDifferential], ...]:
    """The columns of the slide table of a run that reports `classes`: what none of them can be has no column."""
    return (
        *_SLIDE_COLUMNS,
        *(_group_column(group.name) for group in classes.groups),
        *(column for name in classes.leukocytes for column in _leukocyte_columns(name)),
        *(_count_column(name, "nucleated red cells") for name in classes.nrbc),
        *(_NRBC_COLUMNS if classes.nrbc else ()),
        *(_PLATELET_COLUMNS if classes.platelets else ()),
        *(_count_column(name, "in no percentage") for name in classes.outside),
        _count_column(OTHER, "verified as a cell of no class: in no percentage"),
        _count_column(NOT_A_CELL, "verified as no cell: in no percentage"),
        *_LAST_SLIDE_COLUMNS,
    )


def _count_column(name: str, meaning: str) -> Column[SlideDifferential]:
    return Column(f"{name}_count", _INT, lambda slide: slide.outside_counts[name], meaning)


def _group_column(name: str) -> Column[SlideDifferential]:
    meaning = f"unclassified cells that are surely {name}, whatever kind: in no percentage"
    return Column(f"{name}_unclassified", _INT, lambda slide: slide.group_counts.get(name, 0), meaning)


def schema_of(columns: Sequence[Column[Row]]) -> pa.Schema:
    """The Arrow schema of a column table, with the schema version in its metadata."""
    fields = [pa.field(column.name, column.type, metadata={"meaning": column.meaning}) for column in columns]
    return pa.schema(fields, metadata={"bloodcell_batch.schema_version": SCHEMA_VERSION})


@cache
def image_schema(classes: ClassList) -> pa.Schema:
    """The schema of `image_columns`."""
    return schema_of(image_columns(classes))


@cache
def slide_schema(classes: ClassList) -> pa.Schema:
    """The schema of `slide_columns`."""
    return schema_of(slide_columns(classes))


def slide_batch(slides: Sequence[SlideDifferential], classes: ClassList) -> pa.RecordBatch:
    """The slide table of a run that reports `classes`."""
    return to_batch(slides, slide_columns(classes), slide_schema(classes))


VERIFIED_FIELDS: tuple[pa.Field, ...] = (
    pa.field("verified_label", _TEXT, metadata={"meaning": "what a person says it is; counts instead of label"}),
    pa.field("verified_by", _TEXT, metadata={"meaning": "who"}),
    pa.field("verified_at", _TEXT, metadata={"meaning": "when the verification was imported, UTC"}),
    pa.field("remark", _TEXT, metadata={"meaning": "what the person remarked, also without a label"}),
)


def reviewed_schema(classes: ClassList) -> pa.Schema:
    """The image table after a review: every column of the original, unchanged, and who verified what."""
    images = image_schema(classes)
    return pa.schema([*images, *VERIFIED_FIELDS], metadata=images.metadata)


def to_batch(rows: Sequence[Row], columns: Sequence[Column[Row]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as an Arrow record batch of exactly `schema`."""
    arrays = [pa.array([column.value(row) for row in rows], type=column.type) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def import_arrow_without_pandas() -> None:
    """Keep Arrow from importing pandas, which it looks for once, before it converts the first list.

    For programs, which need no pandas: it takes 0.3 s and 50 MB of every run.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(f"no {fullname} for now", name=fullname)


def mark_for_review(batch: pa.RecordBatch, partners: Mapping[str, str]) -> pa.RecordBatch:
    """Flag the rows whose path is in `partners`, keeping what their review reason says already."""
    paths = batch.column("path").to_pylist()
    if not partners or not any(path in partners for path in paths):
        return batch
    rows = zip(paths, batch.column("review").to_pylist(), batch.column("review_reason").to_pylist(), strict=True)
    marked = [
        (True, f"{reason}; {REVIEW_CROSS_SLIDE}" if reason else REVIEW_CROSS_SLIDE)
        if path in partners
        else (old, reason)
        for path, old, reason in rows
    ]
    flags, reasons = zip(*marked, strict=True)
    for name, values in (("review", pa.array(flags, _BOOL)), ("review_reason", pa.array(reasons, _TEXT))):
        batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), values)
    return batch
