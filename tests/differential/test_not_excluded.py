from collections import Counter

import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.differential.not_excluded import BLASTS_NOT_EXCLUDED, at_most, blasts_note, none_seen, not_excluded
from bloodcell_batch.differential.slide import SlideCounts, slide_differential
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import Status


def _slide(counts: dict[str, int], unclassified: int = 0) -> SlideDifferential:
    statuses = Counter({Status.CLASSIFIED: sum(counts.values()), Status.UNCLASSIFIED: unclassified})
    found = SlideCounts(statuses, Counter(counts))
    return slide_differential("s", found, DEFAULT_CLASSES)


class TestNoneSeen:
    @pytest.mark.parametrize(
        ("total", "told"),
        [
            # Closed form for none of n: the share p of which none of n is drawn in 2.5 % of all samples,
            # (1 - p)^n = 0.025: 1 - 0.025^(1/200) = 0.0183, 1 - 0.025^(1/100) = 0.0362
            (100, "0 of 100: at most 3.6 %"),
            (200, "0 of 200: at most 1.8 %"),
            (400, "0 of 400: at most 0.9 %"),
            # 1 - 0.025^(1/5000) = 0.00074
            (5000, "0 of 5,000: at most 0.07 %"),
        ],
    )
    def test_the_upper_limit_is_told(self, total: int, told: str) -> None:
        slide = _slide({"neutrophil": total})
        assert none_seen(slide, "basophil") == told
        assert none_seen(slide, "neutrophil") == ""

    def test_unclassified_cells_raise_it(self) -> None:
        # If all 10 unclassified cells were basophils, 10 of 200 would be: 5.0 %, published limits 2.4 - 9.0.
        assert none_seen(_slide({"neutrophil": 190}, 10), "basophil") == "0 of 190: at most 9.0 %"

    def test_a_slide_without_leukocytes_has_none(self) -> None:
        assert none_seen(_slide({"platelet": 3}), "basophil") == ""
        assert none_seen(_slide({}, 3), "basophil") == ""

    def test_units(self) -> None:
        assert at_most(0.04, "") == "at most 0.04"


class TestBlasts:
    def test_classes_without_blasts(self) -> None:
        assert blasts_note(DEFAULT_CLASSES.names) == BLASTS_NOT_EXCLUDED

    @pytest.mark.parametrize("name", ["blast", "myeloblast", "Blasten", "lymphoblast"])
    def test_by_any_name(self, name: str) -> None:
        assert blasts_note((*DEFAULT_CLASSES.names, name)) == ""


def test_all_that_is_not_excluded() -> None:
    found = not_excluded(_slide({"neutrophil": 150, "lymphocyte": 40, "monocyte": 4, "eosinophil": 6}))
    none = ("basophil 0 of 200: at most 1.8 %", "ig 0 of 200: at most 1.8 %")
    assert found == (*none, "blasts: no class stands for them")
    own = ClassList((CellClass("neutrophil", Role.LEUKOCYTE), CellClass("blast", Role.OUTSIDE)))
    counts = SlideCounts(Counter({Status.CLASSIFIED: 3}), Counter({"neutrophil": 3}))
    assert not_excluded(slide_differential("s", counts, own)) == ()
