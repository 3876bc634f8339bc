"""Guards for files that are ZIP archives (XLSX, NPZ): what they hold must fit into memory before any of it is read."""

import math
import re
import zipfile
from pathlib import Path

from numpy.lib import format as npy

from bloodcell_batch.files.library_errors import library_reads

_MAX_ARRAYS_BYTES = 16_000_000_000
_MAX_ARRAYS = 1000
_MAX_MEMBERS = 10_000
_MAX_SHEET_BYTES = 8_000_000_000  # a full sheet of our image table has 3 GB of XML; it is read as a stream
_MAX_OTHER_BYTES = 500_000_000  # all else is read whole
_XML_HEAD = 1024
_MAX_RATIO = 1000  # DEFLATE packs at most 1032 : 1; equal cells reach 100 : 1


def check_arrays(path: Path) -> None:
    """Look at the headers of the arrays in an NPZ file: each must be as large as its member says.

    Raises:
        ValueError: too many or too large arrays, one that is none, or one whose header claims another size.
        OSError: it can't be read.
    """
    with library_reads():
        archive = zipfile.ZipFile(path)
    with archive:
        members = archive.infolist()
        if len(members) > _MAX_ARRAYS or sum(info.file_size for info in members) > _MAX_ARRAYS_BYTES:
            raise ValueError(f"its arrays have more than {_MAX_ARRAYS_BYTES:,} bytes, or are more than {_MAX_ARRAYS}")
        for info in members:
            with library_reads(), archive.open(info) as stream:
                version = npy.read_magic(stream)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, kind = read(stream)
                header_bytes = stream.tell()
            if kind.hasobject:
                raise ValueError(f"{info.filename} holds Python objects, which are never loaded")
            if header_bytes + math.prod(shape) * kind.itemsize != info.file_size:
                raise ValueError(f"{info.filename} is of another size than its header says")


def check_workbook(path: Path) -> None:
    """Look at the sizes that the members of an XLSX file will have, and at how its XML begins.

    Raises:
        ValueError: more than a workbook needs, or a document type declaration.
        OSError: it can't be read.
    """
    with library_reads():
        archive = zipfile.ZipFile(path)
    with archive:
        members = archive.infolist()
        for info in members:
            if info.filename.endswith((".xml", ".rels")):
                with library_reads(), archive.open(info) as stream:
                    head = stream.read(_XML_HEAD)
                # Entities, with which a few lines grow to gigabytes, are declared before the first element.
                if b"<!" in head or not re.search(rb"<[A-Za-z]", head):
                    raise ValueError(f"{info.filename} begins with a declaration that no workbook has")
    sheets = [info for info in members if info.filename.startswith("xl/worksheets/")]
    other = sum(info.file_size for info in members) - sum(info.file_size for info in sheets)
    if len(members) > _MAX_MEMBERS or other > _MAX_OTHER_BYTES:
        raise ValueError("the workbook is larger than any that this program wrote")
    for info in sheets:
        if info.file_size > _MAX_SHEET_BYTES or info.file_size > _MAX_RATIO * max(info.compress_size, 1):
            raise ValueError(f"{info.filename} unpacks to {info.file_size:,} bytes")
