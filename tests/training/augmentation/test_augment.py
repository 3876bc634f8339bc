import numpy as np
import pytest
import torch
from conftest import draw_picture

from bloodcell_batch.config.recipe import AugmentationConfig
from bloodcell_batch.training.augmentation.appearance import colour_light, compress, defocus, illuminate, restain
from bloodcell_batch.training.augmentation.augment import augment, plain

SIDE = 32
OFF = dict.fromkeys(AugmentationConfig.model_fields, 0) | {"blur_factor": 1.0}
STRENGTHS = {
    name: 0.5 for name in OFF if name not in {"blur_factor", "gentle", "randaugment", "augmix", "mixup", "cutmix"}
}
BACKGROUND = torch.full((1, 3, 1, 1), 0.9)


def config(**strength: float) -> AugmentationConfig:
    return AugmentationConfig.model_validate(OFF | strength)


def batch(count: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw_picture(seed, 2 * SIDE) for seed in range(count)]))


def run(seed: int = 0, images: torch.Tensor | None = None, **strength: float) -> torch.Tensor:
    picked = batch() if images is None else images
    return augment(picked, SIDE, config(**strength), torch.Generator().manual_seed(seed))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shape_range_and_reproducibility() -> None:
    full = AugmentationConfig()
    first = augment(batch(), SIDE, full, random(1))
    assert first.shape == (16, 3, SIDE, SIDE)
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 1
    assert torch.equal(first, augment(batch(), SIDE, full, random(1)))
    assert not torch.equal(first, augment(batch(), SIDE, full, random(2)))


def test_without_strength_only_rotation_and_flips_remain() -> None:
    flat = torch.full((4, 2 * SIDE, 2 * SIDE, 3), 128, dtype=torch.uint8)
    np.testing.assert_allclose(run(images=flat).numpy(), 128 / 255, atol=1e-4)
    assert not torch.allclose(run(), plain(batch(), SIDE), atol=0.05)


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_strength_acts(name: str) -> None:
    more = {"blur_factor": 3.0} if name == "blur" else {}
    assert (run(0, None, **{name: 0.3, **more}) - run()).abs().mean() > 1e-3


def disc_area(**strength: float) -> torch.Tensor:
    axis = torch.linspace(-1, 1, 2 * SIDE)
    disc = (axis[:, None].square() + axis[None, :].square()).sqrt() < 0.3
    image = torch.where(disc[:, :, None], 60, 220).to(torch.uint8).expand(2 * SIDE, 2 * SIDE, 3)
    pixels = run(1, image.expand(64, -1, -1, -1), **strength)
    # Within the middle, where no mirrored copy can be.
    return (pixels[:, 0] < 0.55).float().mean(dim=(1, 2))


def test_zoom_in_enlarges_and_zoom_out_shrinks() -> None:
    area = float(disc_area()[0])
    larger, smaller = disc_area(zoom_in=0.6), disc_area(zoom_out=0.6)
    assert larger.min() > 0.9 * area
    assert larger.max() == pytest.approx(area * np.exp(1.2), rel=0.15)
    assert smaller.median() < 0.7 * area  # mirrored copies enter some fields
    assert smaller.min() == pytest.approx(area * np.exp(-1.2), rel=0.2)


def test_density_scales_the_optical_density_and_leaves_the_background() -> None:
    pixels = torch.tensor([0.9, 0.6, 0.3]).view(1, 1, 1, 3).expand(32, 3, 1, 3)
    changed = restain(pixels, BACKGROUND, config(density=0.7), random())
    density = -(changed / 0.9).log()
    torch.testing.assert_close(changed[..., 0], pixels[..., 0], atol=1e-4, rtol=0)
    factors = density[:, 0, 0, 2] / np.log(3)
    torch.testing.assert_close(density[:, 0, 0, 1] / np.log(1.5), factors, rtol=1e-3, atol=1e-3)
    assert np.exp(-0.7) < factors.min() < 0.7
    assert 1.5 < factors.max() < np.exp(0.7)


def test_glare_takes_more_density_from_the_nucleus_than_from_the_cytoplasm() -> None:
    pixels = torch.tensor([0.9, 0.65, 0.1]).view(1, 1, 1, 3).expand(32, 3, 1, 3)
    changed = restain(pixels, BACKGROUND, config(glare=0.5), random())
    kept = (-(changed / 0.9).log() / -(pixels / 0.9).log())[..., 1:]
    assert (kept[..., 1] <= kept[..., 0] + 1e-4).all()
    assert kept[..., 1].min() < 0.65
    torch.testing.assert_close(changed[..., 0], pixels[..., 0], atol=1e-4, rtol=0)


def test_stain_and_mixing_change_colours_but_not_the_empty_smear() -> None:
    pixels = torch.tensor([[0.9, 0.5], [0.9, 0.3], [0.9, 0.7]]).view(1, 3, 1, 2).expand(32, 3, 1, 2)
    for name in ("stain", "colour_mixing"):
        changed = restain(pixels, BACKGROUND, config(**{name: 0.2}), random())
        torch.testing.assert_close(changed[..., 0], pixels[..., 0], atol=1e-4, rtol=0)
        assert changed[..., 1].std(dim=0).min() > 0.01


def test_neutral_backgrounds_are_grey() -> None:
    pixels = torch.tensor([0.9, 0.7, 0.5]).view(1, 3, 1, 1).expand(16, 3, 1, 1)
    changed = restain(pixels, pixels, config(neutral=1.0), random())
    assert float((changed.amax(1) - changed.amin(1)).max()) < 1e-4


def test_grey_takes_colour_away() -> None:
    def colourfulness(pixels: torch.Tensor) -> float:
        return float((pixels.amax(1) - pixels.amin(1)).mean())

    assert colourfulness(run(grey=1.0)) < 0.85 * colourfulness(run())


def test_light_falls_off_towards_one_side() -> None:
    flat = torch.full((16, 3, SIDE, SIDE), 0.8)
    lit = illuminate(flat, config(illumination=0.4), random())
    assert (lit <= 0.8 + 1e-5).all()
    assert lit.amin(dim=(1, 2, 3)).min() < 0.6
    # Linear across the field, so the middle of the field is its mean.
    torch.testing.assert_close(lit.mean(dim=(2, 3)), lit[:, :, 15:17, 15:17].mean(dim=(2, 3)), atol=1e-3, rtol=0)


def test_some_images_get_softer_and_some_sharper() -> None:
    def roughness(pixels: torch.Tensor) -> torch.Tensor:
        return (pixels[..., 1:] - pixels[..., :-1]).abs().mean(dim=(1, 2, 3))

    rough = torch.rand((64, 3, SIDE, SIDE), generator=random())
    factor = roughness(defocus(rough, config(blur=0.5, blur_factor=4.0, sharpen=0.2), random())) / roughness(rough)
    assert 20 <= int((factor < 0.95).sum()) <= 44
    assert 5 <= int((factor > 1.05).sum()) <= 22
    assert int(((factor > 0.999) & (factor < 1.001)).sum()) >= 8


def test_some_images_go_through_jpeg() -> None:
    pixels = torch.rand((64, 3, SIDE, SIDE), generator=random())
    changed = compress(pixels, config(jpeg=0.5), random())
    touched = (changed != pixels).flatten(1).any(dim=1)
    assert 20 <= int(touched.sum()) <= 44
    assert 0.02 < float((changed - pixels)[touched].abs().mean()) < 0.35
    assert torch.equal(compress(pixels, config(), random()), pixels)


def test_a_smaller_cell_lies_on_empty_smear_or_its_mirror_image() -> None:
    image = torch.full((2, 2 * SIDE, 2 * SIDE, 3), 220, dtype=torch.uint8)
    image[:, 24:40, 24:40] = 60
    for seed in range(6):
        corners = run(seed, images=image, zoom_out=1.5)[:, :, 0, 0]
        close_to_smear = (corners - 220 / 255).abs() < 0.02
        close_to_cell = (corners - 60 / 255).abs() < 0.3
        assert (close_to_smear | close_to_cell).all()


def test_a_gentle_share_is_changed_less() -> None:
    images = batch(1).expand(32, -1, -1, -1)
    changed = run(0, images, density=0.8, glare=0.5, gentle=0.5)
    spread = changed.mean(dim=(1, 2, 3))
    assert spread[:16].std() < 0.6 * spread[16:].std()
    full = AugmentationConfig(gentle=1.0)
    assert augment(images, SIDE, full, random()).shape == (32, 3, SIDE, SIDE)


def test_a_tint_is_one_colour_and_a_coloured_slope_is_not() -> None:
    flat = torch.full((64, 3, SIDE, SIDE), 0.5)
    tinted = colour_light(flat, config(tint=0.5), random())
    assert float(tinted.std(dim=(2, 3)).max()) < 1e-6
    changed = (tinted[:, :, 0, 0] - 0.5).abs().amax(dim=1) > 1e-6
    assert 16 < int(changed.sum()) < 48
    assert float(tinted[changed][:, :, 0, 0].std(dim=1).min()) > 0
    sloping = colour_light(flat, config(coloured_slope=1.0), random())
    across = sloping[:, :, 0, 0] / sloping[:, :, -1, -1]
    assert float(across.std(dim=1).median()) > 0.05
    torch.testing.assert_close(sloping.mean(dim=(2, 3)), torch.full((64, 3), 0.5), atol=0.12, rtol=0)
