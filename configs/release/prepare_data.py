"""Writes the manifests of the release training: every image that may train it, its class, laboratory and part.

    python configs/release/prepare_data.py IMAGES WORK

IMAGES holds the public datasets, each in a folder of its own (see README.md here); WORK gets links to them, the cells
cut out of whole fields, and a manifest per stage, `first.csv` and `all.csv`. PBC keeps the parts that it always had
(`stratified_split` of seed 0 over PBC alone), so that its test images are those of every earlier release. Nothing of
`external_jtsc` is taken up.
"""

import csv
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.fields.cells import Cell
from bloodcell_batch.fields.crops import crop
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.training.data.labelled import load_labelled
from bloodcell_batch.training.data.split import stratified_split

WORKERS = 1
SECOND_STAGE = frozenset(("bccd",))
"""Laboratory that only the second stage trains on: the model of the first is tested on it."""
HELD_OUT = 0.2
"""Share of each other laboratory's cells that only chooses epochs and calibrates."""
CHULA_CLASSES = ("neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte")
CHULA_SIDE = 171
"""External_chula shows 256 of 1440 pixels across; the fields are reduced to 960."""
BCDD_LYMPHOCYTES = frozenset(
    (4, 23, 24, 28, 36, 42, 48, 50, 61, 62, 63, 64, 74, 79, 80, 83, 88, 89, 90, 91, 92, 93, 95)
)
BCDD_UNCLEAR = frozenset((8, 10, 17, 19, 27, 29, 32, 35, 38, 45, 46, 59, 60, 68, 73, 82, 97, 98, 99))
"""BCDD has boxes and no classes: these are numbers of its leukocytes in the order of files and lines, read off a
contact sheet by the developers, not by an expert. The others are neutrophils."""
BCDD_SIDE = 1.6
"""Side of a cut against the larger side of the box."""
PLATELET_SIDE = 200
FEWEST_RED_CELLS = 3
"""Whole red cells that tell the scale of a field."""

Row = tuple[str, str, str, str]


def main(images: Path, work: Path) -> None:
    """Write the manifest into `work`."""
    work.mkdir(parents=True, exist_ok=True)
    for name in ("pbc", "external_bccd", "external_chula", "external_munich"):
        link = work / name
        if not link.exists():
            link.symlink_to(images / name)
    rows = [
        *pbc(work),
        *folders(work, "external_munich", "munich"),
        *bcdd(images, work),
        *folders(work, "external_bccd", "bccd"),
        *bccd_platelets(images, work),
        *bccd_in_fields(images, work),
        *folders(work, "external_chula", "chula"),
        *chula_fields(images, work),
    ]
    write(work / "all.csv", rows)
    write(work / "first.csv", [row for row in rows if row[2] not in SECOND_STAGE])


def write(path: Path, rows: list[Row]) -> None:
    """Write a manifest."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("path", "label", "laboratory", "split"))
        writer.writerows(rows)


def pbc(work: Path) -> list[Row]:
    """The single cells of PBC, in the parts of the first release."""
    found, _ = load_labelled(work / "pbc", Preprocessing(input_size=16), WORKERS, NullObserver())
    split = stratified_split(found.labels, found.classes, found.groups, 0.1, 0.1, 0)
    parts = np.full(len(found), "train", dtype=object)
    parts[split.validation], parts[split.test] = "validation", "test"
    return [
        (f"pbc/{path}", found.classes.names[label], "pbc", str(part))
        for path, label, part in zip(found.paths, found.labels, parts, strict=True)
    ]


def folders(work: Path, folder: str, laboratory: str) -> list[Row]:
    """Cells that lie in a folder per class."""
    rows: list[Row] = []
    for name in DEFAULT_CLASSES.names:
        if (work / folder / name).is_dir():
            paths = sorted(path.name for path in (work / folder / name).iterdir())
            rows += parted([f"{folder}/{name}/{path}" for path in paths], name, laboratory)
    return rows


def parted(paths: list[str], label: str, laboratory: str) -> list[Row]:
    """Every fifth cell is for validation: neighbours in the order of names often share a slide."""
    every = round(1 / HELD_OUT)
    return [
        (path, label, laboratory, "validation" if i % every == every - 1 else "train") for i, path in enumerate(paths)
    ]


def bcdd(images: Path, work: Path) -> list[Row]:
    """Leukocytes cut out of the fields of BCDD, where their kind is plain."""
    (work / "bcdd").mkdir(exist_ok=True)
    boxes = [
        (file, line)
        for file in sorted((images / "fields_txl" / "bcdd").glob("*.txt"))
        for line in file.read_text().splitlines()
        if line.startswith("0 ")
    ]
    names: dict[str, list[str]] = {"neutrophil": [], "lymphocyte": []}
    for number, (file, line) in enumerate(boxes):
        if number in BCDD_UNCLEAR:
            continue
        field = Image.open(next(path for path in file.parent.glob(f"{file.stem}.*") if path.suffix != ".txt"))
        x, y, width, height = (float(value) for value in line.split()[1:5])
        side = BCDD_SIDE * max(width * field.width, height * field.height)
        path = f"bcdd/{number:03}.png"
        cut(field, x * field.width, y * field.height, side).save(work / path)
        names["lymphocyte" if number in BCDD_LYMPHOCYTES else "neutrophil"].append(path)
    return [row for label, paths in names.items() for row in parted(paths, label, "bcdd")]


def bccd_platelets(images: Path, work: Path) -> list[Row]:
    """Platelets of the fields, where no leukocyte reaches into the cut."""
    (work / "bccd_platelets").mkdir(exist_ok=True)
    names: list[str] = []
    for file in sorted((images / "fields_bccd" / "boxes").glob("*.xml")):
        objects = [
            (str(found.findtext("name")), [float(str(found.findtext(f"bndbox/{edge}"))) for edge in _EDGES])
            for found in ET.parse(file).iter("object")  # noqa: S314 - a public dataset
        ]
        leukocytes = [box for name, box in objects if name == "WBC"]
        for i, (name, (left, top, right, bottom)) in enumerate(objects):
            x, y, reach = (left + right) / 2, (top + bottom) / 2, PLATELET_SIDE / 2
            inside = reach <= x <= 640 - reach and reach <= y <= 480 - reach
            beside = all(
                box[2] < x - reach or box[0] > x + reach or box[3] < y - reach or box[1] > y + reach
                for box in leukocytes
            )
            if name == "Platelets" and inside and beside:
                path = f"bccd_platelets/{file.stem}_{i}.png"
                field = Image.open(images / "fields_bccd" / "images" / f"{file.stem}.jpg")
                cut(field, x, y, PLATELET_SIDE).save(work / path)
                names.append(path)
    return parted(names, "platelet", "bccd")


_EDGES = ("xmin", "ymin", "xmax", "ymax")


def bccd_in_fields(images: Path, work: Path) -> list[Row]:
    """The cells of external_bccd as `classify` cuts them out of their fields, where one cell is in the field alone.

    Each is in the part of its tight crop.
    """
    (work / "bccd_in_fields").mkdir(exist_ok=True)
    rows: list[Row] = []
    for path, label, laboratory, part in folders(work, "external_bccd", "bccd"):
        stem = Path(path).stem.rsplit("_", 1)[0]
        boxes = images / "fields_bccd" / "boxes" / f"{stem}.xml"
        if not boxes.exists():
            continue
        objects = [
            (str(found.findtext("name")), [float(str(found.findtext(f"bndbox/{edge}"))) for edge in _EDGES])
            for found in ET.parse(boxes).iter("object")  # noqa: S314 - a public dataset
        ]
        leukocytes = [box for name, box in objects if name == "WBC"]
        red_cells = [box for name, box in objects if name == "RBC" and whole(box)]
        if len(leukocytes) != 1 or len(red_cells) < FEWEST_RED_CELLS:
            continue
        left, top, right, bottom = leukocytes[0]
        field = np.asarray(Image.open(images / "fields_bccd" / "images" / f"{stem}.jpg").convert("RGB"))
        cell = Cell((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 1.0)
        size = float(np.median([np.sqrt((x2 - x1) * (y2 - y1)) for x1, y1, x2, y2 in red_cells]))
        name = f"bccd_in_fields/{stem}.png"
        Image.fromarray(crop(field, cell, size)).save(work / name)
        rows.append((name, label, laboratory, part))
    return rows


def whole(box: list[float]) -> bool:
    """Whether a box lies inside a field of 640x480 pixels."""
    left, top, right, bottom = box
    return left > 1 and top > 1 and right < 639 and bottom < 479


def chula_fields(images: Path, work: Path) -> list[Row]:
    """Boxed cells of the fields that external_chula has no cell of."""
    (work / "chula_fields").mkdir(exist_ok=True)
    known = {path.stem.rsplit("_", 1)[0] for path in (images / "external_chula").glob("*/*")}
    names: dict[str, list[str]] = {name: [] for name in CHULA_CLASSES}
    for file in sorted((images / "fields_chula_wbc").glob("*.txt")):
        if file.stem in known:
            continue
        field = Image.open(file.with_suffix(".jpg"))
        for i, line in enumerate(file.read_text().splitlines()):
            code, x, y = line.split()[:3]
            path = f"chula_fields/{file.stem}_{i}.png"
            cut(field, float(x) * field.width, float(y) * field.height, CHULA_SIDE).save(work / path)
            names[CHULA_CLASSES[int(code)]].append(path)
    return [row for label, paths in names.items() for row in parted(paths, label, "chula")]


def cut(field: Image.Image, x: float, y: float, side: float) -> Image.Image:
    """A square around (x, y), moved into the field where it would reach over its edge."""
    side = min(round(side), field.width, field.height)
    left = min(max(round(x - side / 2), 0), field.width - side)
    top = min(max(round(y - side / 2), 0), field.height - side)
    return field.convert("RGB").crop((left, top, left + side, top + side))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
