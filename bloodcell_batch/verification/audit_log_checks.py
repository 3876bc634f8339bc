"""Checks of the audit log: its chain, and whether it knows the files of a run."""

from pathlib import Path

from bloodcell_batch.integrity.audit_log import check_chain
from bloodcell_batch.integrity.digests import file_sha256
from bloodcell_batch.progress import counted
from bloodcell_batch.results.file_names import run_record_of, slide_table_of
from bloodcell_batch.verification.findings import Findings


def check_audit_log(log: Path, table: Path | None, findings: Findings) -> str:
    """Check every line of the log; with `table`, also that one of them published these very files.

    Returns:
        What was checked, with the digest of the last line: noted elsewhere, it shows when lines vanish at the end.
    """
    chain = check_chain(log)
    for line, fault in chain.faults:
        findings.add(f"{log}, line {line}", fault)
    if table is not None:
        files = (table, slide_table_of(table), run_record_of(table))
        digests = {file_sha256(path) for path in files if path is not None and path.is_file()}
        if not any(digests <= published for published in chain.published):
            findings.add(str(log), f"no run in it published {table} as it is now")
    return f"the audit log: {counted(chain.lines, 'line')}, the last one with the SHA-256 {chain.head}"
