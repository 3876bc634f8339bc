"""The differentials of slides as a table for a terminal of any width: no name is cut, no number is broken."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, short_name
from bloodcell_batch.cli.share_text import number_with_limits
from bloodcell_batch.differential.absolute import AbsoluteCounts, Concentration, Corrected
from bloodcell_batch.differential.not_excluded import blasts_note
from bloodcell_batch.files.names import one_line
from bloodcell_batch.progress import SlideDifferential

_FEW_LEUKOCYTES = 100
_TITLE = "Differential count (% of leukocytes, below: 95 % limits)"
_ABSOLUTE_TITLE = "Absolute counts (10⁹/l, below: 95 % limits without the analyser's own error)"
_MARKS = {Corrected.ANALYSER: "", Corrected.HERE: "*", Corrected.NOBODY: "!"}
_CORRECTION = {
    Corrected.ANALYSER: "given: the analyser had corrected it for nucleated red cells",
    Corrected.HERE: "*: WBC is corrected for nucleated red cells, 100 / (100 + nRBC per 100 leukocytes)",
    Corrected.NOBODY: "!: not corrected for nucleated red cells, since no class stands for them",
}
_GAP = 1


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of figures: its title and a cell per slide, both of up to two lines, and the width of the widest."""

    title: str
    cells: tuple[Text, ...]

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.title, *map(str, self.cells)) for line in text.split("\n"))


class _FigureTable:
    """Figures of slides under a title, with notes below.

    Names stand in a column of their own where all fits beside them, else above the figures; figures that don't fit into
    one line of the terminal go on in further lines with titles of their own.
    """

    def __init__(self, title: str, names: Iterable[str], columns: Iterable[_Column]) -> None:
        self._title = title
        self._names = [one_line(name) for name in names]
        self._columns = tuple(columns)
        self._notes: list[Text] = []

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        yield Text(self._title, style="italic")
        widest = max(map(cell_len, ("slide", *self._names)))
        if widest + sum(column.width + _GAP for column in self._columns) <= options.max_width:
            yield self._beside(widest)
        else:
            yield from self._above(options.max_width)
        yield from self._notes

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


class SlideTable(_FigureTable):
    """Leukocytes counted, percentages, nucleated red cells, platelet images, and what was left out, slide by slide."""

    def __init__(self, slides: Sequence[SlideDifferential]) -> None:
        super().__init__(_TITLE, (slide.slide_id for slide in slides), _columns(slides))
        notes = []
        if any(slide.withheld for slide in slides):
            notes.append("-: no percentage, because too many cells have no class or no leukocyte was counted")
        if any("≤" in str(cell) for column in self._columns for cell in column.cells):
            notes.append("≤: none was seen; there may be as many all the same (upper 95 % limit)")
        if any(slide.wbc_counted < _FEW_LEUKOCYTES for slide in slides):
            notes.append(f"yellow: fewer than {_FEW_LEUKOCYTES} leukocytes")
        self._notes = [Text(note, style="dim") for note in notes]
        blasts = blasts_note((*slides[0].shares, *slides[0].outside_counts)) if slides else ""
        self._notes += [Text(blasts)] if blasts else []


class AbsoluteTable(_FigureTable):
    """Leukocytes and their classes per volume, slide by slide, and whether nucleated red cells are in them."""

    def __init__(self, absolute: Mapping[str, AbsoluteCounts]) -> None:
        found = list(absolute.values())
        super().__init__(_ABSOLUTE_TITLE, absolute, _absolute_columns(found))
        told = dict.fromkeys(counts.corrected for counts in found)
        self._notes = [Text(_CORRECTION[who], style="dim") for who in told]


def _absolute_columns(found: Sequence[AbsoluteCounts]) -> Iterator[_Column]:
    def column(title: str, counts: Iterable[Concentration]) -> _Column:
        return _Column(title, tuple(Text(_concentration(count)) for count in counts))

    yield _Column("given", tuple(Text(f"{counts.given.wbc:.2f}{_MARKS[counts.corrected]}") for counts in found))
    yield column("WBC", (counts.leukocytes for counts in found))
    for name in found[0].classes:
        yield column(short_name(name), (counts.classes[name] for counts in found))


def _concentration(count: Concentration) -> str:
    shown = "-" if count.value is None else f"{count.value:.2f}"
    if count.low is None or count.high is None:
        return shown
    return f"{shown}\n≤{count.high:.2f}" if count.value == 0 else f"{shown}\n{count.low:.1f}-{count.high:.1f}"


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
