"""The files of one set of results: all of their names follow from the one that `--out` gives to the image table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.config.fields import CsvDialect
from bloodcell_batch.errors import UsageError
from bloodcell_batch.files.storage import is_url
from bloodcell_batch.results.formats import ONE_FILE, STDOUT, output_suffix


def slide_table_of(table: Path) -> Path | None:
    """The slide table beside an image table; None for a workbook, which holds both."""
    return None if table.suffix.lower() in ONE_FILE else table.with_name(f"{table.stem}.slides{table.suffix}")


def run_record_of(table: Path) -> Path:
    """The run record beside an image table."""
    return table.with_name(f"{table.stem}.run.json")


def shard_file_of(table: Path) -> Path:
    """What `merge` needs to know of a shard besides its tables; a Parquet file whatever their format is."""
    return table.with_name(f"{table.stem}.shard.parquet")


def journal_folder_of(table: Path) -> Path:
    """Where the rows of a run are kept until it publishes its tables."""
    return table.with_name(f"{table.name}.partial")


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The tables of a run in one format; `slides` is None where one file holds both."""

    images: Path
    slides: Path | None

    @property
    def suffix(self) -> str:
        """The format, a key of `OUTPUT_FORMATS`."""
        return self.images.suffix.lower()

    def by_name(self) -> dict[str, Path]:
        """The files by what each table is called in the run record."""
        return {"images": self.images} | ({} if self.slides is None else {"slides": self.slides})


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where a run publishes: its tables in every format that was asked for, none for stdout, its run record, and its
    embeddings where they are kept."""

    tables: tuple[TableFiles, ...]
    run: Path | None
    csv_dialect: CsvDialect = "plain"
    embeddings: Path | None = None

    @property
    def images(self) -> Path | None:
        """The image table in the first format; None for stdout."""
        return self.tables[0].images if self.tables else None

    @property
    def journal(self) -> Path | None:
        """The folder of the run's journal; None for stdout."""
        return None if self.images is None else journal_folder_of(self.images)

    def all(self) -> tuple[Path, ...]:
        """The paths in publishing order: the table that people look for comes last."""
        slides = (files.slides for files in self.tables)
        found = (self.embeddings, *slides, self.run, *(files.images for files in reversed(self.tables)))
        return tuple(path for path in found if path is not None)


def output_paths(
    out: str | Sequence[str], csv_dialect: CsvDialect = "plain", embeddings: str | None = None
) -> OutputPaths:
    """The files that belong to `--out`, which may be given several times: once for each format.

    Args:
        out: see there.
        csv_dialect: of the tables.
        embeddings: file for these.

    Raises:
        UsageError: unknown suffix, a CSV dialect without CSV, several names or one format twice, stdout and files, or
            embeddings elsewhere.
    """
    outs = as_outputs(out)
    suffixes = [output_suffix(one) for one in outs]
    if csv_dialect != "plain" and not {".csv", STDOUT} & set(suffixes):
        output_suffix(outs[0], csv_dialect)
    if suffixes == [STDOUT]:
        return OutputPaths((), None, csv_dialect, _embeddings_beside(None, embeddings))
    first, *others = tables = [Path(one) for one in outs]
    for other in others:
        if STDOUT in suffixes or other.with_suffix("") != first.with_suffix(""):
            hint = "Give all of them one name in one folder, such as results.parquet and results.xlsx."
            raise UsageError(f"--out {first} and --out {other} can't be formats of one run.", hint=hint)
    twice = [suffix for suffix, count in Counter(suffixes).items() if count > 1]
    if twice:
        raise UsageError(f"Two of --out end in {twice[0]}.", hint="Give each format once.")
    files = tuple(TableFiles(table, slide_table_of(table)) for table in tables)
    return OutputPaths(files, run_record_of(first), csv_dialect, _embeddings_beside(first, embeddings))


def _embeddings_beside(table: Path | None, embeddings: str | None) -> Path | None:
    """The file of embeddings that goes with an image table; with None, with one on stdout.

    Raises:
        UsageError: it is no Parquet file, in another folder, where they could not appear together, or is one of the
            files of the results.
    """
    if embeddings is None:
        return None
    path = Path(embeddings)
    if path.suffix.lower() != ".parquet":
        raise UsageError(f"--embeddings {embeddings} does not end in .parquet.", hint="It is a Parquet file.")
    if table is None:
        if is_url(embeddings):
            hint = "Give the name of a local file, or --out a URL in the same folder."
            raise UsageError(f"--embeddings {embeddings} can't be written beside stdout.", hint=hint)
        return path
    if path.parent != table.parent and path.parent.resolve() != table.parent.resolve():
        hint = "Give both one folder: they appear together, or not at all."
        raise UsageError(f"--embeddings {embeddings} is not in the folder of --out {table}.", hint=hint)
    if path.stem in {table.stem, f"{table.stem}.slides", f"{table.stem}.shard"}:
        hint = f"For example: {table.with_name(f'{table.stem}.embeddings.parquet')}"
        raise UsageError(f"--embeddings {embeddings} has the name of another file of the results.", hint=hint)
    return path


def as_outputs(out: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several as several."""
    return (out,) if isinstance(out, str) else tuple(out)


def result_files(table: Path) -> tuple[Path, ...]:
    """The files of results with this image table, in publishing order.

    Raises:
        UsageError: unknown suffix, or stdout, which can't take several files.
    """
    found = output_paths(str(table)).all()
    if not found:
        raise UsageError("These results are several files: they can't go to stdout.", hint="Give --out a file name.")
    return found
