"""The differentials of slides as a table for a terminal of any width: no name is cut, no number is broken."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, short_name
from bloodcell_batch.cli.share_text import number_with_limits
from bloodcell_batch.differential.not_excluded import blasts_note
from bloodcell_batch.files.names import one_line
from bloodcell_batch.progress import SlideDifferential

_FEW_LEUKOCYTES = 100
_TITLE = "Differential count (% of leukocytes, below: 95 % limits)"
_GAP = 1


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of figures: its title and a cell per slide, both of up to two lines, and the width of the widest."""

    title: str
    cells: tuple[Text, ...]

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.title, *map(str, self.cells)) for line in text.split("\n"))


class SlideTable:
    """Leukocytes counted, percentages, nucleated red cells, platelet images, and what was left out, slide by slide.

    Names stand in a column of their own where all fits beside them, else above the figures; figures that don't fit into
    one line of the terminal go on in further lines with titles of their own.
    """

    def __init__(self, slides: Sequence[SlideDifferential]) -> None:
        self._names = [one_line(slide.slide_id) for slide in slides]
        self._columns = tuple(_columns(slides))
        self._withheld = any(slide.withheld for slide in slides)
        self._few = any(slide.wbc_counted < _FEW_LEUKOCYTES for slide in slides)
        self._none_seen = any("≤" in str(cell) for column in self._columns for cell in column.cells)
        self._blasts = blasts_note((*slides[0].shares, *slides[0].outside_counts)) if slides else ""

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        yield Text(_TITLE, style="italic")
        widest = max(map(cell_len, ("slide", *self._names)))
        if widest + sum(column.width + _GAP for column in self._columns) <= options.max_width:
            yield self._beside(widest)
        else:
            yield from self._above(options.max_width)
        if self._withheld:
            yield Text(
                "-: no percentage, because too many cells have no class or no leukocyte was counted", style="dim"
            )
        if self._none_seen:
            yield Text("≤: none was seen; there may be as many all the same (upper 95 % limit)", style="dim")
        if self._few:
            yield Text(f"yellow: fewer than {_FEW_LEUKOCYTES} leukocytes", style="dim")
        if self._blasts:
            yield Text(self._blasts)

    def _beside(self, widest: int) -> Table:
        table = _empty(self._columns, name=widest)
        for number, name in enumerate(self._names):
            table.add_row(Text(name), *(column.cells[number] for column in self._columns))
        return table

    def _above(self, width: int) -> Iterator[Table | Text]:
        bands = list(_bands(self._columns, width))
        if len(bands) == 1:
            yield _empty(bands[0])
        for number, name in enumerate(self._names):
            yield Text(name, style="bold", overflow="fold")
            for band in bands:
                table = _empty(band, titled=len(bands) > 1)
                table.add_row(*(column.cells[number] for column in band))
                yield table


def _columns(slides: Sequence[SlideDifferential]) -> Iterator[_Column]:
    leukocytes = tuple(slides[0].shares) if slides else DEFAULT_CLASSES.leukocytes

    def column(title: str, *cells: str | Text) -> _Column:
        return _Column(title, tuple(cell if isinstance(cell, Text) else Text(cell) for cell in cells))

    # Fewer than 100 leukocytes are too few for percentages, so they stand out.
    yield column(
        "WBC", *(_marked(slide.wbc_counted, "yellow", slide.wbc_counted < _FEW_LEUKOCYTES) for slide in slides)
    )
    for name in leukocytes:
        shares = [slide.shares[name] for slide in slides]
        cells = (number_with_limits(share.percent, share.percent_low, share.percent_high) for share in shares)
        yield column(short_name(name), *cells)
    rates = ((slide.nrbc_per_100_wbc, slide.nrbc_per_100_wbc_low, slide.nrbc_per_100_wbc_high) for slide in slides)
    yield column("nRBC\n/100", *(number_with_limits(*rate) for rate in rates))
    yield column("PLT", *(str(slide.platelet_images) for slide in slides))
    yield column("uncl", *(str(slide.unclassified) for slide in slides))
    yield column("dupl", *(str(slide.duplicates) for slide in slides))
    yield column("fail", *(_marked(slide.failed, "red", slide.failed > 0) for slide in slides))


def _marked(number: int, style: str, marked: object) -> Text:
    return Text(str(number), style=style if marked else "")


def _bands(columns: Sequence[_Column], width: int) -> Iterator[tuple[_Column, ...]]:
    """The columns, as many to a band as fit into the width."""
    band: list[_Column] = []
    for column in columns:
        if band and sum(entry.width + _GAP for entry in (*band, column)) > width:
            yield tuple(band)
            band = []
        band.append(column)
    yield tuple(band)


def _empty(columns: Sequence[_Column], *, titled: bool = True, name: int = 0) -> Table:
    """A table of these columns, after one for names that is `name` wide, without rows."""
    table = Table(box=None, padding=(0, 0, 0, _GAP), pad_edge=name == 0, show_header=titled, header_style="bold")
    if name:
        table.add_column("slide", width=name, no_wrap=True)
    for column in columns:
        table.add_column(column.title, width=column.width, justify="right", no_wrap=True)
    return table
