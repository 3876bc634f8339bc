"""Training crops and what the maps should be on them."""

import numpy as np
import torch
from drawn_fields import LEUKOCYTE, grid_of_red_cells, smear

from bloodcell_batch.config.finder import FieldSource, TrainFinderConfig
from bloodcell_batch.fields.cells import FIELD_CLASSES
from bloodcell_batch.training.finder.data import COMPLETE, STORED_RED_CELL, UNKNOWN, TrainingField
from bloodcell_batch.training.finder.drawing import Artist, Drawn
from bloodcell_batch.training.finder.targets import Targets, finder_loss, targets_of

ROOM = 8


def field(trust: tuple[int, int, int] = (COMPLETE, COMPLETE, COMPLETE)) -> TrainingField:
    white = [(150.0, 120.0, 70.0), (260.0, 200.0, 64.0)]
    red = grid_of_red_cells(400, 300, STORED_RED_CELL, but_not_at=white)
    picture = smear(400, 300, red, white)
    rows = [(0, *cell, cell[2]) for cell in white] + [(1, *cell, cell[2]) for cell in red]
    ground = np.array([240, 235, 225], dtype=np.float32)
    return TrainingField("a", "lab", (picture, picture[::2, ::2]), np.array(rows, dtype=np.float32), trust, ground)


def config(**changes: object) -> TrainFinderConfig:
    source = FieldSource(folder="x", boxes="yolo")
    return TrainFinderConfig.model_validate({"sources": {"lab": source}, "stain": 0, "canvas": 128} | changes)


def test_boxes_go_with_the_cells_when_a_field_is_turned_and_scaled() -> None:
    artist = Artist(config(composites=0), [field()])
    seen = 0
    for seed in range(30):
        drawn = artist.draw(np.random.default_rng(seed))
        for kind, x, y, width, _ in drawn.cells:
            if kind == 0 and min(x, y) > ROOM and max(x, y) < 128 - ROOM:
                seen += 1
                purple = np.abs(drawn.rgb[int(y), int(x)].astype(int) - LEUKOCYTE).sum()
                assert purple < 60
                assert 64 * 28 / 40 * 0.55 < width < 70 * 28 / 40 * 1.8
    assert seen > 20


def test_pasted_cells_are_drawn_where_their_boxes_are() -> None:
    artist = Artist(config(composites=1, scale=0), [field()])
    counts = []
    for seed in range(10):
        drawn = artist.draw(np.random.default_rng(seed))
        white = drawn.cells[drawn.cells[:, 0] == 0]
        counts.append(len(white))
        for _, x, y, _, _ in white:
            if min(x, y) > ROOM and max(x, y) < 128 - ROOM:
                assert np.abs(drawn.rgb[int(y), int(x)].astype(int) - LEUKOCYTE).sum() < 60
    assert max(counts) > 2


def test_the_same_chance_draws_the_same_crop() -> None:
    artist = Artist(config(stain=1), [field()])
    one, other = (artist.draw(np.random.default_rng(5)) for _ in range(2))
    assert (one.rgb == other.rgb).all()
    assert (one.cells == other.cells).all()


def drawn(trust: tuple[int, ...], *cells: tuple[float, ...]) -> Drawn:
    rows = np.array(cells, dtype=np.float32).reshape(-1, 5)
    return Drawn(np.zeros((64, 64, 3), dtype=np.uint8), rows, np.empty((0, 5), dtype=np.float32), trust)


def test_the_maps_have_a_peak_at_each_centre_and_its_size() -> None:
    centres, _, sizes, sized = targets_of(drawn((2, 2, 2), (1, 30, 22, 28, 56)), 28)
    assert centres.shape == (3, 16, 16)
    assert np.argwhere(centres == 1).tolist() == [[FIELD_CLASSES.index("red_cell"), 5, 7]]
    np.testing.assert_allclose(sizes[:, 5, 7], [0, np.log(2)], atol=1e-6)
    assert sized.sum() == 9


def test_a_size_that_was_guessed_is_not_learned() -> None:
    assert targets_of(drawn((2, 2, 2), (0, 30, 22, -50, -50)), 28)[3].sum() == 0


def loss(made: Drawn, logits: torch.Tensor) -> float:
    maps = [torch.from_numpy(each)[None] for each in targets_of(made, 28)]
    return float(finder_loss(logits, torch.zeros((1, 2, 16, 16)), Targets(*maps), 0.0)[0])


def test_what_nobody_labelled_is_not_learned() -> None:
    sure = torch.full((1, 3, 16, 16), 5.0)
    assert loss(drawn((UNKNOWN, UNKNOWN, UNKNOWN)), sure) == 0
    assert loss(drawn((COMPLETE, UNKNOWN, UNKNOWN)), sure) > 1


def test_where_boxes_are_missing_a_likely_cell_is_no_mistake() -> None:
    logits = torch.full((1, 3, 16, 16), -9.0)
    logits[0, 0, 4, 4] = 3.0
    assert loss(drawn((1, 0, 0)), logits) < 0.01 < loss(drawn((2, 0, 0)), logits)
