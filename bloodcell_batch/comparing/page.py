"""The page of `diff`: what changed, slide by slide, and pictures of the changed cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from bloodcell_batch.comparing.changes import Change, shown_first, transitions
from bloodcell_batch.comparing.pairs import KEY
from bloodcell_batch.comparing.runs import what_differs
from bloodcell_batch.comparing.slides import SIGNIFICANT
from bloodcell_batch.reports.templates import render
from bloodcell_batch.reports.thumbnails import images_folder, make_thumbnails, uris, warn_of_gaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bloodcell_batch.comparing.difference import Difference
    from bloodcell_batch.comparing.slides import SlideChange
    from bloodcell_batch.config.results import DiffConfig
    from bloodcell_batch.progress import Observer, SlideDifferential
    from bloodcell_batch.results.pseudonyms import Pseudonyms

MOST_CELLS, MOST_SLIDES, MOST_TRANSITIONS = 200, 500, 15
_SIDE = 72


@dataclass(frozen=True, slots=True)
class ShownCell:
    """A changed cell with what is needed to draw it; `said` is what people read of it."""

    file: str
    sha256: str
    box: tuple[int, int, int, int] | None
    said: dict[str, Any]

    @property
    def picture(self) -> str:
        """Names its picture; see `ResultRow`."""
        return f"{self.file}#{self.said['cell']}" if self.box else self.file


def diff_page(
    found: Difference, cells: Sequence[ShownCell], config: DiffConfig, observer: Observer, *, hides_names: bool
) -> str:
    """The page as HTML.

    Args:
        found: what is told, with pseudonyms if there are to be any.
        cells: see `cells_to_show`.
        config: options.
        observer: told of missing pictures.
        hides_names: whether there are pseudonyms; then no file and no option that can hold a name is told either.
    """
    folder = images_folder(found.one, config.images, observer) if cells else None
    thumbnails = make_thumbnails(cells, folder, _SIDE)
    if folder is not None:
        warn_of_gaps(thumbnails, observer)
    slides = sorted(found.slides.slides, key=_most_changed)
    moves = transitions(found.changes)
    return render(
        "diff.html.j2",
        found=found,
        counts={change.value: number for change, number in found.changes.counts.items()},
        facts=what_differs(found.one.record, found.other.record, hides_names=hides_names),
        hides_names=hides_names,
        slides=slides[:MOST_SLIDES],
        transitions=moves[:MOST_TRANSITIONS],
        more_transitions=len(moves) - MOST_TRANSITIONS,
        cells={change.value: [cell for cell in cells if cell.said["change"] == change.value] for change in Change},
        thumbnails=uris(thumbnails),
        side=_SIDE,
        significant=SIGNIFICANT,
        titles={entry.name: entry.title for entry in _classes(found)},
        shorts={entry.name: entry.short for entry in _classes(found)},
        figure=_figure,
    )


def _classes(found: Difference) -> tuple[Any, ...]:
    return (*found.one.record.model.class_list.classes, *found.other.record.model.class_list.classes)


def _figure(slide: SlideDifferential | None, name: str) -> float | None:
    """The percentage of a class, or nRBC per 100 leukocytes; None where there is none."""
    if slide is None:
        return None
    return slide.shares[name].percent if name in slide.shares else slide.nrbc_per_100_wbc


def _most_changed(slide: SlideChange) -> tuple[bool, float, int, str]:
    least = min((test.p for test in slide.tests), default=1.0)
    return (not slide.beyond, least, -sum(slide.changed.values()), slide.slide_id)


def cells_to_show(found: Difference, names: Pseudonyms | None) -> list[ShownCell]:
    """The changed cells that the page shows, told by their pseudonyms if there are `names`; `found` has none."""
    shown = shown_first(found.changes, MOST_CELLS)
    if not len(shown):
        return []
    rows = found.one.rows
    here = rows.filter(pc.is_in(rows["path"], value_set=pc.unique(shown["path"])))
    drawn = {tuple(row[name] for name in KEY[:3]): row for row in _to_draw(here)}
    cells = []
    for said in shown.to_pylist():
        row = drawn[tuple(said[name] for name in KEY[:3])]
        box = None if row["x"] is None else (row["x"], row["y"], row["width"], row["height"])
        path, slide = said["path"], said["slide_id"]
        if names is not None:
            said |= {"slide_id": names.slide(slide), "path": names.path(slide, path)}
        cells.append(ShownCell(path, row["sha256"] or "", box, said))
    return cells


def _to_draw(rows: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.select([*KEY, "width", "height", "sha256"]).to_pylist()
    return found
