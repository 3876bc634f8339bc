"""The table of a comparison: Parquet for programs, Markdown and an HTML page for people."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.config.comparison import CompareConfig
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.reports.templates import render
from bloodcell_batch.results.formats import write_parquet
from bloodcell_batch.statistics.binomial import clopper_pearson
from bloodcell_batch.training.comparison.system_row import FINISHED, Row

_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
_CPUINFO = Path("/proc/cpuinfo")
_NOTHING = "-"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _size(value: float) -> str:
    return f"{value / 1e6:,.1f} MB"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column for people: the field it shows, its title, and its form."""

    field: str
    title: str
    form: Callable[[float], str]


COLUMNS: tuple[_Column, ...] = (
    _Column("input_size", "pixels", str),
    _Column("epochs", "epochs", str),
    _Column("accuracy", "accuracy (95 % limits)", _share),
    _Column("balanced_accuracy", "balanced accuracy", _share),
    _Column("precision", "precision", _share),
    _Column("recall", "recall", _share),
    _Column("f1", "F1", _share),
    _Column("auroc", "AUROC", lambda value: f"{value:.4f}"),
    _Column("ece", "ECE", _share),
    _Column("parameters", "parameters", lambda value: f"{value:,}"),
    _Column("size_bytes", "size", _size),
    _Column("training_s", "training", lambda value: f"{value:,.0f} s"),
    _Column("images_per_second", "images/s", lambda value: f"{value:,.0f}"),
    _Column("peak_memory_bytes", "peak memory", _size),
)
_FOLDS = _Column("folds_accuracy", "accuracy over folds", _share)


def ranked(rows: Sequence[Row], floor: float = 0.0) -> list[Row]:
    """The finished rows that reach `floor` images per second, most accurate first."""
    fit = [row for row in rows if row.status == FINISHED and (row.images_per_second or 0) >= floor]
    return sorted(fit, key=lambda row: (-(row.accuracy or 0), -(row.balanced_accuracy or 0), row.name))


def write_comparison(rows: Sequence[Row], out: Path, options: CompareConfig, command: str) -> None:
    """Write `comparison.parquet`, `comparison.md` and `comparison.html` into `out`; OutputError if that fails."""
    table = _table(rows, options)
    publish_files(
        {
            out / "comparison.parquet": lambda path: write_parquet(path, table.schema, table.to_batches()),
            out / "comparison.md": text_writer(as_markdown(rows, options, command)),
            out / "comparison.html": text_writer(as_html(rows, options, command)),
        }
    )


def as_text(rows: Sequence[Row]) -> str:
    """The table for the terminal, most accurate first."""
    width = max([20, *(len(row.name) + 1 for row in rows)])
    lines = [
        f"{'system':<{width}}{'accuracy':>9}{'95 % limits':>15}{'of':>7}{'balanced':>9}{'images/s':>9}{'training':>11}"
    ]
    for row in _in_order(rows):
        if row.status != FINISHED:
            lines.append(f"{row.name:<{width}}{row.status:>9}  {row.reason}".rstrip())
            continue
        figures = (row.accuracy, row.balanced_accuracy, row.images_per_second, row.training_s)
        accuracy, balanced, rate, seconds = (value if value is not None else 0.0 for value in figures)
        line = f"{row.name:<{width}}{accuracy:>9.2%}{_limits(row):>15}{row.images_test or 0:>7,}{balanced:>9.2%}"
        lines.append(f"{line}{rate:>9,.0f}{seconds:>9,.0f} s")
    return "\n".join(lines) + "\n"


def as_markdown(rows: Sequence[Row], options: CompareConfig, command: str) -> str:
    """The table, the two rankings, and what it was made with."""
    columns = _columns(rows)
    lines = ["# Comparison", "", f"{RESEARCH_USE_ONLY}", "", "```sh", command, "```", ""]
    lines += [f"- {line}" for line in _terms(rows, options)]
    lines += ["", "| system | " + " | ".join(column.title for column in columns) + " |"]
    lines.append("|---|" + "--:|" * len(columns))
    for row in _in_order(rows):
        if row.status == FINISHED:
            lines.append(f"| {row.name} | " + " | ".join(_cells(row, columns)) + " |")
        else:
            told = f"{row.status}: {row.reason}" if row.reason else row.status
            told = told.replace("|", "\\|").replace("\n", " ")
            lines.append(f"| {row.name} | {told} |" + " |" * (len(columns) - 1))
    for title, floor in _rankings(options):
        best = [f"{number}. {row.name}, {row.accuracy:.2%}" for number, row in enumerate(ranked(rows, floor), start=1)]
        lines += ["", f"## {title}", "", *(best or ["No system."])]
    return "\n".join(lines) + "\n"


def as_html(rows: Sequence[Row], options: CompareConfig, command: str) -> str:
    """One page with the table, the rankings and the confusion matrices; nothing is loaded from elsewhere."""
    columns = _columns(rows)
    ordered = _in_order(rows)
    return render(
        "comparison.html.j2",
        command=command,
        terms=_terms(rows, options),
        titles=[column.title for column in columns],
        rows=[(row, _cells(row, columns) if row.status == FINISHED else ()) for row in ordered],
        rankings=[(title, ranked(rows, floor)) for title, floor in _rankings(options)],
        finished=[row for row in ordered if row.status == FINISHED],
    )


def _rankings(options: CompareConfig) -> tuple[tuple[str, float], ...]:
    return (
        ("By accuracy", 0.0),
        (f"By accuracy among those with at least {options.throughput_floor:g} images/s", options.throughput_floor),
    )


def _columns(rows: Sequence[Row]) -> tuple[_Column, ...]:
    """The columns; that of the folds only where there were any."""
    return (*COLUMNS, _FOLDS) if any(row.folds_accuracy is not None for row in rows) else COLUMNS


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """The finished rows by rank, then the others."""
    return [*ranked(rows), *(row for row in rows if row.status != FINISHED)]


def _cells(row: Row, columns: Sequence[_Column]) -> list[str]:
    texts = []
    for column in columns:
        limits = f" ({_limits(row)})" if column.field == "accuracy" else ""
        value = getattr(row, column.field)
        texts.append(_NOTHING if value is None else column.form(value) + limits)
        if column is _FOLDS and row.folds_sd is not None:
            texts[-1] += f" ± {row.folds_sd:.2%}"
    return texts


def _limits(row: Row) -> str:
    """Exact 95 % limits of the accuracy."""
    if row.accuracy is None or not row.images_test:
        return _NOTHING
    low, high = clopper_pearson(round(row.accuracy * row.images_test), row.images_test)
    return f"{100 * low:.2f}-{high:.2%}"


def _terms(rows: Sequence[Row], options: CompareConfig) -> list[str]:
    """What the figures were made with, a sentence each."""
    sizes = {(row.images_train, row.images_validation, row.images_test) for row in rows if row.status == FINISHED}
    backends = sorted({row.backend for row in rows if row.status == FINISHED})
    terms = [f"Seed {options.seed}; bloodcell-batch {__version__}; {machine()}."]
    terms += [f"{train:,} training, {checked:,} validation and {test:,} test images." for train, checked, test in sizes]
    if backends:
        terms.append(f"Images per second are of the test images in memory: {'; '.join(backends)}.")
    terms.append(
        "Precision, recall and F1 are means over the classes. Classical models: size if serialised; not saved."
    )
    return terms


def machine() -> str:
    """Processors that this process may use, and their name."""
    name = platform.processor() or platform.machine()
    try:
        models = [line for line in _CPUINFO.read_text("utf-8").splitlines() if line.startswith("model name")]
    except OSError:
        models = []
    if models:
        name = models[0].partition(":")[2].strip()
    count = available_cpus()
    return f"{count} CPU{'s' if count > 1 else ''} of {name}"


def _table(rows: Sequence[Row], options: CompareConfig) -> pa.Table:
    places = [
        {row.name: number for number, row in enumerate(ranked(rows, floor), start=1)} for floor in _floors(options)
    ]
    columns = {"rank_accuracy": places[0], "rank_at_throughput_floor": places[1]}
    content = [
        row.as_dict() | {column: place.get(row.name) for column, place in columns.items()} | {"software": __version__}
        for row in rows
    ]
    return pa.Table.from_pylist(content, schema=SCHEMA)


def _floors(options: CompareConfig) -> tuple[float, ...]:
    return tuple(floor for _, floor in _rankings(options))


def _schema() -> pa.Schema:
    columns = []
    for field in fields(Row):
        if field.name == "classes":
            columns.append(pa.field(field.name, pa.list_(pa.string())))
        elif field.name == "confusion":
            columns.append(pa.field(field.name, pa.list_(pa.list_(pa.int64()))))
        else:
            kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
            columns.append(pa.field(field.name, _TYPES[kind.split(" |", maxsplit=1)[0]]))
    ranks = [pa.field("rank_accuracy", pa.int64()), pa.field("rank_at_throughput_floor", pa.int64())]
    return pa.schema([*columns, *ranks, pa.field("software", pa.string())])


SCHEMA: pa.Schema = _schema()
