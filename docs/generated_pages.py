"""Reference pages that are made from the code when the documentation is built, so that they can't be out of date."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from typer.main import get_command

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.cli.app import program
from bloodcell_batch.errors import ExitCode
from bloodcell_batch.monitoring.table import QUALITY_COLUMNS
from bloodcell_batch.results.run_record import RunRecord
from bloodcell_batch.results.tables import SCHEMA_VERSION, VERIFIED_FIELDS, Column, image_columns, slide_columns

PROJECT = Path(__file__).parent.parent
_EXIT_CODES = {
    ExitCode.COMPLETE: "complete",
    ExitCode.ERROR: "an error; nothing was published",
    ExitCode.USAGE: "wrong usage",
    ExitCode.COMPLETE_WITH_FAILED_FILES: "complete, but more files failed than `--allow-failed` permits, or a folder "
    "could not be read; of `monitor`: the page and tables are written, and a rule rejects a run; of `diff`: the two "
    "results differ",
    ExitCode.BACKEND_REFUSED: "the named backend can't run here, or the model file is refused",
    ExitCode.LOCKED: "another run is writing this output",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); nothing was published",
    ExitCode.TERMINATED: "terminated (SIGTERM); nothing was published",
}


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401 - mkdocs' own type has no stubs
    """Add the generated pages to the site; MkDocs calls this."""
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


def commands() -> str:
    """Every command with its help and options."""
    lines = ["# Commands", ""]

    def add(name: str, command: Any) -> None:  # noqa: ANN401 - Typer's vendored Click
        for child, inner in sorted(getattr(command, "commands", {}).items()):
            add(f"{name} {child}", inner)
        if getattr(command, "commands", None):
            return
        lines.extend([f"## `{name}`", "", _paragraphs(command.help or ""), "", "| option | meaning |", "|---|---|"])
        for parameter in command.params:
            names = ", ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.metavar
            value = f" {parameter.metavar}" if parameter.param_type_name == "option" and parameter.metavar else ""
            shown = f"{names or parameter.name}{value}".replace("|", "&#124;").replace("<", "&lt;")
            lines.append(f"| <code>{shown}</code> | {_cell(parameter.help or '')} |")
        lines.append("")

    add("bloodcell-batch", get_command(program()))
    return "\n".join(lines)


def tables() -> str:
    """Every column of every table."""
    what = "one row per image file, or per cell of a field of view"
    lines = [f"# Tables\n\nSchema version {SCHEMA_VERSION}. The columns of the image table, {what}:\n"]
    lines += _column_rows(image_columns(DEFAULT_CLASSES))
    lines += ["", "After a review, these come at its end:", "", "| column | type | meaning |", "|---|---|---|"]
    lines += [f"| `{field.name}` | {field.type} | {field.metadata[b'meaning'].decode()} |" for field in VERIFIED_FIELDS]
    lines += [
        "",
        "The columns of the slide table, one row per slide:",
        "",
        *_column_rows(slide_columns(DEFAULT_CLASSES)),
    ]
    lines += ["", "The columns of the table of `monitor`, one row per run, slide and measure:", ""]
    lines += _column_rows(QUALITY_COLUMNS)
    return "\n".join(lines) + "\n"


def _column_rows(columns: tuple[Column[Any], ...]) -> list[str]:
    rows = [f"| `{column.name}` | {column.type} | {_cell(column.meaning)} |" for column in columns]
    return ["| column | type | meaning |", "|---|---|---|", *rows]


def run_record() -> str:
    """The entries of the run record, and its JSON Schema."""
    schema = RunRecord.model_json_schema()
    lines = [
        "# Run record",
        "",
        "`NAME.run.json` beside the image table, as JSON.",
        "",
        "| entry | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {_cell(entry.get('description', ''))} |" for name, entry in schema["properties"].items()]
    return "\n".join([*lines, "", "## JSON Schema", "", "```json", json.dumps(schema, indent=1), "```", ""])


def exit_codes() -> str:
    """Every exit code."""
    rows = [f"| {int(code)} | {_EXIT_CODES[code]} |" for code in ExitCode]
    return "\n".join(["# Exit codes", "", "| code | meaning |", "|---|---|", *rows, ""])


def _page_of(path: str) -> Callable[[], str]:
    """A file of the project as a page; its links within the project lose their targets."""

    def make() -> str:
        text = (PROJECT / path).read_text(encoding="utf-8")
        return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)

    return make


def _paragraphs(text: str) -> str:
    return text.replace("\b", "").replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/tables.md": tables,
    "reference/run-record.md": run_record,
    "reference/exit-codes.md": exit_codes,
    "reference/recipes.md": _page_of("configs/README.md"),
    "reference/systems.md": _page_of("configs/models/README.md"),
    "reference/release.md": _page_of("configs/release/README.md"),
    "develop/changelog.md": _page_of("CHANGELOG.md"),
    "develop/security.md": _page_of(".github/SECURITY.md"),
}
"""Page -> what makes it."""
