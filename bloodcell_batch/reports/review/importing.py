"""`review import`: a filled-in review becomes new results beside the old ones, or nothing changes at all."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast, get_args

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import VERIFIED_LABELS
from bloodcell_batch.config.results import ReviewImportConfig, ReviewScope
from bloodcell_batch.errors import InputError
from bloodcell_batch.files.publishing import check_new
from bloodcell_batch.reports.review.export import COLUMNS, SHEET, cells_for_review
from bloodcell_batch.results.file_names import result_files
from bloodcell_batch.results.finished import ResultRow, Results, load_results
from bloodcell_batch.results.pseudonyms import load_pseudonyms
from bloodcell_batch.results.record_entries import AgreementEntry, ChangeEntry, ReviewEntry
from bloodcell_batch.results.rewrite import write_reviewed
from bloodcell_batch.results.table_reading import read_records
from bloodcell_batch.statistics.agreement import Agreement, agreement

_NEEDED = ("results_id", "cells", "path", "slide_id", "sha256", "verified_label", "verified_by")
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Verification:
    """What a person said of one cell."""

    label: str
    by: str


@dataclass(frozen=True, slots=True)
class ImportedReview:
    """The outcome of an import: agreement over the cells that the program had classified, and the rest in numbers."""

    agreement: Agreement
    verified: int
    changed: int
    resolved: int
    open: int
    version: int


@dataclass(frozen=True, slots=True)
class ReviewedFile:
    """The name and the SHA-256 of a review file, and the name of the table that was reviewed."""

    name: str
    sha256: str
    results: str


def import_review(table: Path, review: Path, out: Path, config: ReviewImportConfig) -> ImportedReview:
    """Check the whole review, then write the new results to `out`; the old ones are never touched.

    Raises:
        InputError: the review doesn't fit the results, or is unfinished; the text names the first line at fault.
        OutputError: the new results exist already or can't be written.
    """
    check_new(*result_files(out), overwrite=config.overwrite)
    if out.resolve() == table.resolve():
        raise InputError(f"{out} is the table that is reviewed.", hint="Choose another --out: the original is kept.")
    original = load_results(table)
    results = original.pseudonymised(load_pseudonyms(config.pseudonymize))
    digest = _digest(review)
    for earlier in results.reviews:
        if earlier.file_sha256 == digest:
            when = f"on {earlier.imported}"
            raise InputError(f"{review} was imported into {table} already, {when}.", hint="There is nothing to do.")
    verified, scope = _checked(results, review, config)
    rows = tuple(
        _after(row, shown, verified.get(shown.path)) for row, shown in zip(original.rows, results.rows, strict=True)
    )
    outcome = _outcome(results, verified, scope)
    file = ReviewedFile(review.name, digest, table.name)
    write_reviewed(original, rows, _entry(results, rows, verified, outcome, scope, file), out)
    return outcome


def _checked(results: Results, review: Path, config: ReviewImportConfig) -> tuple[dict[str, Verification], ReviewScope]:
    records = read_records(review, SHEET if review.suffix.lower() == ".xlsx" else "")
    if not records:
        raise InputError(f"{review} has no rows.", hint="Fill in the file that `review export` wrote.")
    missing = [name for name in _NEEDED if name not in records[0]]
    if missing:
        hint = f"Keep the columns that `review export` wrote: {', '.join(COLUMNS)}."
        raise InputError(f"{review} has no column {missing[0]!r}.", hint=hint)
    by_path = {row.path: row for row in results.rows}
    by_digest = {row.digest: row for row in results.rows if row.digest}
    found: dict[str, Verification] = {}
    for line, record in enumerate(records, start=2):
        where = f"{review}, row {line}"
        _check_identity(record, results, by_path, by_digest, where)
        verification = _verification(record, config, where)
        if record["path"] in found:
            raise InputError(f"{where}: {record['path']} is there twice.", hint="Delete one of the two rows.")
        found[record["path"]] = verification
    scope = _scope(records[0]["cells"], review)
    if not config.partial:
        _check_complete(results, found, scope, review)
    return {path: verification for path, verification in found.items() if verification.label}, scope


def _check_identity(
    record: Mapping[str, str],
    results: Results,
    by_path: Mapping[str, ResultRow],
    by_digest: Mapping[str, ResultRow],
    where: str,
) -> None:
    if record["results_id"] != results.results_id:
        given = record["results_id"] or "nothing"
        hint = "Import it into the results that it was exported from. If it was exported again, use the new file."
        raise InputError(
            f"{where}: this review is of the run {given}, {results.path} is {results.results_id}.", hint=hint
        )
    row, mangled = (
        by_path.get(record["path"]),
        "A spreadsheet changed it. Use the original file, or import the column as text.",
    )
    if row is None or not row.is_cell:
        known = by_digest.get(record["sha256"])
        if known is not None:
            raise InputError(f"{where}: the path {record['path']!r} should be {known.path!r}.", hint=mangled)
        hint = "Use the review that was exported from these results (with the same key, if it has pseudonyms)."
        raise InputError(f"{where}: there is no cell {record['path']!r} in {results.path}.", hint=hint)
    for name, expected in (("slide_id", row.slide_id), ("sha256", row.digest)):
        if record[name] != expected:
            raise InputError(f"{where}: {name} is {record[name]!r}, the results say {expected!r}.", hint=mangled)


def _verification(record: Mapping[str, str], config: ReviewImportConfig, where: str) -> Verification:
    label, by = record["verified_label"].strip(), record["verified_by"].strip()
    if label and label not in VERIFIED_LABELS:
        raise InputError(f"{where}: {label!r} is not a label.", hint=f"Use one of: {', '.join(VERIFIED_LABELS)}.")
    if by and not label:
        raise InputError(f"{where}: verified_by is {by!r}, but there is no verified_label.", hint="Fill in both.")
    if label and not by:
        by = config.by or ""
        if not by:
            hint = "Fill in verified_by, or name the person for all such rows with --by."
            raise InputError(f"{where}: the label {label!r} has no verified_by.", hint=hint)
    return Verification(label, by)


def _scope(text: str, review: Path) -> ReviewScope:
    if text not in get_args(ReviewScope):
        raise InputError(
            f"{review}: {text!r} in the column cells was not written by `review export`.", hint="Restore it."
        )
    return cast("ReviewScope", text)


def _check_complete(results: Results, found: Mapping[str, Verification], scope: ReviewScope, review: Path) -> None:
    expected = [row.path for row in cells_for_review(results, scope)]
    hint = "Finish the review, or add --partial to import what is there; the rest keeps its preclassification."
    for what, paths in (
        ("have no verified_label", [path for path in expected if path in found and not found[path].label]),
        ("are missing", [path for path in expected if path not in found]),
    ):
        if paths:
            some = ", ".join(paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
            raise InputError(f"{review}: {len(paths)} of {len(expected)} cells {what}: {some}.", hint=hint)


def _after(row: ResultRow, shown: ResultRow, verification: Verification | None) -> ResultRow:
    if verification is None or (verification.label, verification.by) == (shown.verified_label, shown.verified_by):
        return row  # as an earlier review left it, with the name of that person and not the pseudonym
    return replace(row, verified_label=verification.label, verified_by=verification.by)


def _outcome(results: Results, verified: Mapping[str, Verification], scope: ReviewScope) -> ImportedReview:
    rows = [(row, verified[row.path]) for row in results.rows if row.path in verified]
    classified = [(row.label, said.label) for row, said in rows if row.label]
    return ImportedReview(
        agreement=agreement(classified),
        verified=len(rows),
        changed=sum(before != after for before, after in classified),
        resolved=len(rows) - len(classified),
        open=len(cells_for_review(results, scope)) - len(rows),
        version=len(results.reviews) + 1,
    )


def _entry(
    results: Results,
    after: tuple[ResultRow, ...],
    verified: Mapping[str, Verification],
    outcome: ImportedReview,
    scope: ReviewScope,
    file: ReviewedFile,
) -> ReviewEntry:
    """What the run record says about this review."""
    return ReviewEntry(
        imported=datetime.now(UTC).isoformat(timespec="seconds"),
        program=__version__,
        version=outcome.version,
        results_id=results.results_id,
        scope=scope,
        cells=outcome.verified,
        cells_left_open=outcome.open,
        verified_by=sorted({said.by for said in verified.values()}),
        agreement=AgreementEntry.model_validate(outcome.agreement.as_dict()),
        changes=[
            ChangeEntry(
                path=new.file,
                preclassification=old.label or None,
                before=old.verified_label or old.label or None,
                verified_label=new.verified_label,
                verified_by=new.verified_by,
            )
            for old, new in zip(results.rows, after, strict=True)
            if new.verified_label and new.verified_label != (old.verified_label or old.label)
        ],
        file=file.name,
        file_sha256=file.sha256,
        results=file.results,
    )


def _digest(review: Path) -> str:
    try:
        return hashlib.sha256(review.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"Can't read the review {review}: {error.strerror}.", hint="Check the name.") from error


def summary(found: ImportedReview, out: Path) -> str:
    """The outcome as text for the terminal."""
    figures = found.agreement
    kappa = "-" if figures.kappa is None else f"{figures.kappa:.3f}"
    lines = [
        f"{out}: review {found.version}, {found.verified} cells verified, {found.open} still open",
        f"of {figures.cells} preclassified cells {figures.agreed} were confirmed and {found.changed} changed",
        f"Cohen's kappa {kappa} (over the cells of this review, which are not a random sample)",
        f"{found.resolved} unclassified cells were given a name",
        f"{'class':<14}{'program':>9}{'person':>9}{'both':>9}",
        *(f"{name:<14}{row.preclassified:>9}{row.verified:>9}{row.both:>9}" for name, row in figures.per_class.items()),
    ]
    return "\n".join(lines) + "\n"
