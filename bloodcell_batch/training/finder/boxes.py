"""Boxes that people drew around cells: Pascal VOC's XML and YOLO's text files."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from bloodcell_batch.errors import InputError


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A box as its file has it: label, centre and size in pixels."""

    label: str
    x: float
    y: float
    width: float
    height: float


def voc_boxes(path: Path) -> list[LabelledBox]:
    """The objects of a Pascal VOC file.

    Raises:
        InputError: it can't be read, is no XML, or an object lacks its name or a corner.
    """
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - the user's own files; expat bounds expansion
        return [_voc_box(element) for element in root.iter("object")]
    except OSError as error:
        raise InputError(f"Can't read the boxes {path}: {error.strerror or error}.", hint=_VOC) from error
    except (ET.ParseError, ValueError) as error:
        raise InputError(f"{path} is no Pascal VOC file: {error}.", hint=_VOC) from error


def _voc_box(element: ET.Element) -> LabelledBox:
    def number(name: str) -> float:
        text = element.findtext(f"bndbox/{name}")
        if text is None:
            raise ValueError(f"an object has no {name}")
        return float(text)

    left, top, right, bottom = number("xmin"), number("ymin"), number("xmax"), number("ymax")
    label = element.findtext("name")
    if not label:
        raise ValueError("an object has no name")
    return LabelledBox(label, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def yolo_boxes(path: Path, width: int, height: int) -> list[LabelledBox]:
    """The lines of a YOLO file, `class x y width height` in shares of an image of so many pixels.

    Raises:
        InputError: it can't be read, or a line has other than five numbers.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Can't read the boxes {path}: {error}.", hint=_YOLO) from error
    boxes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, *values = line.split()
        try:
            x, y, w, h = map(float, values)
        except ValueError as error:
            raise InputError(f"{path}, line {number} is no YOLO box: {line.strip()!r}.", hint=_YOLO) from error
        boxes.append(LabelledBox(label, x * width, y * height, w * width, h * height))
    return boxes


_VOC = "Boxes in Pascal VOC are XML files named as the images, in the folder `boxes` beside `images`."
_YOLO = "A YOLO file has one line per box: class x y width height, the last four as shares of the image's sides."
