"""Sample: what the images of each slide show, by a look at a few of them, before the first is classified."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell_batch.errors import UsageError
from bloodcell_batch.fields.vote import SMALLEST_FIELD, Sampled, SampledImages, SlideView, view_of
from bloodcell_batch.files.names import printable
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.perceptual_hash import grey_thumbnail
from bloodcell_batch.progress import Observer, counted
from bloodcell_batch.records import ImageFile, Rejection
from bloodcell_batch.stages.decode import Reader, measure_quality
from bloodcell_batch.stages.find import Look

_FIRST, _MORE = 5, 10  # images of a slide that are looked at, and how many more if these are not of one mind
_NAMED = 5
_OTHER_SCALE = math.log(1.15)  # by which a measured diameter may differ from a given one
_HINT = (
    "Say what the images show: --images cells or --images fields. Put slides of each kind into folders of their own."
)

Sample = Callable[[ImageFile], Sampled | None]
Known = Callable[[str, Sequence[ImageFile], Sequence[ImageFile]], SlideView | None]
"""What a slide is known to be, by its name, its files, and those that it may be judged by; None if it is not known."""
Ahead = Callable[[Iterable[ImageFile], Sample], Iterable[Sampled | Rejection | None]]
"""Runs a function on files, ahead of the consumer and in their order, and makes a `Rejection` of one that hangs."""


def slide_views(
    files: Iterable[ImageFile],
    asked: SampledImages | None,
    reader: Reader,
    look: Look,
    ahead: Ahead,
    known: Known = lambda *_: None,
) -> dict[str, SlideView]:
    """What the images of each slide are taken for.

    The same images are looked at in every run: which workers there are, and where an earlier run stopped, decides
    nothing.

    Args:
        files: of whole slides, in the order of the rows.
        asked: what somebody says that they show; they are looked at all the same, for their scale.
        reader: reads and decodes a file.
        look: the finder.
        ahead: on which threads.
        known: what slides are known to be without a look.

    Raises:
        UsageError: the images of a slide look like neither, or too many of them like the other.
    """
    slides = {slide: list(some) for slide, some in groupby(files, key=lambda file: file.slide_id)}

    def sample(file: ImageFile) -> Sampled | None:
        return _sampled(file, reader, look)

    def sampled(chosen: Mapping[str, Sequence[ImageFile]]) -> Iterator[tuple[str, list[Sampled]]]:
        found = iter(ahead((file for some in chosen.values() for file in some), sample))
        for slide, some in chosen.items():
            looked_at = [next(found) for _ in some]
            yield slide, [one for one in looked_at if isinstance(one, Sampled)]

    first, more = {}, {}
    views: dict[str, SlideView | None] = dict.fromkeys(slides)
    for slide, some in slides.items():
        chosen = _spread(some, _FIRST)
        taken = {file.path for file in chosen}
        others = _spread([file for file in some if file.path not in taken], _MORE)
        views[slide] = known(slide, some, [*chosen, *others])
        if views[slide] is None:
            first[slide], more[slide] = chosen, others
    seen = dict(sampled(first))
    views |= {slide: view_of(some, asked) for slide, some in seen.items()}
    unsure = {slide: more[slide] for slide in seen if not _of_one_mind(views[slide], seen[slide])}
    for slide, further in sampled(unsure):
        seen[slide] += further
        views[slide] = view_of(seen[slide], asked)
    undecided = [slide for slide, view in views.items() if view is None]
    if undecided:
        raise UsageError(_what_was_seen(undecided, seen), hint=_HINT)
    return {slide: view for slide, view in views.items() if view is not None}


def tell(views: Mapping[str, SlideView], asked: SampledImages | None, observer: Observer) -> None:
    """Say which slides are fields of view, which were not of one mind, and which look otherwise than somebody says."""
    fields = sum(view.images == "fields" for view in views.values())
    looked_at = sum(view.single + view.field + view.unclear for view in views.values())
    slides = f"{counted(len(views) - fields, 'slide')} of single cells, {fields:,} of fields of view"
    by = f"as --images {asked} says" if asked else f"by a look at {counted(looked_at, 'image')}"
    observer.note(f"{slides}, {by}", slides_of_fields=fields, images_looked_at=looked_at)
    _tell_some(
        [f"slide {printable(slide)}: {in_words(view)}" for slide, view in views.items() if _is_remarkable(view)],
        observer.note,
    )
    if asked:
        _tell_some(
            [
                f"slide {printable(slide)}: {in_words(view)}, in spite of --images {asked}"
                for slide, view in views.items()
                if _against(view)
            ],
            observer.warn,
        )


def tell_other_scales(views: Mapping[str, SlideView], given: float, observer: Observer) -> None:
    """Warn of slides whose red cells measure otherwise than somebody says, in pixels."""
    _tell_some(
        [
            f"slide {printable(slide)}: a red cell measures {view.red_cell_pixels:g} pixels, --red-cell-pixels says "
            f"{given:g}: its cells are cut out at the wrong scale if that is not so; without the option, it is measured"
            for slide, view in views.items()
            if view.red_cell_pixels is not None and abs(math.log(view.red_cell_pixels / given)) > _OTHER_SCALE
        ],
        observer.warn,
    )


def in_words(view: SlideView) -> str:
    """`fields of view, 4 of 5 sampled images; a red cell has 38 pixels`: what most images of a slide look like."""
    total = view.single + view.field + view.unclear
    many, one = f"{view.field} of {counted(total, 'sampled image')}", f"{view.single} of {total}"
    if view.field and view.single:
        text = f"fields of view, {many}, and single cells, {one}"
    elif view.field or view.single:
        text = (
            f"fields of view, {many}"
            if view.field
            else f"single cells, {view.single} of {counted(total, 'sampled image')}"
        )
    else:
        text = f"{counted(total, 'sampled image')} that look like neither single cells nor fields of view"
    return text if view.red_cell_pixels is None else f"{text}; a red cell has {view.red_cell_pixels:g} pixels"


def _is_remarkable(view: SlideView) -> bool:
    return (view.images == "fields" or view.has_fields) and not _against(view)


def _against(view: SlideView) -> bool:
    return view.single > view.field if view.images == "fields" else view.field > view.single


def _tell_some(texts: Sequence[str], say: Callable[[str], None]) -> None:
    for text in texts[:_NAMED]:
        say(text)
    if len(texts) > _NAMED:
        say(f"and so of {counted(len(texts) - _NAMED, 'slide')} more, see slides_show in the run record")


def _spread(files: Sequence[ImageFile], count: int) -> list[ImageFile]:
    """So many of the files that can be read, evenly spaced."""
    readable = [file for file in files if file.is_regular and file.size_bytes > 0]
    if len(readable) <= count:
        return readable
    return [readable[round(place * (len(readable) - 1) / (count - 1))] for place in range(count)]


def _sampled(file: ImageFile, reader: Reader, look: Look) -> Sampled | None:
    """None for what can't be read, which becomes a row with its reason later, and for what shows nothing."""
    try:
        _, rgb = reader(file)
    except UndecodableImageError:
        return None
    if _is_blank(rgb):
        return None
    side = max(rgb.shape[:2])
    return Sampled(side, look(rgb, None) if side >= SMALLEST_FIELD else None)


def _is_blank(rgb: NDArray[np.uint8]) -> bool:
    return measure_quality(grey_thumbnail(Image.fromarray(rgb))[None])[0].is_blank


def _of_one_mind(view: SlideView | None, sampled: Sequence[Sampled]) -> bool:
    return view is not None and bool(sampled) and not (view.single and view.field)


def _what_was_seen(undecided: Sequence[str], seen: Mapping[str, Sequence[Sampled]]) -> str:
    told = []
    for slide in undecided[:_NAMED]:
        kinds = [image.kind for image in seen[slide]]
        votes = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        told.append(f"{printable(slide) or '(no folder)'} ({votes})")
    more = f" and {len(undecided) - _NAMED} more" if len(undecided) > _NAMED else ""
    return f"Single cells or whole fields? The images of these slides decide nothing: {', '.join(told)}{more}."
