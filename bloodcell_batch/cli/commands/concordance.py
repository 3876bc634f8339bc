"""`concordance`: a run's differentials against manual or analyser ones."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.audit_option import audited
from bloodcell_batch.cli.options import Log, LogFormat, Quiet, ResultsTable, errors_as_text, option
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import ConcordanceConfig

_Config = ConcordanceConfig


def concordance(
    results: ResultsTable,
    manual: Annotated[
        Path,
        typer.Argument(
            help="CSV or XLSX with slide_id and percentages in columns named after the classes.", metavar="MANUAL"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Page to write; NAME.json is written beside it.", metavar="NAME.html")],
    config: Annotated[Path | None, typer.Option(help="TOML file with the options below.", metavar="FILE")] = None,
    reference_ranges: Annotated[Path | None, option(_Config, "reference_ranges", metavar="FILE")] = None,
    pseudonymize: Annotated[Path | None, option(_Config, "pseudonymize", metavar="KEYFILE")] = None,
    audit_log: Annotated[Path | None, option(_Config, "audit_log", metavar="FILE")] = None,
    overwrite: Annotated[bool | None, option(_Config, "overwrite", "--overwrite")] = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Compare the differentials of RESULTS with those of a person or an analyser, class by class.

    Reports how often the other value lies in the exact (Rümke) limits, Bland-Altman, Pearson, Passing-Bablok, and
    Cohen's kappa of the commonest class and, with --reference-ranges, of below, within and above. For Research Use
    Only.
    """
    flags = {key: value for key, value in locals().items() if key in _Config.model_fields and value is not None}
    with errors_as_text(log_format), audited(audit_log, config) as line:
        settings = resolve(_Config, flags, config)
        line.begin(settings, reads=[results, manual], writes=[out, out.with_suffix(".json")])
        from bloodcell_batch.cli.console import make_observer  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.reports.concordance.concordance import write_concordance  # noqa: PLC0415

        observer = make_observer(quiet=quiet, log_format=log_format)
        write_concordance(results, manual, out, settings, observer)
        observer.note(f"{out} and {out.with_suffix('.json').name} written", out=str(out))
