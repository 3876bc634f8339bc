"""The script that gathers the images of the release training, on drawn stand-ins for the public datasets."""

import csv
import re
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, draw_picture, encode
from PIL import Image

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve

BOX = "<annotation>{}</annotation>"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def field(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.stem))
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    root, seeds = tmp_path / "images", iter(range(1000))
    for folder, count in (("pbc", 10), ("external_bccd", 5), ("external_chula", 5), ("external_munich", 5)):
        for name in DEFAULT_CLASSES.names if folder == "pbc" else ("neutrophil",):
            for i in range(count):
                path = root / folder / name / f"E-1_{i}_0.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(draw_picture(next(seeds))))
    (root / "external_jtsc" / "neutrophil").mkdir(parents=True)
    (root / "external_jtsc" / "neutrophil" / "1.jpg").write_bytes(encode(draw_picture(999)))
    field(root / "fields_txl" / "bcdd" / "a.png", 256, 256)
    (root / "fields_txl" / "bcdd" / "a.txt").write_text("1 .5 .5 .1 .1\n" + "0 .5 .5 .3 .2\n" * 5, encoding="utf-8")
    field(root / "fields_bccd" / "images" / "b.jpg", 640, 480)
    boxes = [("Platelets", 300, 200, 320, 220), ("Platelets", 10, 10, 30, 30), ("RBC", 310, 210, 400, 300)]
    (root / "fields_bccd" / "boxes").mkdir()
    text = BOX.format("".join(OBJECT.format(*box) for box in boxes))
    (root / "fields_bccd" / "boxes" / "b.xml").write_text(text, encoding="utf-8")
    # The field of one of the cells of external_bccd.
    field(root / "fields_bccd" / "images" / "E-1_3.jpg", 640, 480)
    boxes = [("WBC", 20, 100, 160, 240), *(("RBC", 200 + 90 * i, 300, 280 + 90 * i, 380) for i in range(3))]
    text = BOX.format("".join(OBJECT.format(*box) for box in boxes))
    (root / "fields_bccd" / "boxes" / "E-1_3.xml").write_text(text, encoding="utf-8")
    for stem in ("E-1_0", "E-9_0"):
        field(root / "fields_chula_wbc" / f"{stem}.jpg", 960, 600)
        (root / "fields_chula_wbc" / f"{stem}.txt").write_text("3 .5 .5 .1 .1\n4 0.01 .99 .1 .1\n", encoding="utf-8")
    return root


def test_the_manifests_hold_what_may_train_the_release(datasets: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    main = runpy.run_path(str(PROJECT / "configs" / "release" / "prepare_data.py"))["main"]
    main(datasets, work)
    with (work / "all.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all((work / row["path"]).is_file() for row in rows)
    assert Counter((row["laboratory"], row["label"]) for row in rows if row["laboratory"] != "pbc") == {
        ("bccd", "neutrophil"): 6,  # five, and one of them again as it lies in its field
        ("bccd", "platelet"): 1,  # the one whose surroundings lie inside the field
        ("bcdd", "lymphocyte"): 1,
        ("bcdd", "neutrophil"): 4,
        ("chula", "neutrophil"): 5,
        ("chula", "lymphocyte"): 1,  # of the field that no cell of the set comes from
        ("chula", "monocyte"): 1,
        ("munich", "neutrophil"): 5,
    }
    assert Counter(row["split"] for row in rows if row["laboratory"] == "pbc") == {
        "train": 64,
        "validation": 8,
        "test": 8,
    }
    assert {row["split"] for row in rows if row["laboratory"] != "pbc"} == {"train", "validation"}
    with (work / "first.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["laboratory"] for row in csv.DictReader(stream)} == {"pbc", "munich", "bcdd", "chula"}
    corner = next(row["path"] for row in rows if (row["laboratory"], row["label"]) == ("chula", "monocyte"))
    with Image.open(work / corner) as cut:
        assert cut.size == (171, 171)
    with Image.open(work / "bccd_in_fields" / "E-1_3.png") as cut:
        assert cut.size == (360, 360)  # 4.5 red cells of 80 pixels
        left = np.asarray(cut.convert("RGB"))[:, :80]
    assert np.ptp(left, axis=(0, 1)).max() == 0  # what lies outside the field is empty smear


def test_every_stage_of_the_script_has_a_recipe() -> None:
    """`bloodcell-batch train` would find out only after the stages before it, hours later."""
    folder = PROJECT / "configs" / "release"
    script = (folder / "release.sh").read_text(encoding="utf-8")
    stages = re.findall(r"^ *stage \S+ (\w+) \w+\.csv ", script, flags=re.MULTILINE)
    assert sorted(set(stages)) == sorted(path.stem for path in folder.glob("*.toml"))
    recipes = {name: resolve(TrainConfig, {}, folder / f"{name}.toml") for name in stages}
    assert [name for name, recipe in recipes.items() if recipe.epochs == 0] == ["model"]
    assert len({recipe.architecture for recipe in recipes.values()}) == 1
