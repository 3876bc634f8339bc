"""The kinds of files in a folder of slides: what is read and how, what is refused, what to do. Everything else is no
picture by its name and is ignored. The table in the documentation is compared with this one by a test.

A file's suffix decides whether it is a picture. JPEG, PNG, TIFF, BMP and WebP are told by their content under each
other's suffixes; the other formats are read under their own only.
"""

import os
import re
from dataclasses import dataclass

from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.records import Reason

_INSTALL = "install it with pip install 'bloodcell-batch[formats]', or save the picture as PNG"
_EXPORT = "open it in its viewer and export the cells or fields as PNG, TIFF or JPEG"


@dataclass(frozen=True, slots=True)
class Format:
    """`pillow` is Pillow's name of it, empty where something else reads it; `anywhere` is true where content alone
    tells it; `refused` says what to do with a file that is not read, and is empty for those that are."""

    name: str
    suffixes: tuple[str, ...]
    reader: str
    notes: str
    pillow: str = ""
    anywhere: bool = False
    refused: str = ""


FORMATS: tuple[Format, ...] = (
    Format(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        "simplejpeg (libjpeg-turbo), strict",
        "8 bits: baseline, progressive, arithmetic; grey, YCbCr, RGB, CMYK, YCCK; the first picture of an MPO; "
        "every warning of the decoder is damage",
        anywhere=True,
    ),
    Format(
        "PNG",
        (".png",),
        "Pillow, imagecodecs for 16 bits",
        "every kind; the checksums of all chunks that make the picture are compared",
        pillow="PNG",
        anywhere=True,
    ),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        "tifffile, imagecodecs",
        "classic and BigTIFF, one page; unsigned levels of 1 to 16 bits; grey, RGB, palette, CMYK; uncompressed, LZW, "
        "deflate, PackBits, LZMA, Zstandard, JPEG; checksums and sizes of all strips and tiles are compared",
        anywhere=True,
    ),
    Format("BMP", (".bmp", ".dib"), "Pillow", "every kind", pillow="BMP", anywhere=True),
    Format("WebP", (".webp",), "Pillow", "one frame; damage inside is not always seen", pillow="WEBP", anywhere=True),
    Format("GIF", (".gif",), "Pillow", "one frame; damage inside is not always seen", pillow="GIF"),
    Format(
        "JPEG 2000",
        (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        "Pillow (OpenJPEG)",
        "damage inside is not always seen",
        pillow="JPEG2000",
    ),
    Format("AVIF", (".avif",), "Pillow (libavif)", "one frame; damage inside is not always seen", pillow="AVIF"),
    Format(
        "HEIC",
        (".heic", ".heif", ".hif"),
        "pillow-heif, extra `formats`",
        "one picture; damage inside is not always seen",
        pillow="HEIF",
    ),
    Format(
        "DICOM",
        (".dcm", ".dicom"),
        "pydicom, extra `formats`",
        "one frame; 8-bit RGB, YBR or grey",
    ),
    Format("JPEG XL", (".jxl",), "", "", refused="save it as PNG"),
    Format("Photoshop", (".psd", ".psb"), "", "", refused="save it as PNG"),
    Format("PPM and its kin", (".ppm", ".pgm", ".pbm", ".pnm", ".tga"), "", "", refused="save it as PNG"),
    Format(
        "camera raw",
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef"),
        "",
        "",
        refused="develop it and save it as 8-bit TIFF, PNG or JPEG",
    ),
    Format(
        "whole-slide and microscope files",
        (".svs", ".ndpi", ".scn", ".mrxs", ".bif", ".vsi", ".czi", ".lif", ".nd2", ".oib", ".oif", ".zvi", ".lsm"),
        "",
        "",
        refused=_EXPORT,
    ),
)
"""One row per format, for which a file gets a row in the results. To read another format, add it here."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that lie beside pictures and are none, whatever their suffix: `folders` and `files` are patterns of whole
    names; `why` is the reason in the run record, `what` says it to people."""

    why: str
    what: str
    folders: str = ""
    files: str = ""


LEFT_OUT: tuple[LeftOut, ...] = (
    LeftOut("hidden", "names that start with a dot: `.thumbnails`, `.AppleDouble`, `._a.jpg`", r"\..*", r"\..*"),
    LeftOut(
        "system folder",
        "folders of NAS boxes and systems: `@…` (`@eaDir`), `#…` (`#recycle`, `#snapshot`), `$…` (`$RECYCLE.BIN`), "
        "`RECYCLER`, `System Volume Information`, `lost+found`, `__MACOSX`, `Network Trash Folder`, `Temporary Items`",
        r"[@#$].*|recycler|recycled|recycle bin|system volume information|lost\+found|found\.\d+|__macosx|"
        r"network trash folder|temporary items|trash|_vti_.*",
    ),
    LeftOut(
        "thumbnail folder",
        "folders of viewers: `thumbs`, `thumbnails`, `_thumbs`",
        r"_?thumb(s|nails?)?",
    ),
    LeftOut(
        "system file",
        "`Thumbs.db`, `desktop.ini`, `SYNOPHOTO_THUMB_*`, `AlbumArt*` and their kin",
        files=r"thumbs\.db|desktop\.ini|ehthumbs.*\.db|syno(photo|index)_.*|albumart.*\.jpg|~\$.*|icon\r",
    ),
    LeftOut(
        "own picture",
        "pictures in the reports of this program: `confusion.png`, `reliability.png`, `curves.png` and their kin",
        files=r"(confusion|reliability|risk_coverage|corruptions|curves|importances|benchmark)\.png",
    ),
)
"""One row per kind of files that are ignored; `--include-hidden` reads them all the same."""


def why_left_out(path: str) -> str:
    """The reason why a file of a scanned folder, by its relative path, is none of its pictures; empty if it may be."""
    *folders, name = path.lower().split("/")
    for kind in LEFT_OUT:
        if any(re.fullmatch(kind.folders, folder, re.DOTALL) for folder in folders):
            return kind.why
        if re.fullmatch(kind.files, name, re.DOTALL):
            return kind.why
    return ""


IMAGE_SUFFIXES: dict[str, Format] = {suffix: kind for kind in FORMATS for suffix in kind.suffixes}


def suffixes_read() -> list[str]:
    """The suffixes of the formats that are read."""
    return [suffix for suffix, kind in IMAGE_SUFFIXES.items() if not kind.refused]


def suffix_of(path: str) -> str:
    """The suffix of a file name in small letters, with its dot; empty without one."""
    return os.path.splitext(path.rpartition("/")[2])[1].lower()


def check_suffix(suffix: str) -> None:
    """Refuse what is a picture by its name, but of a format that is not read.

    Raises:
        UndecodableImageError: it is.
    """
    kind = IMAGE_SUFFIXES.get(suffix)
    if kind is not None and kind.refused:
        raise UndecodableImageError(Reason.UNSUPPORTED_FORMAT, f"{kind.name} is not read: {kind.refused}")


def pillow_formats(suffix: str) -> tuple[str, ...]:
    """Pillow's names of the formats that a file with this suffix may have."""
    return tuple(kind.pillow for kind in FORMATS if kind.pillow and (kind.anywhere or suffix in kind.suffixes))


def without_its_library(name: str) -> UndecodableImageError:
    """The refusal of a file whose reader is not installed."""
    return UndecodableImageError(Reason.UNSUPPORTED_FORMAT, f"{name} needs a library that is not here: {_INSTALL}")
