"""`export-fhir`: a run's differentials as FHIR observations."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.options import LogFormat, ResultsTable, errors_as_text, option
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import FhirConfig

_Config = FhirConfig


def export_fhir(
    results: ResultsTable,
    out: Annotated[Path, typer.Option(help="Bundle to write.", metavar="FILE.json")],
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    pseudonymize: Annotated[Path | None, option(_Config, "pseudonymize", metavar="KEYFILE")] = None,
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
) -> None:
    """Write a FHIR R4 bundle: per slide a differential panel and its members, with the status preliminary.

    LOINC codes are method-unspecified, units are UCUM; check both before use. For Research Use Only.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(LogFormat.TEXT), audited(audit_log, config) as line:
        settings = resolve(_Config, flags, config)
        line.begin(settings, reads=[results], writes=[out])
        from bloodcell_batch.cli.console import write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.reports.fhir import write_fhir  # noqa: PLC0415

        write_text(f"{out}: {write_fhir(results, out, settings)} observations")
