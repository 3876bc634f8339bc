import torch

from bloodcell_batch.training.augmentation.non_cells import draw_non_cells


def test_every_kind_is_drawn_by_turns() -> None:
    images = torch.full((25, 64, 64, 3), 200, dtype=torch.uint8)
    images[:, 20:44, 20:44] = 10  # the cell, which no picture may show
    drawn = draw_non_cells(images, 32, torch.Generator().manual_seed(2))
    assert drawn.shape == (25, 3, 32, 32)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    roughness = (drawn[..., 1:] - drawn[..., :-1]).abs().mean(dim=(1, 2, 3))
    spread = drawn.flatten(1).std(dim=1)
    assert int((roughness > 0.02).sum()) >= 5  # noise, of any strength
    corners = (drawn - 200 / 255).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert int(corners.sum()) == 5
    flat = (drawn.amax(dim=(2, 3)) - drawn.amin(dim=(2, 3))).amax(dim=1) < 1e-6
    assert int((flat & ~corners).sum()) == 5
    assert int((spread > 0.02).sum()) >= 15
    again = draw_non_cells(images, 32, torch.Generator().manual_seed(2))
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, draw_non_cells(images, 32, torch.Generator().manual_seed(3)))


def test_fewer_than_the_kinds_are_possible() -> None:
    images = torch.zeros((2, 16, 16, 3), dtype=torch.uint8)
    assert draw_non_cells(images, 8, torch.Generator().manual_seed(0)).shape == (2, 3, 8, 8)
