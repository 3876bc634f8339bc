import itertools

import numpy as np
import pytest
from conftest import draw_picture
from numpy.typing import NDArray

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.images.preprocessing import Preprocessing, resize_to_input
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.records import ImageFile
from bloodcell_batch.training.data.labelled_files import LabelledFile, Source
from bloodcell_batch.training.evaluation.corruption_suite import pick_images, run_corruptions
from bloodcell_batch.training.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt

Pixels = NDArray[np.uint8]
INPUT = Preprocessing(input_size=32)
PIXEL_CORRUPTIONS = ("defocus", "motion", "noise", "jpeg", "brighter", "darker", "less contrast", "more contrast")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_depends_on_the_image_alone(name: str) -> None:
    picture = draw_picture(3, 96)
    before = picture.copy()
    for severity in SEVERITIES:
        first = corrupt(name, picture, severity, digest=17)
        assert first.dtype == np.uint8
        assert first.shape[2] == 3
        np.testing.assert_array_equal(first, corrupt(name, picture, severity, digest=17))
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("name", [*PIXEL_CORRUPTIONS, "stain", "white balance"])
def test_severity_takes_the_image_further_away(name: str) -> None:
    pictures = [draw_picture(seed, 200) for seed in range(8)]
    distance = [
        np.mean([np.abs(corrupt(name, rgb, severity, i).astype(float) - rgb).mean() for i, rgb in enumerate(pictures)])
        for severity in SEVERITIES
    ]
    assert distance[0] > 0.1
    assert all(low < high for low, high in itertools.pairwise(distance))


def test_magnification_changes_the_size_of_the_cell() -> None:
    picture = np.full((100, 100, 3), 230, dtype=np.uint8)
    picture[40:60, 40:60] = 60

    def area(name: str, severity: int) -> float:
        return float((resize_to_input(corrupt(name, picture, severity, 1), INPUT)[..., 0] < 145).mean())

    plain = float((resize_to_input(picture, INPUT)[..., 0] < 145).mean())
    assert area("magnified", 5) == pytest.approx(4 * plain, rel=0.15)
    assert area("reduced", 3) == pytest.approx(plain / 1.45**2, rel=0.15)


def source(count: int) -> tuple[Source, dict[str, Pixels]]:
    pictures: dict[str, Pixels] = {
        f"{i}.png": np.full((40, 40, 3), 20 + 25 * (i % 8), dtype=np.uint8) for i in range(count)
    }
    entries = tuple(LabelledFile(ImageFile(path, "", 1, 1), i % 8) for i, path in enumerate(pictures))
    return Source(entries, lambda file: (f"{int(file.path[:-4]):064x}", pictures[file.path]), DEFAULT_CLASSES), pictures


def test_the_suite_counts_right_answers_per_corruption_and_severity() -> None:
    cells, _ = source(40)
    calls = []

    def by_brightness(
        batch: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        calls.append(len(batch))
        level = np.clip(np.rint((batch.mean(axis=(1, 2, 3)) - 20) / 25), 0, 7).astype(int)
        shares: NDArray[np.float32] = np.eye(8, dtype=np.float32)[level]
        return shares

    report = run_corruptions(cells, INPUT, by_brightness, 2, NullObserver())
    assert report.images == 40
    assert sum(calls) == 40 * (1 + 5 * len(CORRUPTIONS))
    assert max(calls) == 16 * (1 + 5 * len(CORRUPTIONS))
    assert report.clean == 1
    # Flat pictures survive whatever keeps their brightness.
    for name in ("defocus", "motion", "magnified", "reduced", "shifted", "rotated"):
        assert report.accuracy[name] == (1.0,) * 5
    # 45 % of the light: 20 stays at level 0, 45 becomes 20 and so is taken for it, ...
    expected = np.mean([round((0.45 * (20 + 25 * i) - 20) / 25) == i for i in range(8)])
    assert report.accuracy["darker"][4] == pytest.approx(expected)
    assert report.worst[2] == min(min(row) for row in report.accuracy.values())
    assert report.mean == pytest.approx(np.mean(list(report.accuracy.values())))
    again = run_corruptions(
        Source(cells.entries[::-1], cells.read, DEFAULT_CLASSES), INPUT, by_brightness, 0, NullObserver()
    )
    assert again.accuracy == report.accuracy


def test_the_picked_images_are_spread_over_the_classes() -> None:
    cells, pictures = source(80)
    paths = set(pictures)
    few = pick_images(cells, paths, 16)
    assert sorted(entry.label for entry in few.entries) == sorted([*range(8)] * 2)
    assert pick_images(Source(cells.entries[::-1], cells.read, DEFAULT_CLASSES), paths, 16).entries == few.entries
    assert len(pick_images(cells, {"0.png", "1.png"}, 16).entries) == 2
