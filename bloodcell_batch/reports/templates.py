"""HTML pages from the templates in `assets/`: one file each, with style, script and pictures inside."""

from datetime import UTC, datetime

import jinja2

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.differential.not_excluded import at_most, blasts_note, none_seen
from bloodcell_batch.progress import counted
from bloodcell_batch.results.finished import Results, in_words


def render(template: str, **values: object) -> str:
    """Fill a template; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bloodcell_batch", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value, digits=1: "-" if value is None else f"{value:.{digits}f}"
    environment.filters["at_most"] = at_most
    environment.filters["in_words"] = in_words
    environment.globals["none_seen"] = none_seen
    return environment.get_template(template).render(notice=RESEARCH_USE_ONLY, version=__version__, **values)


def provenance(results: Results) -> list[tuple[str, str]]:
    """What made the numbers, for people; no path of the machine it ran on."""
    record = results.record
    model = record.model
    facts = [
        ("Results", results.results_id),
        ("Classified", f"{record.started} to {record.finished}"),
        ("Page written", datetime.now(UTC).isoformat(timespec="seconds")),
        ("Program", f"bloodcell-batch {record.bloodcell_batch}; this page: {__version__}"),
        ("Model", f"{model.name} ({model.architecture}), SHA-256 {model.sha256}"),
        ("Backend", record.backend.description),
        ("Files", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in record.counts.items())),
        ("Left for review", ", ".join(f"{name} {value:g}" for name, value in record.thresholds.items())),
        ("Percentages withheld", f"where more than {record.max_unclassified:.0%} of possible leukocytes have no class"),
        ("Denominator", record.denominator),
        *([("Not excluded", blasts)] if (blasts := blasts_note(results.classes.names)) else []),
        ("Versions", ", ".join(f"{name} {value}" for name, value in record.versions.items())),
    ]
    reviews = [
        ("Review", f"{review.imported}: {counted(review.cells, 'cell')} by {', '.join(review.verified_by)}")
        for review in results.reviews
    ]
    return [*facts, *reviews]
