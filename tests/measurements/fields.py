"""Whole fields through `classify`: how many cells are found, how many have their right class, and does it add up?

    python tests/measurements/fields.py RESULTS BOXES CELLS

RESULTS is the CSV table of `classify` for the fields of BCCD, BOXES its folder of Pascal VOC files, CELLS the folder
with its cells cut out, a folder per class, named BloodImage_NNNNN_k.jpg. Their labels are those of the fields in which
one leukocyte has a box: k is no number of a box. A row is the cell of a box if its centre lies in the box.
"""

import argparse
import csv
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

Box = tuple[float, float, float, float]


def leukocytes(path: Path) -> list[Box]:
    """Left, upper, right and lower border of each leukocyte's box."""
    names = ("xmin", "ymin", "xmax", "ymax")
    boxes = [one for one in ET.parse(path).getroot().iter("object") if one.findtext("name") == "WBC"]
    sides = [[float(one.findtext(f"bndbox/{name}", "nan")) for name in names] for one in boxes]
    return [(left, upper, right, lower) for left, upper, right, lower in sides]


def labels_of(cells: Path) -> dict[str, set[str]]:
    """The classes of each field's cells, by the field's name."""
    found: dict[str, set[str]] = {}
    for picture in cells.glob("*/*.jpg"):
        found.setdefault(picture.stem.rpartition("_")[0], set()).add(picture.parent.name)
    return found


def centre_in(row: dict[str, str], box: Box) -> bool:
    x, y = (float(row[at]) + float(row[side]) / 2 for at, side in (("x", "width"), ("y", "height")))
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def at_border(row: dict[str, str], box: Box) -> bool:
    """Whether a box, whose pixels count from 1, reaches the border of its field."""
    return min(box[0] - 1, box[1] - 1, float(row["field_width"]) - box[2], float(row["field_height"]) - box[3]) <= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("results", "boxes", "cells"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    with options.results.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    labels, seen = labels_of(options.cells), Counter[str]()
    reasons = Counter(row["reason"] or row["status"] for row in rows)
    for path in sorted({row["path"] for row in rows}):
        cells = [row for row in rows if row["path"] == path and row["cell"] not in {"", "0"}]
        boxes = leukocytes(options.boxes / f"{Path(path).stem}.xml")
        matched = [[row for row in cells if centre_in(row, box)] for box in boxes]
        seen["boxes"] += len(boxes)
        seen["found"] += sum(bool(some) for some in matched)
        seen["rows of no box"] += sum(not any(centre_in(row, box) for box in boxes) for row in cells)
        for row, box in ((some[0], box) for some, box in zip(matched, boxes, strict=True) if some):
            place = "at the border" if at_border(row, box) else "elsewhere"
            seen[f"{place}, {'' if row['reason'] == 'cut_off' else 'not '}called cut off"] += 1
        label = labels.get(Path(path).stem, set())
        if len(boxes) != 1 or len(label) != 1 or not matched[0]:
            continue
        row, (truth,) = matched[0][0], label
        shares = {name[2:]: float(value) for name, value in row.items() if name.startswith("p_") and value}
        seen["labelled"] += 1
        seen["most probable right"] += bool(shares) and max(shares, key=lambda name: shares[name]) == truth
        seen["classified"] += bool(row["label"])
        seen["classified right"] += row["label"] == truth
        seen["cut off"] += row["reason"] == "cut_off"
    lines = [", ".join(f"{count} {name}" for name, count in seen.items())]
    lines.append("rows: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()))
    with options.results.with_name(f"{options.results.stem}.slides.csv").open(encoding="utf-8", newline="") as handle:
        for slide in csv.DictReader(handle):
            own = Counter(row["label"] for row in rows if row["slide_id"] == slide["slide_id"] and row["label"])
            counts = {name[:-6]: int(value) for name, value in slide.items() if name.endswith("_count") and value}
            wrong = {name: (own[name], count) for name, count in counts.items() if own[name] != count}
            lines.append(f"{slide['slide_id']}: {f'differs: {wrong}' if wrong else 'equals the count of its rows'}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
