"""Which files the GPU may decode, and what becomes of the others; torchvision's CPU decoder takes nvJPEG's place."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_picture, encode
from PIL import Image
from torchvision.io import decode_jpeg

from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.errors import BackendError
from bloodcell_batch.images import gpu_jpeg
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.gpu_jpeg import gpu_rgb_decoder
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.records import Reason
from bloodcell_batch.runs.pipeline import classify_slides

LIMITS = DecodeLimits()


def test_plain_jpegs_go_to_the_device_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    original = decode_jpeg

    def watched(data: torch.Tensor, mode: object, device: str) -> torch.Tensor:
        sent.append(device)
        planes: torch.Tensor = original(data, mode, device=device)
        return planes

    monkeypatch.setattr(gpu_jpeg, "decode_jpeg", watched)
    decode = gpu_rgb_decoder("cpu")
    picture = draw_picture(1, 64)
    for data in (encode(picture), encode(Image.fromarray(picture).convert("L")), encode(picture) + bytes(9)):
        np.testing.assert_array_equal(decode(data, LIMITS, ""), decode_rgb(data, LIMITS))
    assert sent == ["cpu"] * 3
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = io.BytesIO()
    Image.fromarray(draw_picture(2, 40, 80)).save(rotated, "JPEG", exif=exif)
    cmyk = encode(Image.fromarray(picture).convert("CMYK"))
    for data in (rotated.getvalue(), cmyk, encode(picture, "PNG")):
        np.testing.assert_array_equal(decode(data, LIMITS, ""), decode_rgb(data, LIMITS))
    assert len(sent) == 3


@pytest.mark.parametrize(
    ("cut", "reason"), [(lambda d: d[:-600], Reason.TRUNCATED), (lambda _: b"", Reason.EMPTY), (lambda _: b"no", None)]
)
def test_damaged_files_get_the_reason_of_the_strict_decoder(cut: object, reason: Reason | None) -> None:
    data = cut(encode(draw_picture(3, 64)))  # type: ignore[operator]
    with pytest.raises(UndecodableImageError) as caught:
        gpu_rgb_decoder("cpu")(data, LIMITS, "")
    assert caught.value.reason is (reason or Reason.NOT_AN_IMAGE)


def test_the_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_jpeg, "decode_jpeg", lambda *_, **__: pytest.fail("too large for any decoder"))
    with pytest.raises(UndecodableImageError) as caught:
        gpu_rgb_decoder("cpu")(encode(draw_picture(4, 64)), DecodeLimits(max_pixels=1000), "")
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_file_that_the_device_refuses_costs_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("nvjpegDecode failed: 5")

    monkeypatch.setattr(gpu_jpeg, "decode_jpeg", refuse)
    data = encode(draw_picture(5, 64))
    np.testing.assert_array_equal(gpu_rgb_decoder("cpu")(data, LIMITS, ""), decode_rgb(data, LIMITS))


def test_without_a_gpu_it_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (tmp_path / "in" / "slide").mkdir(parents=True)
    (tmp_path / "in" / "slide" / "a.jpg").write_bytes(encode(draw_picture(6)))
    with pytest.raises(BackendError, match="needs an NVIDIA GPU") as caught:
        classify_slides(tmp_path / "in", str(tmp_path / "r.csv"), ClassifyConfig(jpeg_decoder="gpu"))
    assert caught.value.exit_code == 4
    assert not (tmp_path / "r.csv").exists()
