"""`review agree`: what two people said of the same cells, and the list of those on which they disagree."""

from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.config.results import ReviewAgreeConfig
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import Observer
from bloodcell_batch.reports.review.agreement_text import class_lines, kappa_text, share_text
from bloodcell_batch.reports.review.reading import FilledReview, Verification, read_review
from bloodcell_batch.reports.review.records import record_of
from bloodcell_batch.reports.review.writing import ReviewList, check_review_file, write_review
from bloodcell_batch.results.finished import ResultRow, Results, load_results
from bloodcell_batch.results.pseudonyms import load_pseudonyms
from bloodcell_batch.statistics.agreement import Agreement, agreement


@dataclass(frozen=True, slots=True)
class Reader:
    """One of the two: a name and what the file says of each cell that has a label."""

    name: str
    said: dict[str, Verification]
    with_program: Agreement
    blind: bool


@dataclass(frozen=True, slots=True)
class TwoReaders:
    """Agreement over the cells that both named; `unclassified` of these have no class of the program."""

    readers: tuple[Reader, Reader]
    between: Agreement
    unclassified: int

    @property
    def disagreements(self) -> int:
        """Cells that they call by two names."""
        return self.between.cells - self.between.agreed


def compare_readers(
    table: Path, files: tuple[Path, Path], out: Path | None, config: ReviewAgreeConfig, observer: Observer
) -> TwoReaders:
    """Compare two filled-in reviews of the results in `table`, and write what is to be settled to `out`.

    The file holds the cells that both named, those on which they disagree first; the label of the others is filled
    in. It is imported like any other. Nothing is written where they agree on all.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    if out is not None:
        check_review_file(out, table, overwrite=config.overwrite)
    results = load_results(table).pseudonymised(load_pseudonyms(config.pseudonymize, *([out] if out else [])))
    first, second = (read_review(file, results, file.stem) for file in files)
    if first.selection != second.selection:
        hint = "Give both readers the same file, or two that the same command exported."
        raise InputError(f"{files[0]} shows the cells '{first.selection}', {files[1]} '{second.selection}'.", hint=hint)
    rows = [row for row in results.rows if row.key in first.labelled and row.key in second.labelled]
    if not rows:
        raise InputError(f"{files[0]} and {files[1]} name no cell both.", hint="Fill in both first.")
    found = _compared(rows, first, second, results.classes.verified_labels)
    if out is not None and found.disagreements:
        _write(out, found, rows, first, results, config, observer)
    return found


def _compared(rows: list[ResultRow], first: FilledReview, second: FilledReview, order: tuple[str, ...]) -> TwoReaders:
    names = [_name(review) for review in (first, second)]
    if names[0] == names[1]:
        names = [f"{name} ({review.file.name})" for name, review in zip(names, (first, second), strict=True)]
    one, other = (
        Reader(
            name,
            review.labelled,
            agreement(((row.label, review.said[row.key].label) for row in rows if row.label), order),
            review.blind,
        )
        for name, review in zip(names, (first, second), strict=True)
    )
    between = agreement(((one.said[row.key].label, other.said[row.key].label) for row in rows), order)
    return TwoReaders((one, other), between, sum(not row.label for row in rows))


def _name(review: FilledReview) -> str:
    return ", ".join(sorted({said.by for said in review.labelled.values()}))


def _write(
    out: Path,
    found: TwoReaders,
    rows: list[ResultRow],
    review: FilledReview,
    results: Results,
    config: ReviewAgreeConfig,
    observer: Observer,
) -> None:
    one, other = found.readers
    blind = one.blind or other.blind
    labels = {row.key: (one.said[row.key].label, other.said[row.key].label) for row in rows}
    # Alike disagreements after one another: whoever settles them decides the same way.
    split = sorted((row for row in rows if len({*labels[row.key]}) == 2), key=lambda row: (labels[row.key], row.key))
    same = [row for row in rows if len({*labels[row.key]}) == 1]
    records = [
        [record_of(row, results, review.selection, blind=blind) | _said(row, found.readers) for row in some]
        for some in (split, same)
    ]
    write_review(out, ReviewList(*records), split, results, config, observer)


def _said(row: ResultRow, readers: tuple[Reader, Reader]) -> dict[str, str]:
    """What both said, and the answer where it is the same."""
    said: dict[str, str] = {}
    labels, remarks = set(), []
    for number, reader in enumerate(readers, start=1):
        mine = reader.said[row.key]
        said |= {f"reader_{number}": reader.name, f"label_{number}": mine.label, f"remark_{number}": mine.remark}
        labels.add(mine.label)
        remarks += [f"{reader.name}: {mine.remark}"] if mine.remark else []
    agreed = len(labels) == 1
    return said | {
        "verified_label": labels.pop() if agreed else "",
        "verified_by": " and ".join(reader.name for reader in readers) if agreed else "",
        "remark": "; ".join(remarks),
    }


def agreement_summary(found: TwoReaders, out: Path | None) -> str:
    """The comparison as text for the terminal."""
    one, other = found.readers
    cells = found.between.cells
    only = [f"{len(reader.said) - cells} only by {reader.name}" for reader in found.readers]
    lines = [
        f"{cells} cells were named by both {one.name} and {other.name}; {', '.join(only)}",
        f"agreement {share_text(found.between)}",
        f"Cohen's kappa {kappa_text(found.between)}",
        *class_lines(found.between, one.name, other.name),
    ]
    for reader in found.readers:
        figures, saw = reader.with_program, "" if reader.blind else ", who saw what it said"
        lines.append(f"program and {reader.name}{saw}: {share_text(figures)}, kappa {kappa_text(figures)}")
    if found.unclassified:
        lines.append(f"{found.unclassified} of these cells have no class of the program and are not in its figures")
    if not found.disagreements:
        lines.append("there is nothing to settle: import either file")
    elif out is None:
        lines.append(f"{found.disagreements} cells are to be settled: --out writes the list")
    else:
        lines.append(f"{out}: {found.disagreements} cells to settle; import it when it is filled in")
    return "\n".join(lines) + "\n"
