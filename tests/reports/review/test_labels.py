from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.reports.review.labels import review_labels

OF_THE_PAGE = set("nuzm+=-")


def test_eight_classes_have_digits() -> None:
    found = review_labels(DEFAULT_CLASSES)
    assert "".join(label.key for label in found) == "1234567890"
    assert [label.group for label in found] == ["Leukocytes"] * 6 + ["Other cells"] * 2 + ["Of no class"] * 2


def test_many_classes_have_letters_that_the_page_does_not_use() -> None:
    many = ClassList(tuple(CellClass(f"kind_{n}", Role.LEUKOCYTE) for n in range(40)))
    found = {label.name: label.key for label in review_labels(many)}
    assert (found["other"], found["not_a_cell"]) == ("9", "0")
    keys = [key for key in found.values() if key]
    assert len(keys) == len(set(keys)) == 32
    assert not OF_THE_PAGE & set(keys)
    assert found["kind_39"] == ""
