"""One of each oddity that a folder of slides can hold, with what must become of it; all of it is drawn here."""

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
import pydicom
import tifffile
from conftest import draw_picture, encode
from PIL import Image, features

CELL = "cell"
"""It has a row, and a network has looked at it."""
COPY = "copy"
"""It has a row that names the picture that is kept."""
NO_PICTURE = "no picture by its suffix"
"""It is ignored and listed."""


@dataclass(frozen=True)
class Odd:
    """A file: its content, and what becomes of it: CELL, COPY, the reason why it fails or stays unclassified, or, where
    `ignored`, why it has no row."""

    data: bytes
    fate: str
    ignored: bool = False


def odd_files() -> dict[str, Odd]:
    """The files by their path; every picture that is no copy is another one."""
    return {**_formats(), **_damaged(), **_litter(), **_own_outputs(), **_odd_names(), **_alike()}


def write_odd_folder(root: Path) -> dict[str, Odd]:
    """Write them below `root`; names that its file system doesn't keep are left out."""
    files = odd_files()
    for name, odd in list(files.items()):
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(odd.data)
        except OSError:
            del files[name]
    (root / "formats" / "link.jpg").symlink_to("nowhere")
    os.mkfifo(root / "formats" / "pipe.jpg")
    (root / "formats" / "folder.jpg").mkdir()
    files["formats/link.jpg"] = Odd(b"", "broken_link")
    files["formats/pipe.jpg"] = Odd(b"", "not_a_regular_file")
    return files


def _formats() -> dict[str, Odd]:
    """Every kind of picture that is read, and those that are refused by their suffix."""
    image = [Image.fromarray(draw_picture(seed)) for seed in range(20)]
    deep = draw_picture(30).astype(np.uint16) * 257
    read = {
        "grey.jpg": encode(image[0].convert("L")),
        "cmyk.jpg": encode(image[1].convert("CMYK")),
        "progressive.jpeg": encode(image[2], progressive=True),
        "camera.JFIF": encode(image[3]),
        "palette.png": encode(image[4].quantize(256), "PNG"),
        "alpha.png": encode(image[5].convert("RGBA"), "PNG"),
        "levels.tif": _tiff(deep),
        "big.tiff": _tiff(draw_picture(31), bigtiff=True),
        "lzw.tif": encode(image[6], "TIFF", compression="tiff_lzw"),
        "windows.bmp": encode(image[7], "BMP"),
        "web.webp": encode(image[8], "WEBP", quality=95),
        "old.gif": encode(image[9], "GIF"),
        "archive.jp2": encode(image[10], "JPEG2000"),
        "phone.heic": _heic(image[11]),
        "export.dcm": _dicom(draw_picture(32)),
        "misnamed.png": encode(image[12]),
    }
    if features.check("avif"):
        read["new.avif"] = encode(image[13], "AVIF", quality=95)
    refused = ["a.svs", "a.ndpi", "a.czi", "a.psd", "a.cr2", "a.dng", "a.ppm", "a.jxl"]
    return {f"formats/{name}": Odd(data, CELL) for name, data in read.items()} | {
        f"formats/{name}": Odd(b"whatever", "unsupported_format") for name in refused
    }


def _damaged() -> dict[str, Odd]:
    png, jpeg = encode(draw_picture(40), "PNG"), encode(draw_picture(41))
    wrong_sum = bytearray(png)
    wrong_sum[png.index(b"IDAT") + 40] ^= 0xFF
    two = [Image.fromarray(draw_picture(seed)) for seed in (42, 43)]
    dark = (draw_picture(44)[:, :, 0].astype(np.uint16)) * 16
    return {
        "damaged/cut.png": Odd(png[: len(png) // 2], "truncated"),
        "damaged/sum.png": Odd(bytes(wrong_sum), "corrupt"),
        "damaged/cut.jpg": Odd(jpeg[: len(jpeg) // 2], "truncated"),
        "damaged/empty.jpg": Odd(b"", "empty"),
        "damaged/text.jpg": Odd(b"this is a text\n" * 40, "not_an_image"),
        "damaged/page.png": Odd(b"<html>404</html>", "not_an_image"),
        "damaged/frames.gif": Odd(encode(two[0], "GIF", save_all=True, append_images=two[1:]), "multiple_frames"),
        "damaged/pages.tif": Odd(encode(two[0], "TIFF", save_all=True, append_images=two[1:]), "multiple_frames"),
        "damaged/twelve.tif": Odd(_tiff(dark), "unsupported_pixels"),
        "damaged/float.tif": Odd(_tiff(dark.astype(np.float32)), "unsupported_pixels"),
        "damaged/bomb.png": Odd(_claimed_png(60_000, 60_000), "too_large"),
        "damaged/dot.png": Odd(encode(Image.new("RGB", (2, 2)), "PNG"), "too_small"),
        "damaged/black.png": Odd(encode(Image.new("RGB", (96, 96)), "PNG"), "no_contrast"),
        "damaged/black too.png": Odd(encode(Image.new("RGB", (96, 96)), "PNG"), "no_contrast"),
        "damaged/flat.jpg": Odd(encode(Image.new("RGB", (96, 96), (200, 180, 190))), "no_contrast"),
    }


def _litter() -> dict[str, Odd]:
    """What NAS boxes, Macs and Windows leave beside pictures: pictures, too, by their names."""
    picture = encode(draw_picture(50))
    names = {
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg": "system folder",
        "#recycle/a.jpg": "system folder",
        "#snapshot/daily/a.jpg": "system folder",
        "$RECYCLE.BIN/S-1-5-21/$R1.jpg": "system folder",
        "System Volume Information/a.jpg": "system folder",
        "lost+found/a.jpg": "system folder",
        "__MACOSX/slide/a.jpg": "system folder",
        ".AppleDouble/a.jpg": "hidden",
        ".thumbnails/a.jpg": "hidden",
        "slide/._a.jpg": "hidden",
        "slide/.DS_Store": "hidden",
        "slide/Thumbs.db": "system file",
        "slide/desktop.ini": "system file",
        "slide/AlbumArtSmall.jpg": "system file",
        "slide/thumbs/a.jpg": "thumbnail folder",
        "slide/notes.txt": NO_PICTURE,
        "slide/no suffix": NO_PICTURE,
        "slide/list.csv": NO_PICTURE,
    }
    return {f"litter/{name}": Odd(picture, why, ignored=True) for name, why in names.items()}


def _own_outputs() -> dict[str, Odd]:
    """Results, a journal, pages and report folders of this program inside the folder that it reads."""
    picture = encode(draw_picture(51), "PNG")
    names = {
        "r.parquet": NO_PICTURE,
        "r.slides.csv": NO_PICTURE,
        "r.run.json": NO_PICTURE,
        "r.xlsx": NO_PICTURE,
        "r.parquet.partial/part-000000000.parquet": NO_PICTURE,
        "r.parquet.partial/lock": NO_PICTURE,
        "review.html": NO_PICTURE,
        "report.html": NO_PICTURE,
        "evaluation/confusion.png": "own picture",
        "evaluation/reliability.png": "own picture",
        "evaluation/evaluation.json": NO_PICTURE,
        "m.safetensors": NO_PICTURE,
        "audit.jsonl": NO_PICTURE,
    }
    return {f"own/{name}": Odd(picture, why, ignored=True) for name, why in names.items()}


def _odd_names() -> dict[str, Odd]:
    names = [
        "10:30.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "Zelle \u00e4.jpg",
        "Zelle a\u0308.jpg",
        "blank .jpg",
        " blank.jpg",
        "=SUM(A1).jpg",
        "-rf.jpg",
        "a\nb.jpg",
        "a'b\"c.jpg",
        "UPPER.JPG",
        "\u7d30\u80de.jpg",
        "two.dots.jpg",
    ]
    found = {f"names/{name}": Odd(encode(draw_picture(60 + place)), CELL) for place, name in enumerate(names)}
    folders = ["007", "2E5", "slide ", "slide:1", os.fsdecode(b"slide-\xff"), "Tr\u00e4ger", "Tra\u0308ger"]
    return found | {f"{name}/a.jpg": Odd(encode(draw_picture(80 + place)), CELL) for place, name in enumerate(folders)}


def _alike() -> dict[str, Odd]:
    picture = Image.fromarray(draw_picture(90, 180))
    return {
        "alike/0 original.png": Odd(encode(picture, "PNG"), CELL),
        "alike/same.bmp": Odd(encode(picture, "BMP"), COPY),
        "alike/a smaller one.png": Odd(encode(picture.resize((90, 90), Image.Resampling.LANCZOS), "PNG"), COPY),
        "alike/compressed.jpg": Odd(encode(picture, quality=60), COPY),
    }


def _tiff(levels: np.ndarray, *, bigtiff: bool = False) -> bytes:
    stream = io.BytesIO()
    photometric = "rgb" if levels.ndim == 3 else "minisblack"
    tifffile.imwrite(stream, levels, bigtiff=bigtiff, photometric=photometric)
    return stream.getvalue()


def _heic(image: Image.Image) -> bytes:
    file, stream = pillow_heif.HeifFile(), io.BytesIO()  # type: ignore[no-untyped-call]
    file.add_from_pillow(image)
    file.save(stream, quality=95)
    return stream.getvalue()


def _dicom(levels: np.ndarray) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.77.1.2")  # microscopic image
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
    data = pydicom.dataset.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = levels.shape
    data.PlanarConfiguration, data.PhotometricInterpretation = 0, "RGB"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = levels.tobytes()
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _claimed_png(width: int, height: int) -> bytes:
    """A small PNG whose header, with a right checksum, claims another size."""
    data = bytearray(encode(draw_picture(45), "PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)
