"""The files of one set of results: all of their names follow from the one that `--out` gives to the image table."""

from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.config.fields import CsvDialect
from bloodcell_batch.errors import UsageError
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
class OutputPaths:
    """Where a run publishes; all None for stdout, `slides` None where one file holds both tables."""

    images: Path | None
    slides: Path | None
    run: Path | None
    suffix: str
    csv_dialect: CsvDialect = "plain"

    @property
    def journal(self) -> Path | None:
        """The folder of the run's journal; None for stdout."""
        return None if self.images is None else journal_folder_of(self.images)

    def all(self) -> tuple[Path, ...]:
        """The paths in publishing order: the table that people look for comes last."""
        return tuple(path for path in (self.slides, self.run, self.images) if path is not None)


def output_paths(out: str, csv_dialect: CsvDialect = "plain") -> OutputPaths:
    """The files that belong to `--out`.

    Raises:
        UsageError: unknown suffix, or a CSV dialect for another format.
    """
    suffix = output_suffix(out, csv_dialect)
    if suffix == STDOUT:
        return OutputPaths(None, None, None, suffix, csv_dialect)
    table = Path(out)
    return OutputPaths(table, slide_table_of(table), run_record_of(table), suffix, csv_dialect)


def result_files(table: Path) -> tuple[Path, ...]:
    """The files of results with this image table, in publishing order.

    Raises:
        UsageError: unknown suffix, or stdout, which can't take several files.
    """
    found = output_paths(str(table)).all()
    if not found:
        raise UsageError("These results are several files: they can't go to stdout.", hint="Give --out a file name.")
    return found
