"""`verify`: everything that can be checked of a finished run from its files."""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from bloodcell_batch.config.results import VerifyConfig
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.results.finished import check_schema
from bloodcell_batch.results.formats import read_table
from bloodcell_batch.results.run_record import RunRecord, read_record
from bloodcell_batch.results.tables import VERIFIED_FIELDS, image_schema
from bloodcell_batch.slides.rules import PATH_RULES, ROOT_SLIDE, SlideRule
from bloodcell_batch.stages.interpret import Thresholds
from bloodcell_batch.verification.audit_log_checks import check_audit_log
from bloodcell_batch.verification.findings import Findings
from bloodcell_batch.verification.image_checks import check_images
from bloodcell_batch.verification.record_checks import (
    check_digests,
    check_embeddings,
    check_identity,
    check_model,
    check_record,
)
from bloodcell_batch.verification.row_checks import Rules
from bloodcell_batch.verification.slide_checks import check_slides
from bloodcell_batch.verification.table_checks import check_table


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, what was not, and what was found."""

    checked: tuple[str, ...]
    not_checked: tuple[str, ...]
    findings: Findings

    @property
    def verified(self) -> bool:
        """Whether everything that was checked is as the run left it."""
        return self.findings.count == 0

    def as_lines(self, name: str) -> list[str]:
        """One finding a line, then the verdict."""
        count = self.findings.count
        lines = [str(finding) for finding in self.findings]
        if count > len(lines):
            lines.append(f"... and {count - len(lines):,} more")
        lines += [f"checked: {', '.join(self.checked)}"] if self.checked else []
        lines += [f"not checked: {what}" for what in self.not_checked]
        verdict = "verified" if self.verified else f"NOT VERIFIED, {count:,} {'finding' if count == 1 else 'findings'}"
        return [*lines, f"{name}: {verdict}"]


def verify(table: Path | None, config: VerifyConfig, observer: Observer) -> Verification:
    """Re-check results, an audit log, or both and that the log knows the results.

    Raises:
        InputError: there is no such table or log, or the folder with the images can't be read.
        ModelFileError: the model file can't be read.
        UsageError: nothing to check, or the images of pseudonymised results.
    """
    if table is None:
        if config.audit_log is None:
            raise UsageError("There is nothing to check.", hint="Give RESULTS, --audit-log FILE, or both.")
        findings = Findings(config.max_findings)
        return Verification((check_audit_log(config.audit_log, None, findings),), (), findings)
    found = verify_run(table, config, observer)
    if config.audit_log is None:
        return found
    text = check_audit_log(config.audit_log, table, found.findings)
    return replace(found, checked=(*found.checked, text))


def verify_run(table: Path, config: VerifyConfig, observer: Observer) -> Verification:
    """Re-check the results in `table` and the files beside it.

    Raises:
        InputError: there is no such table, or the folder with the images can't be read.
        ModelFileError: the model file can't be read.
        UsageError: the images of pseudonymised results can't be checked.
    """
    if not table.is_file():
        raise InputError(
            f"There is no file {table}.", hint="Give the table that `bloodcell-batch classify --out` wrote."
        )
    findings = Findings(config.max_findings)
    try:
        record = read_record(table)
        check_digests(table, record, findings)
        check_schema(table, record)
        images = read_table(table, image_schema(record.model.class_list), VERIFIED_FIELDS)
    except InputError as error:
        findings.add(str(table), error.message)
        return Verification((), ("the rows: the files can't be read",), findings)
    if record.pseudonymised and config.images is not None:
        hint = "Verify the results that they were made from."
        raise UsageError(f"{table} has pseudonyms: its rows don't name the files in {config.images}.", hint=hint)
    check_identity(images, record, findings)
    seen = check_table(images, _rules(images, record), record, findings)
    slides = check_slides(table, seen, record, findings)
    check_record(record, seen, findings)
    checked = [counted(seen.rows, "row"), counted(slides, "slide"), "the run record", "the digests of the tables"]
    skipped = []
    unchecked_model = check_model(record, config.model, findings)
    if unchecked_model:
        skipped.append(unchecked_model)
    else:
        checked.append("the model")
    unchecked_embeddings = check_embeddings(table, record, findings)
    if unchecked_embeddings:
        skipped.append(unchecked_embeddings)
    elif record.embeddings is not None:
        checked.append("the embeddings")
    if config.images is None:
        skipped.append("the image files: name their folder with --images")
    else:
        check_images(config.images, seen, findings, observer)
        checked.append("the image files")
    return Verification(tuple(checked), tuple(skipped), findings)


def _rules(images: pa.Table, record: RunRecord) -> Rules:
    limits = record.thresholds
    complete = {"confidence", "outlier"} <= limits.keys()
    megapixels = record.config.get("max_megapixels")
    return Rules(
        thresholds=Thresholds(limits["confidence"], limits["outlier"]) if complete else None,
        partners=frozenset(path for match in record.cross_slide_duplicates for path in match.paths),
        slide_of=_slide_rule(images, record),
        max_pixels=round(megapixels * 1e6) if isinstance(megapixels, int | float) else None,
        pseudonymised=record.pseudonymised,
        classes=record.model.class_list,
    )


def _slide_rule(images: pa.Table, record: RunRecord) -> SlideRule | None:
    """What gives the slide of a path; None where that takes a file, or a regular expression that is not ours to run on
    what a record says."""
    rule = PATH_RULES.get(str(record.config.get("slide_by")))
    if rule is None or not len(images) or any(rule(path) != ROOT_SLIDE for path in images.column("path").to_pylist()):
        return rule
    # A folder without folders is one slide and has its name, which the record may tell relative to another place.
    name = str(images.column("slide_id")[0])
    return lambda _: name
