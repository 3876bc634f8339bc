"""`export-fhir`: a run's differentials as FHIR observations."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import FhirConfig
from bloodcell_batch.progress import counted


@configured(FhirConfig)
def export_fhir(
    call: Call[FhirConfig],
    results: ResultsTable,
    out: Annotated[Path, typer.Option(help="Bundle to write.", metavar="FILE.json")],
) -> None:
    """Write a FHIR R4 bundle: per slide a differential panel and its members, with the status preliminary.

    LOINC codes are method-unspecified, units are UCUM; check both before use. For Research Use Only.
    """
    settings = call.settings
    call.line.begin(settings, reads=[results, *filter(None, [settings.wbc])], writes=[out])
    from bloodcell_batch.reports.fhir import write_fhir  # noqa: PLC0415 - keeps --help fast

    call.tell(f"{out}: {counted(write_fhir(results, out, settings, call.observer()), 'observation')}")
