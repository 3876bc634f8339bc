"""`concordance`: a run's differentials against manual or analyser ones."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.cli.options import ResultsTable
from bloodcell_batch.config.results import ConcordanceConfig


@configured(ConcordanceConfig)
def concordance(
    call: Call[ConcordanceConfig],
    results: ResultsTable,
    manual: Annotated[
        Path,
        typer.Argument(
            help="CSV or XLSX with slide_id and percentages in columns named after the classes, or results of which "
            "every cell is verified.",
            metavar="MANUAL",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Page to write; NAME.json is written beside it.", metavar="NAME.html")],
) -> None:
    """Compare the differentials of RESULTS with those of a person or an analyser, class by class.

    Reports how often the other value lies in the exact (Rümke) limits, Bland-Altman, Pearson, Passing-Bablok, and
    Cohen's kappa of the commonest class and, with --reference-ranges, of below, within and above. For Research Use
    Only.
    """
    settings = call.settings
    call.line.begin(settings, reads=[results, manual], writes=[out, out.with_suffix(".json")])
    from bloodcell_batch.reports.concordance.concordance import write_concordance  # noqa: PLC0415

    observer = call.observer()
    write_concordance(results, manual, out, settings, observer)
    observer.note(f"{out} and {out.with_suffix('.json').name} written", out=str(out))
