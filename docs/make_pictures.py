"""Make the pictures of the documentation from the drawn example slides: the terminal, the report and the review.

    python docs/make_pictures.py

Needs Chromium for the pages.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from bloodcell_batch import NullObserver, classify
from bloodcell_batch.cli.exit_summary import conclude
from bloodcell_batch.cli.live_display import LiveObserver

PROJECT = Path(__file__).parent.parent
PICTURES = PROJECT / "docs" / "pictures"
REPORT_SIZE, REVIEW_SIZE = (1180, 900), (1366, 640)  # the latter is what a small laptop leaves of its screen


class Notes(NullObserver):
    """Keeps what a run says, without the frames of its live bar."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str, **_fields: object) -> None:
        """Keep it."""
        self.said.append(text)


def terminal(table: Path) -> None:
    """What `classify` leaves on the screen, as SVG."""
    notes = Notes()
    result = classify("examples/slides", table, observer=notes)
    with table.with_name("screen").open("w", encoding="utf-8") as screen:
        console = Console(record=True, width=100, force_terminal=True, file=screen)
        console.print(Text("$ bloodcell-batch classify examples/slides --out results.parquet", style="bold"))
        observer = LiveObserver(console)
        for text in notes.said:
            observer.note(text)
        with suppress(typer.Exit):
            conclude(result, ["results.parquet"], observer, 0, as_json=False)
        svg = console.export_svg(title="bloodcell-batch")
    # No font from the internet: the reader's own monospaced one will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    (PICTURES / "terminal.svg").write_text(svg, encoding="utf-8")


def page(table: Path, name: str, size: tuple[int, int], *command: str) -> None:
    """The page that a command makes of the table, as PNG."""
    file = table.with_name(f"{name}.html")
    program = [sys.executable, "-m", "bloodcell_batch", *command, str(table), "--out", str(file)]
    subprocess.run([*program, "--images", "examples/slides"], check=True)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium is needed for the pictures of pages.")
    target = f"--screenshot={PICTURES / name}.png"
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size[0]},{size[1]}"]
    subprocess.run([browser, *options, target, file.as_uri()], check=True, capture_output=True)


def main() -> None:
    """Make all."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "results.parquet"
        terminal(table)
        page(table, "report", REPORT_SIZE, "report")
        page(table, "review", REVIEW_SIZE, "review", "export", "--cells", "all")


if __name__ == "__main__":
    main()
