"""What every source of labelled images gives: files with classes, and a function that reads one of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from bloodcell_batch.cell_classes import ClassList
from bloodcell_batch.records import ImageFile
from bloodcell_batch.stages.decode import Reader
from bloodcell_batch.training.data.class_names import ClassNames

FREE, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
"""Part that the data assign an image to; FREE images are split by us."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """An image and its class as an index into the source's classes.

    `part` is what the data assign it to, `laboratory` and `slide` where it comes from, "" where the data don't tell.
    """

    file: ImageFile
    label: int
    part: int = FREE
    laboratory: str = ""
    slide: str = ""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A `LabelledFile` before its class has a number."""

    file: ImageFile
    name: str
    part: int = FREE
    laboratory: str = ""
    slide: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled images that are not read yet, and the classes that their labels count."""

    entries: tuple[LabelledFile, ...]
    read: Reader
    classes: ClassList


def numbered(entries: Iterable[NamedFile], read: Reader, names: ClassNames) -> Source:
    """The source of these images; InputError where they have fewer than two classes and no others are declared."""
    found = tuple(entries)
    classes = names.list_of(entry.name for entry in found)
    number = {name: place for place, name in enumerate(classes.names)}
    files = (LabelledFile(one.file, number[one.name], one.part, one.laboratory, one.slide) for one in found)
    return Source(tuple(files), read, classes)
