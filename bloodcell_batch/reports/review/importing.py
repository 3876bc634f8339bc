"""`review import`: a filled-in review becomes new results beside the old ones, or nothing changes at all."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bloodcell_batch import __version__
from bloodcell_batch.config.results import ReviewImportConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import counted
from bloodcell_batch.reports.review.agreement_text import class_lines, kappa_text, share_text
from bloodcell_batch.reports.review.reading import FilledReview, Verification, read_review
from bloodcell_batch.reports.review.selection import Selection
from bloodcell_batch.results.file_names import output_paths
from bloodcell_batch.results.finished import ResultRow, Results, load_results
from bloodcell_batch.results.irreplaceable import check_results
from bloodcell_batch.results.pseudonyms import load_pseudonyms
from bloodcell_batch.results.record_entries import (
    AgreementEntry,
    ChangeEntry,
    ClassAgreementEntry,
    ReadersEntry,
    ReviewEntry,
)
from bloodcell_batch.results.rewrite import write_reviewed
from bloodcell_batch.statistics.agreement import Agreement, agreement

_NAMED = 3


@dataclass(frozen=True, slots=True)
class ImportedReview:
    """The outcome of an import: agreement over the cells that the program had classified, and the rest in numbers."""

    selection: Selection
    blind: bool
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
    check_results(output_paths(str(out)), overwrite=config.overwrite, about=table)
    original = load_results(table)
    results = original.pseudonymised(load_pseudonyms(config.pseudonymize))
    digest = _digest(review)
    for earlier in results.reviews:
        if earlier.file_sha256 == digest:
            when = f"on {earlier.imported}"
            raise InputError(f"{review} was imported into {table} already, {when}.", hint="There is nothing to do.")
    filled = read_review(review, results, config.by or "")
    if not config.partial:
        _check_complete(results, filled)
    rows = tuple(
        _after(row, shown, filled.said.get(shown.key)) for row, shown in zip(original.rows, results.rows, strict=True)
    )
    outcome = _outcome(results, filled)
    file = ReviewedFile(review.name, digest, table.name)
    write_reviewed(original, rows, _entry(results, rows, filled, outcome, file), out)
    return outcome


def _check_complete(results: Results, filled: FilledReview) -> None:
    found, expected = filled.said, _expected(results, filled)
    hint = "Finish the review, or add --partial to import what is there; the rest keeps its preclassification."
    chosen = filled.selection.adaptation
    if len(found) < chosen:
        raise InputError(f"{filled.file}: {chosen - len(found):,} of {counted(chosen, 'cell')} are missing.", hint=hint)
    for has, have, what, paths in (
        ("has", "have", "no verified_label", [path for path in expected if path in found and not found[path].label]),
        ("is", "are", "missing", [path for path in expected if path not in found]),
    ):
        if paths:
            some = ", ".join(paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
            cells = f"{len(paths):,} of {counted(len(expected), 'cell')}"
            raise InputError(f"{filled.file}: {cells} {have if len(paths) > 1 else has} {what}: {some}.", hint=hint)


def _expected(results: Results, filled: FilledReview) -> list[str]:
    """The paths of the cells that were exported, as far as this can be known."""
    if not filled.selection.adaptation:
        return [row.key for row in filled.selection.cells(results)]
    return list(filled.said)


def _after(row: ResultRow, shown: ResultRow, verification: Verification | None) -> ResultRow:
    if verification is None:
        return row
    if verification.remark != shown.remark:
        row = replace(row, remark=verification.remark)
    if not verification.label or (verification.label, verification.by) == (shown.verified_label, shown.verified_by):
        return row  # as an earlier review left it, with the name of that person and not the pseudonym
    return replace(row, verified_label=verification.label, verified_by=verification.by)


def _outcome(results: Results, filled: FilledReview) -> ImportedReview:
    verified = filled.labelled
    rows = [(row, verified[row.key]) for row in results.rows if row.key in verified]
    classified = [(row.label, said.label) for row, said in rows if row.label]
    return ImportedReview(
        selection=filled.selection,
        blind=filled.blind,
        agreement=agreement(classified, results.classes.verified_labels),
        verified=len(rows),
        changed=sum(before != after for before, after in classified),
        resolved=len(rows) - len(classified),
        open=max(filled.selection.adaptation, len(_expected(results, filled))) - len(rows),
        version=len(results.reviews) + 1,
    )


def _entry(
    results: Results,
    after: tuple[ResultRow, ...],
    filled: FilledReview,
    outcome: ImportedReview,
    file: ReviewedFile,
) -> ReviewEntry:
    """What the run record says about this review."""
    between = {"between_readers": _readers_entry(filled.readers, filled.readings)} if filled.readers else {}
    return ReviewEntry(
        **between,
        imported=datetime.now(UTC).isoformat(timespec="seconds"),
        program=__version__,
        version=outcome.version,
        results_id=results.results_id,
        scope=str(filled.selection),
        blind=filled.blind,
        cells=outcome.verified,
        cells_left_open=outcome.open,
        verified_by=sorted({said.by for said in filled.labelled.values()}),
        agreement=_agreement_entry(outcome.agreement),
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


def _agreement_entry(found: Agreement) -> AgreementEntry:
    return AgreementEntry(
        cells=found.cells,
        agreed=found.agreed,
        agreed_limits=list(found.limits) if found.limits else None,
        kappa=found.kappa,
        kappa_limits=list(found.kappa_limits) if found.kappa_limits else None,
        per_class={
            name: ClassAgreementEntry(preclassified=row.first, verified=row.second, both=row.both)
            for name, row in found.per_class.items()
        },
    )


def _readers_entry(names: tuple[str, str], readings: tuple[tuple[str, str], ...]) -> ReadersEntry:
    found = agreement(readings)
    return ReadersEntry(
        readers=list(names),
        cells=found.cells,
        agreed=found.agreed,
        agreed_limits=list(found.limits) if found.limits else None,
        kappa=found.kappa,
        kappa_limits=list(found.kappa_limits) if found.kappa_limits else None,
    )


def _digest(review: Path) -> str:
    try:
        return hashlib.sha256(review.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"Can't read the review {review}: {error.strerror}.", hint="Check the name.") from error


def summary(found: ImportedReview, out: Path) -> str:
    """The outcome as text for the terminal."""
    figures = found.agreement
    cells = (
        f"over a random sample of {counted(found.selection.sample, 'cell')}, seed {found.selection.seed}"
        if found.selection.sample
        else "over the cells of this review, which are not a random sample"
    )
    lines = [
        f"{out}: review {found.version}, {counted(found.verified, 'cell')} verified, {found.open:,} still open",
        f"of {counted(figures.cells, 'preclassified cell')} {figures.agreed:,} confirmed and {found.changed:,} changed",
        f"agreement {share_text(figures)}",
        f"Cohen's kappa {kappa_text(figures)}",
        f"({cells}{'; the reader did not see what the program said' if found.blind else ''})",
        f"{counted(found.resolved, 'unclassified cell was', 'unclassified cells were')} given a name",
        *class_lines(figures, "program", "person"),
    ]
    return "\n".join(lines) + "\n"
