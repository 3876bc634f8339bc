import dataclasses
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell_batch.records import ImageFile
from bloodcell_batch.slides.file_list import FileList

_NAMES = st.text(st.characters(exclude_categories=[]))  # also half of a surrogate pair: names that are not UTF-8
_FILES = st.lists(
    st.builds(
        ImageFile,
        path=_NAMES,
        slide_id=_NAMES,
        size_bytes=st.integers(0, 2**62),
        mtime_ns=st.integers(-(2**80), 2**80),
        is_regular=st.booleans(),
    )
)


@given(_FILES)
def test_the_files_come_back_as_they_were(files: list[ImageFile]) -> None:
    found = FileList(files)
    assert len(found) == len(files)
    assert list(found) == files
    assert found[:] == files
    assert found[1:-1:2] == files[1:-1:2]
    assert [found[-1 - place] for place in range(len(files))] == files[::-1]


def test_there_is_no_file_behind_the_last() -> None:
    file = ImageFile("s/a.jpg", "s", 1, 2)
    found = FileList()
    found.append(file)
    assert file in found
    for place in (1, -2):
        with pytest.raises(IndexError):
            found[place]


def test_the_slide_is_the_same_text_for_all_its_images() -> None:
    files = [ImageFile(f"s/{number}.jpg", f"slide {len(str(number))}", 1, 2) for number in range(3)]
    assert len({id(file.slide_id) for file in files}) == 3
    found = FileList(files)
    assert len({id(file.slide_id) for file in found}) == 1


def test_every_field_of_a_file_is_kept() -> None:
    assert len(dataclasses.fields(ImageFile)) == 5
    assert array("q", [0]).itemsize == 8
