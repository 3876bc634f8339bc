import io
from collections.abc import Iterator

import openpyxl
import pytest

from bloodcell_batch.files.library_errors import DamagedFileError, library_reads, read_one_by_one


@pytest.mark.parametrize("error", [KeyError("x"), AttributeError("x"), RuntimeError("x"), AssertionError("x")])
def test_whatever_a_library_raises_is_an_error_of_the_file(error: Exception) -> None:
    with pytest.raises(DamagedFileError, match="x"), library_reads():
        raise error


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), MemoryError()])
def test_what_is_not_the_files_fault_passes(error: Exception) -> None:
    with pytest.raises(type(error)), library_reads():
        raise error


def test_a_library_says_something_of_every_file() -> None:
    with pytest.raises(DamagedFileError, match="zip"), library_reads():
        openpyxl.load_workbook(io.BytesIO(b"no workbook"))


def test_each_step_of_an_iterator_is_guarded() -> None:
    def two_of_three() -> Iterator[int]:
        yield 1
        yield 2
        raise TypeError("the third")

    steps = read_one_by_one(two_of_three())
    assert [next(steps), next(steps)] == [1, 2]
    with pytest.raises(DamagedFileError, match="the third"):
        next(steps)
    assert list(read_one_by_one(iter([None, 1]))) == [None, 1]
