import math

import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.differential.arithmetic import (
    adequacy,
    cells_to_review,
    leukocyte_shares,
    nrbc_per_100_wbc,
    too_many_unclassified,
)
from bloodcell_batch.progress import ClassShare
from bloodcell_batch.statistics.binomial import clopper_pearson

# Exact 95 % limits in percent, as printed in tables for differential counts: share -> total -> (low, high).
PUBLISHED: dict[int, dict[int, tuple[float, float]]] = {
    0: {100: (0, 3.6), 200: (0, 1.8), 400: (0, 0.9), 500: (0, 0.7), 1000: (0, 0.4)},
    1: {100: (0.0, 5.4), 200: (0.1, 3.6), 400: (0.3, 2.5), 500: (0.3, 2.3), 1000: (0.5, 1.8)},
    5: {100: (1.6, 11.3), 200: (2.4, 9.0), 400: (3.1, 7.6), 500: (3.3, 7.3), 1000: (3.7, 6.5)},
    10: {100: (4.9, 17.6), 200: (6.2, 15.0), 400: (7.2, 13.4), 500: (7.5, 13.0), 1000: (8.2, 12.0)},
    30: {100: (21.2, 40.0), 200: (23.7, 36.9), 400: (25.5, 34.8), 500: (26.0, 34.2), 1000: (27.2, 32.9)},
    50: {100: (39.8, 60.2), 200: (42.9, 57.1), 400: (45.0, 55.0), 500: (45.5, 54.5), 1000: (46.9, 53.1)},
    70: {100: (60.0, 78.8), 200: (63.1, 76.3), 400: (65.2, 74.5), 500: (65.8, 74.0), 1000: (67.1, 72.8)},
}


class TestClopperPearson:
    @pytest.mark.parametrize("total", [1, 2, 3, 7, 50, 99, 100, 200, 401, 1000, 20_000])
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
    def test_agrees_with_scipys_exact_interval(self, total: int, confidence: float) -> None:
        counts = sorted({0, 1, 2, total // 10, total // 3, total // 2, total - 1, total} & set(range(total + 1)))
        for count in counts:
            expected = binomtest(count, total).proportion_ci(confidence, method="exact")
            low, high = clopper_pearson(count, total, confidence)
            assert low == pytest.approx(expected.low, abs=1e-9)
            assert high == pytest.approx(expected.high, abs=1e-9)

    @pytest.mark.parametrize(
        ("percent", "total", "limits"),
        [(percent, total, limits) for percent, row in PUBLISHED.items() for total, limits in row.items()],
    )
    def test_agrees_with_the_published_table(self, percent: int, total: int, limits: tuple[float, float]) -> None:
        low, high = clopper_pearson(percent * total // 100, total)
        assert (round(100 * low, 1), round(100 * high, 1)) == limits

    def test_none_and_all_have_closed_limits(self) -> None:
        assert clopper_pearson(0, 10)[0] == 0
        assert clopper_pearson(10, 10)[1] == 1
        assert clopper_pearson(0, 10)[1] == pytest.approx(1 - 0.025 ** (1 / 10))

    @pytest.mark.parametrize("total", [1, 5, 100])
    def test_the_limits_enclose_the_share_and_mirror_each_other(self, total: int) -> None:
        for count in range(total + 1):
            low, high = clopper_pearson(count, total)
            assert 0 <= low <= count / total <= high <= 1
            assert clopper_pearson(total - count, total) == pytest.approx((1 - high, 1 - low))

    @pytest.mark.parametrize(("count", "total"), [(0, 0), (1, 0), (-1, 10), (11, 10), (-1, -1)])
    def test_what_is_no_share_is_refused(self, count: int, total: int) -> None:
        with pytest.raises(ValueError, match=f"{count} of {total}"):
            clopper_pearson(count, total)


class TestShares:
    def test_a_hand_counted_slide(self) -> None:
        counts = {
            "neutrophil": 110,
            "lymphocyte": 60,
            "monocyte": 14,
            "eosinophil": 6,
            "basophil": 2,
            "ig": 8,
            "erythroblast": 10,
            "platelet": 40,
        }
        shares = leukocyte_shares(counts, DEFAULT_CLASSES.leukocytes)
        assert {name: share.percent for name, share in shares.items()} == {
            "neutrophil": 55.0,
            "lymphocyte": 30.0,
            "monocyte": 7.0,
            "eosinophil": 3.0,
            "basophil": 1.0,
            "ig": 4.0,
        }
        assert sum(share.percent or 0 for share in shares.values()) == pytest.approx(100)
        assert nrbc_per_100_wbc(10, 200).value == 5.0
        basophil = shares["basophil"]
        assert basophil.count == 2
        assert basophil.percent_low == pytest.approx(0.1, abs=0.05)
        assert basophil.percent_high == pytest.approx(3.6, abs=0.05)

    def test_every_leukocyte_class_is_there_in_order(self) -> None:
        shares = leukocyte_shares({"neutrophil": 1}, DEFAULT_CLASSES.leukocytes)
        assert tuple(shares) == DEFAULT_CLASSES.leukocytes
        assert shares["ig"].count == 0
        assert shares["ig"].percent == 0
        assert shares["neutrophil"].percent == 100

    def test_platelets_and_nucleated_red_cells_stay_outside(self) -> None:
        with_others = leukocyte_shares(
            {"neutrophil": 3, "monocyte": 1, "platelet": 500, "erythroblast": 70}, DEFAULT_CLASSES.leukocytes
        )
        assert with_others == leukocyte_shares({"neutrophil": 3, "monocyte": 1}, DEFAULT_CLASSES.leukocytes)
        assert "platelet" not in with_others
        assert "erythroblast" not in with_others

    @pytest.mark.parametrize("counts", [{}, {"platelet": 9, "erythroblast": 3}])
    def test_no_leukocytes_have_no_percentages(self, counts: dict[str, int]) -> None:
        assert set(leukocyte_shares(counts, DEFAULT_CLASSES.leukocytes).values()) == {ClassShare(0, None, None, None)}

    def test_the_denominator_is_written_out(self) -> None:
        assert DEFAULT_CLASSES.denominator.removeprefix("wbc = ").split(" + ") == list(DEFAULT_CLASSES.leukocytes)
        assert set(DEFAULT_CLASSES.leukocytes) == {
            "basophil",
            "eosinophil",
            "neutrophil",
            "lymphocyte",
            "monocyte",
            "ig",
        }


@pytest.mark.parametrize(("erythroblasts", "wbc", "expected"), [(0, 5, 0.0), (5, 0, None), (0, 0, None), (3, 2, 150.0)])
def test_nucleated_red_cells_per_100_leukocytes(erythroblasts: int, wbc: int, expected: float | None) -> None:
    assert nrbc_per_100_wbc(erythroblasts, wbc).value == expected


@pytest.mark.parametrize(
    ("wbc", "band"),
    [
        (0, "<100"),
        (99, "<100"),
        (100, "100-199"),
        (199, "100-199"),
        (200, "200-399"),
        (399, "200-399"),
        (400, "≥400"),
        (10**6, "≥400"),
    ],
)
def test_adequacy_bands(wbc: int, band: str) -> None:
    assert adequacy(wbc) == band


def test_limits_are_finite_for_big_slides() -> None:
    assert all(math.isfinite(limit) for limit in clopper_pearson(123_456, 10_000_000))


@pytest.mark.parametrize("total", [1, 2, 5, 44, 100, 200, 400, 1000])
def test_limits_equal_those_of_statsmodels(total: int) -> None:
    for count in range(0, total + 1, max(1, total // 50)):
        expected = proportion_confint(count, total, alpha=0.05, method="beta")
        assert clopper_pearson(count, total) == pytest.approx(expected, abs=1e-12)


class TestUnclassifiedCells:
    @pytest.mark.parametrize("name", DEFAULT_CLASSES.leukocytes)
    def test_the_limits_enclose_those_of_everything_that_they_could_be(self, name: str) -> None:
        counts, unclassified = {"neutrophil": 14, "lymphocyte": 5, "ig": 1}, 6
        found = leukocyte_shares(counts, DEFAULT_CLASSES.leukocytes, unclassified)[name]
        assert found.percent_low is not None
        assert found.percent_high is not None
        for same in range(unclassified + 1):
            for other in range(unclassified + 1 - same):  # the rest is no leukocyte
                low, high = clopper_pearson(counts.get(name, 0) + same, 20 + same + other)
                assert found.percent_low <= 100 * low + 1e-9
                assert found.percent_high >= 100 * high - 1e-9

    def test_the_limits_of_a_slide_by_hand(self) -> None:
        found = leukocyte_shares({"neutrophil": 70, "eosinophil": 2}, DEFAULT_CLASSES.leukocytes, 28)["eosinophil"]
        assert found.percent == pytest.approx(100 * 2 / 72)
        assert found.percent_low == pytest.approx(100 * clopper_pearson(2, 100)[0])
        assert found.percent_high == pytest.approx(100 * clopper_pearson(30, 100)[1])

    def test_none_classified_may_be_anything(self) -> None:
        assert set(leukocyte_shares({}, DEFAULT_CLASSES.leukocytes, 9).values()) == {ClassShare(0, None, 0.0, 100.0)}

    def test_the_rate_of_nucleated_red_cells_has_the_limits_of_its_odds(self) -> None:
        rate = nrbc_per_100_wbc(4, 90, 6)
        low, high = clopper_pearson(4, 100)[0], clopper_pearson(10, 100)[1]
        assert rate.low == pytest.approx(100 * low / (1 - low))
        assert rate.high == pytest.approx(100 * high / (1 - high))
        for unlimited in (nrbc_per_100_wbc(0, 0), nrbc_per_100_wbc(5, 0), nrbc_per_100_wbc(0, 0, 3)):
            assert (unlimited.value, unlimited.high) == (None, None)

    @pytest.mark.parametrize(
        ("wbc", "unclassified", "largest"), [(90, 11, 0.1), (0, 7, 0.1), (3, 5, 0.0), (20, 80, 0.5)]
    )
    def test_the_cells_to_review_are_enough_and_not_one_too_many(
        self, wbc: int, unclassified: int, largest: float
    ) -> None:
        enough = cells_to_review(wbc, unclassified, largest)
        assert not too_many_unclassified(wbc, unclassified - enough, largest)
        assert too_many_unclassified(wbc, unclassified - enough + 1, largest)

    def test_a_share_of_exactly_the_largest_is_not_too_many(self) -> None:
        assert not too_many_unclassified(90, 10, 0.1)
        assert too_many_unclassified(89, 11, 0.1)
