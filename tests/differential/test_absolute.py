from collections import Counter
from pathlib import Path

import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.differential.absolute import Corrected, WhiteCount, absolute_counts
from bloodcell_batch.differential.slide import SlideCounts, slide_differential
from bloodcell_batch.differential.white_counts import load_white_counts
from bloodcell_batch.errors import InputError
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import Status

HEAD = "slide_id,wbc,unit,nrbc_corrected\n"


def _slide(counts: dict[str, int], unclassified: int = 0, classes: ClassList = DEFAULT_CLASSES) -> SlideDifferential:
    statuses = Counter({Status.CLASSIFIED: sum(counts.values()), Status.UNCLASSIFIED: unclassified})
    return slide_differential("s", SlideCounts(statuses, Counter(counts)), classes)


class TestByHand:
    def test_nucleated_red_cells_are_taken_out(self) -> None:
        # The analyser counts 24.0 x 10⁹/l nucleated cells. On the slide 200 leukocytes and 40 nucleated red cells:
        # nRBC per 100 leukocytes = 100 x 40 / 200 = 20; leukocytes = 24.0 x 100 / (100 + 20) = 20.0
        # neutrophils = 110 of 200 = 55 %: 0.55 x 20.0 = 11.0; lymphocytes = 45 %: 9.0
        slide = _slide({"neutrophil": 110, "lymphocyte": 90, "erythroblast": 40})
        found = absolute_counts(slide, DEFAULT_CLASSES, WhiteCount(24.0, corrected=False))
        assert slide.nrbc_per_100_wbc == 20.0
        assert found.corrected is Corrected.HERE
        assert found.leukocytes.value == pytest.approx(20.0)
        assert found.classes["neutrophil"].value == pytest.approx(11.0)
        assert found.classes["lymphocyte"].value == pytest.approx(9.0)
        # Limits: neutrophils are 110 of the 240 cells that the analyser counted, 45.8 % (exact limits 39.4 - 52.4):
        # 24.0 x 0.3940 = 9.46 and 24.0 x 0.5237 = 12.57. Leukocytes are 200 of 240, 83.3 % (78.0 - 87.8).
        assert found.classes["neutrophil"].low == pytest.approx(9.46, abs=0.02)
        assert found.classes["neutrophil"].high == pytest.approx(12.57, abs=0.02)
        assert found.leukocytes.low == pytest.approx(24 * 0.780, abs=0.02)
        assert found.leukocytes.high == pytest.approx(24 * 0.878, abs=0.02)
        # They are those of nRBC per 100 leukocytes, put into the formula.
        assert slide.nrbc_per_100_wbc_low is not None
        assert slide.nrbc_per_100_wbc_high is not None
        assert found.leukocytes.high == pytest.approx(24 * 100 / (100 + slide.nrbc_per_100_wbc_low))
        assert found.leukocytes.low == pytest.approx(24 * 100 / (100 + slide.nrbc_per_100_wbc_high))

    def test_what_the_analyser_corrected_is_not_corrected_again(self) -> None:
        # 20.0 x 10⁹/l leukocytes, 110 of 200 are neutrophils: 55.0 % (47.8 - 62.0) of 20.0 = 11.0 (9.57 - 12.41)
        slide = _slide({"neutrophil": 110, "lymphocyte": 90, "erythroblast": 40})
        found = absolute_counts(slide, DEFAULT_CLASSES, WhiteCount(20.0, corrected=True))
        assert found.corrected is Corrected.ANALYSER
        assert (found.leukocytes.value, found.leukocytes.low, found.leukocytes.high) == (20.0, None, None)
        assert found.classes["neutrophil"].value == pytest.approx(11.0)
        assert found.classes["neutrophil"].low == pytest.approx(20 * 0.4782, abs=0.01)
        assert found.classes["neutrophil"].high == pytest.approx(20 * 0.6203, abs=0.01)

    def test_none_seen_has_an_upper_limit(self) -> None:
        # 0 of 200 leukocytes and no nucleated red cell: at most 1.83 % of 7.4 = 0.135; leukocytes at least
        # 100 - 1.83 = 98.17 % of 7.4 = 7.265
        found = absolute_counts(_slide({"neutrophil": 200}), DEFAULT_CLASSES, WhiteCount(7.4, corrected=False))
        basophils = found.classes["basophil"]
        assert (basophils.value, basophils.low) == (0, 0)
        assert basophils.high == pytest.approx(0.135, abs=0.001)
        assert (found.leukocytes.value, found.leukocytes.high) == (7.4, 7.4)
        assert found.leukocytes.low == pytest.approx(7.265, abs=0.001)

    def test_unclassified_cells_widen_the_limits(self) -> None:
        # 8 monocytes of 190 leukocytes, 10 unclassified: 4.2 % (1.74 - 13.85), see counting.md; of 10.0
        slide = _slide({"neutrophil": 182, "monocyte": 8}, 10)
        monocytes = absolute_counts(slide, DEFAULT_CLASSES, WhiteCount(10.0, corrected=True)).classes["monocyte"]
        assert monocytes.value == pytest.approx(0.421, abs=0.001)
        assert monocytes.low == pytest.approx(0.174, abs=0.001)
        assert monocytes.high == pytest.approx(1.385, abs=0.001)

    def test_withheld_percentages_withhold_the_counts(self) -> None:
        slide = _slide({"neutrophil": 50}, 50)
        found = absolute_counts(slide, DEFAULT_CLASSES, WhiteCount(10.0, corrected=False))
        assert slide.withheld
        assert found.leukocytes.value is None
        assert {count.value for count in found.classes.values()} == {None}
        given = absolute_counts(slide, DEFAULT_CLASSES, WhiteCount(10.0, corrected=True))
        assert given.leukocytes.value == 10.0
        assert given.classes["neutrophil"].value is None

    def test_a_slide_without_cells(self) -> None:
        found = absolute_counts(_slide({}), DEFAULT_CLASSES, WhiteCount(10.0, corrected=False))
        assert found.leukocytes.value is found.leukocytes.high is found.classes["ig"].low is None

    def test_without_a_class_for_nucleated_red_cells_nobody_corrects(self) -> None:
        classes = ClassList((CellClass("neutrophil", Role.LEUKOCYTE), CellClass("lymphocyte", Role.LEUKOCYTE)))
        slide = _slide({"neutrophil": 3, "lymphocyte": 1}, classes=classes)
        found = absolute_counts(slide, classes, WhiteCount(8.0, corrected=False))
        assert found.corrected is Corrected.NOBODY
        assert found.classes["neutrophil"].value == 6.0


def _load(folder: Path, text: str) -> dict[str, WhiteCount]:
    path = folder / "wbc.csv"
    path.write_text(text, encoding="utf-8")
    return load_white_counts(path)


class TestFile:
    @pytest.mark.parametrize(
        ("wbc", "unit"),
        [
            *[
                ("7.4", unit)
                for unit in ("10⁹/l", "10^9/L", "10*9/L", "x10^9/L", "\u00d710⁹/l", "10E9/l", "G/l", "Gpt/l")
            ],
            *[("7,4", unit) for unit in ("G/l", "/nl", "10^3/µl", "10³/μL", "K/uL", "Tsd/µl", "1000/µl")],
            *[("7400", unit) for unit in ("/µl", "/uL", " / μl", "1/µl", "cells/µL", "/mm³", "/mm3")],
        ],
    )
    def test_units(self, tmp_path: Path, wbc: str, unit: str) -> None:
        found = _load(tmp_path, f'{HEAD}007,"{wbc}",{unit},no\n')
        assert found["007"].wbc == pytest.approx(7.4)
        assert not found["007"].corrected

    def test_as_a_german_spreadsheet_saves_it(self, tmp_path: Path) -> None:
        found = _load(tmp_path, "\ufeffslide_id;wbc;unit;nrbc_corrected\r\n007;12,25;10⁹/l;Yes\r\n")
        assert found == {"007": WhiteCount(12.25, corrected=True)}

    @pytest.mark.parametrize(
        ("row", "told"),
        [
            ("s,7.4,,no", "line 2: the unit is empty"),
            ("s,7.4,g/dl,no", "line 2: the unit is 'g/dl'"),
            ("s,,10⁹/l,no", "wbc is '', which is not a count"),
            ("s,-3,10⁹/l,no", "wbc is '-3'"),
            ('s,"7,400",/µl,no', "wbc is '7,400', which is not a count"),
            ("s,7.400,/µl,no", "wbc is '7.400', which is not a count"),
            ("s,7.4,/µl,no", "wbc is 7.4 /µl, not in 100 to 1,000,000 /µl"),
            ("s,7400,10⁹/l,no", "wbc is 7400 10⁹/l, not in 0.1 to 1,000 10⁹/l"),
            ("s,7.4,10⁹/l,", "nrbc_corrected is '', not yes or no"),
            ("s,7.4,10⁹/l,maybe", "nrbc_corrected is 'maybe', not yes or no"),
            ("s,7.4,10⁹/l,no\ns,7.4,10⁹/l,no", "line 3: the slide 's' is there twice"),
        ],
    )
    def test_what_is_no_count_is_refused(self, tmp_path: Path, row: str, told: str) -> None:
        with pytest.raises(InputError) as refused:
            _load(tmp_path, f"{HEAD}{row}\n")
        assert told in refused.value.message

    def test_all_columns_are_needed(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="lacks the column unit, nrbc_corrected"):
            _load(tmp_path, "slide_id,wbc\ns,7\n")
