"""What a person should check about how files fall into slides, before anything is counted."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from bloodcell_batch.files.names import look
from bloodcell_batch.labels.synonyms import known_cell
from bloodcell_batch.records import ImageFile
from bloodcell_batch.slides.manifest import ManifestRule
from bloodcell_batch.slides.rules import ROOT_SLIDE

_LISTED = 4
_LEAST_FILES, _MOST_PATIENTS = 5, 6  # more groups of names than that in a folder are cells of fields, or files by date
_NUMBER = re.compile(r"\d+")
_TWO_NUMBERS = re.compile(r"(.*\d\D+)\d+\D*", re.DOTALL)
"""A name with two numbers or more; its group is what stands before the last."""


def remarks(rule: Callable[[str], str], files: Sequence[ImageFile]) -> list[str]:
    """Slides that only look the same, folders of classes instead of slides, names of two patients in one folder, and
    what a manifest and the folder don't agree about; one sentence each, sorted."""
    slides = _prefixes(files)
    said = [*_alike(slides), *_class_folders(slides), *_mixed_names(slides)]
    if ROOT_SLIDE in slides:
        said.append(
            f"images that lie beside the slide folders are counted as a slide of their own, named {ROOT_SLIDE!r}"
        )
    if isinstance(rule, ManifestRule):
        said += rule.remarks(file.path for file in files)
    return sorted(said)


def _alike(slides: Iterable[str]) -> list[str]:
    groups: dict[str, set[str]] = defaultdict(set)
    for slide in slides:
        groups[look(slide)].add(slide)
    return [
        f"the slides {' and '.join(ascii(name) for name in sorted(names))} look the same but are counted apart"
        for names in groups.values()
        if len(names) > 1
    ]


def _class_folders(slides: Iterable[str]) -> list[str]:
    """Folders named after cells are one slide sorted by class, as analysers and data sets export it."""
    named = sorted(slide for slide in slides if known_cell(PurePosixPath(slide).name))
    if len(named) < 2:
        return []
    shown = ", ".join(repr(name) for name in named[:_LISTED]) + (", ..." if len(named) > _LISTED else "")
    remark = (
        f"{len(named)} slides are named after cells ({shown}): is this an export by class? Each folder is counted as a "
        "slide of its own; give the folder above the patients' folders with --slide-by top, or name the slide with "
        "--slide-by regex or manifest"
    )
    return [remark]


def _prefixes(files: Iterable[ImageFile]) -> dict[str, Counter[str]]:
    """Of every slide, how many of its files' names begin alike before their last of several numbers. A slide with more
    than `_MOST_PATIENTS` beginnings is counted no further: memory must not grow with the names of its files."""
    found: dict[str, Counter[str]] = {}
    for file in files:
        counts = found.setdefault(file.slide_id, Counter())
        if len(counts) > _MOST_PATIENTS:
            continue
        name = file.path[file.path.rfind("/") + 1 :]
        dot = name.rfind(".")
        numbers = _TWO_NUMBERS.fullmatch(name, 0, dot if dot > 0 else len(name))
        if numbers:
            counts[numbers[1]] += 1
    return found


def _mixed_names(prefixes: Mapping[str, Counter[str]]) -> list[str]:
    """Names such as P1_001 and P2_001 in one folder: two patients would make one differential."""
    said = []
    for slide, counts in prefixes.items():
        groups = sorted(prefix for prefix, count in counts.items() if count >= _LEAST_FILES)
        alike = len({_NUMBER.sub("0", prefix) for prefix in groups}) == 1
        if alike and 2 <= len(groups) <= _MOST_PATIENTS and len(groups) == len(counts):
            shown = ", ".join(f"{prefix}..." for prefix in groups)
            said.append(
                f"the names in slide {slide} fall into {len(groups)} groups ({shown}): if these are patients or "
                "slides, count them apart with --slide-by regex"
            )
    return said
