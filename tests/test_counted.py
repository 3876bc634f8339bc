import pytest

from bloodcell_batch.progress import counted


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells"), (12_345, "12,345 cells"), (-1, "-1 cells")]
)
def test_a_number_with_what_it_counts(number: int, told: str) -> None:
    assert counted(number, "cell") == told


def test_a_plural_of_its_own() -> None:
    assert [counted(number, "copy is", "copies are") for number in (1, 2)] == ["1 copy is", "2 copies are"]
