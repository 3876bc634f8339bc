import dataclasses
from collections.abc import Sequence

import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.differential.arithmetic import leukocyte_shares, nrbc_per_100_wbc
from bloodcell_batch.progress import SlideDifferential
from bloodcell_batch.records import (
    ImageFacts,
    ImageFile,
    Outcome,
    Prediction,
    Quality,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.slides.matches import CrossSlideMatch
from bloodcell_batch.stages.tally import SlideTally

FACTS = ImageFacts("00" * 32, bytes(32), 96, 96, Quality(100.0, 40.0, 10.0), bytes(16))
SHARES = (0.125,) * len(DEFAULT_CLASSES.names)


def _cells(slide: str, label: str, count: int = 1) -> list[Outcome]:
    status, reason = (Status.CLASSIFIED, None) if label else (Status.UNCLASSIFIED, Reason.OUTLIER)
    file = ImageFile(f"{slide}/x", slide, 1, 0)
    return [Prediction(file, FACTS, status, reason, label, 0.9, SHARES, 1.0, ())] * count


def _rejected(slide: str, status: Status, count: int = 1) -> list[Outcome]:
    return [Rejection(ImageFile(f"{slide}/x", slide, 1, 0), status)] * count


def _tally(outcomes: Sequence[Outcome], ignored: int = 0) -> SlideTally:
    tally = SlideTally(len(outcomes) + ignored, ignored, DEFAULT_CLASSES)
    assert list(tally(outcomes)) == list(outcomes)
    return tally


def _one(outcomes: Sequence[Outcome], matches: Sequence[CrossSlideMatch] = ()) -> SlideDifferential:
    (slide,) = _tally(outcomes).differentials(matches)
    return slide


def _to_review(enough: int, unclassified: int, cells: int) -> str:
    left_out = f"{unclassified} of {cells} cells that could be leukocytes have no class"
    return f"too_many_unclassified: review {enough} unclassified cells, or adapt the model: {left_out}"


def test_a_hand_counted_slide() -> None:
    outcomes = [
        *_cells("s", "neutrophil", 60),
        *_cells("s", "lymphocyte", 30),
        *_cells("s", "ig", 10),
        *_cells("s", "erythroblast", 7),
        *_cells("s", "platelet", 4),
        *_cells("s", "", 3),
        *_rejected("s", Status.EXACT_DUPLICATE, 2),
        *_rejected("s", Status.NEAR_DUPLICATE, 5),
        *_rejected("s", Status.FAILED, 1),
    ]
    assert _one(outcomes) == SlideDifferential(
        slide_id="s",
        found=122,
        classified=111,
        unclassified=3,
        duplicates=7,
        failed=1,
        wbc_counted=100,
        shares=leukocyte_shares({"neutrophil": 60, "lymphocyte": 30, "ig": 10}, DEFAULT_CLASSES.leukocytes, 3),
        nrbc_count=7,
        outside_counts={"erythroblast": 7, "platelet": 4, "other": 0, "not_a_cell": 0},
        nrbc_per_100_wbc=7.0,
        platelet_images=4,
        adequacy="100-199",
        alerts=(),
        nrbc_per_100_wbc_low=nrbc_per_100_wbc(7, 100, 3).low,
        nrbc_per_100_wbc_high=nrbc_per_100_wbc(7, 100, 3).high,
        group_counts={"mononuclear": 0, "granulocyte": 0},
    )


def test_groups_are_counted_outside_the_differential() -> None:
    (unsure,) = _cells("s", "")
    assert isinstance(unsure, Prediction)
    sure = [dataclasses.replace(unsure, group=name) for name in ("granulocyte", "granulocyte", "mononuclear")]
    with_groups, without = (
        _one([*_cells("s", "neutrophil", 60), *cells]) for cells in (sure, _cells("s", "", len(sure)))
    )
    assert with_groups.group_counts == {"granulocyte": 2, "mononuclear": 1}
    assert without.group_counts == {"granulocyte": 0, "mononuclear": 0}
    # The limits allow for every class that a cell of a known group could be, too.
    assert dataclasses.replace(with_groups, group_counts=without.group_counts) == without


def test_slides_are_sorted_and_counted_apart() -> None:
    outcomes = [*_cells("b", "monocyte", 2), *_cells("a", "monocyte"), *_cells("b", "basophil"), *_cells("A", "ig")]
    slides = _tally(outcomes).differentials()
    assert [(slide.slide_id, slide.wbc_counted) for slide in slides] == [("A", 1), ("a", 1), ("b", 3)]
    assert slides[2].shares["monocyte"].count == 2
    assert slides[1].shares["basophil"].count == 0


def test_the_counts_of_the_run_balance() -> None:
    outcomes = [*_cells("a", "ig", 3), *_cells("b", "", 2), *_rejected("b", Status.FAILED), *_cells("c", "platelet")]
    tally = _tally(outcomes, ignored=4)
    counts = tally.counts
    assert (counts.found, counts.ignored, counts.done) == (11, 4, 7)
    assert counts.by_status == {
        Status.CLASSIFIED: 4,
        Status.UNCLASSIFIED: 2,
        Status.EXACT_DUPLICATE: 0,
        Status.NEAR_DUPLICATE: 0,
        Status.FAILED: 1,
    }
    assert counts.balanced()
    assert sum(slide.found for slide in tally.differentials()) == counts.done


@pytest.mark.parametrize("found", [2, 4])
def test_a_missing_or_a_surplus_file_is_noticed(found: int) -> None:
    tally = SlideTally(found, 0, DEFAULT_CLASSES)
    list(tally(_cells("s", "ig", 3)))
    assert not tally.counts.balanced()


def test_counting_happens_as_the_outcomes_pass() -> None:
    tally = SlideTally(3, 0, DEFAULT_CLASSES)
    stream = tally(_cells("s", "ig", 3))
    next(stream)
    assert tally.counts.done == 1
    assert not tally.counts.balanced()


def test_nothing_has_no_slides() -> None:
    assert _tally([]).differentials() == ()
    assert _tally([], ignored=3).counts.balanced()


@pytest.mark.parametrize("label", [*DEFAULT_CLASSES.leukocytes])
def test_every_leukocyte_class_counts_in_the_denominator(label: str) -> None:
    slide = _one(_cells("s", label, 5))
    assert slide.wbc_counted == 5
    assert slide.shares[label].percent == 100


class TestAlerts:
    @pytest.mark.parametrize(
        "outcomes", [_rejected("s", Status.FAILED), _cells("s", "platelet", 3), _cells("s", "erythroblast")]
    )
    def test_a_slide_without_leukocytes(self, outcomes: list[Outcome]) -> None:
        slide = _one(outcomes)
        assert slide.alerts == ("no_leukocytes: nothing to count",)
        assert slide.nrbc_per_100_wbc is None
        assert {share.percent for share in slide.shares.values()} == {None}
        assert slide.adequacy == "<100"

    def test_too_many_unclassified_cells(self) -> None:
        assert _one([*_cells("s", "ig", 90), *_cells("s", "", 10)]).alerts == ()
        alerts = _one([*_cells("s", "ig", 89), *_cells("s", "", 11)]).alerts
        assert alerts == (_to_review(2, 11, 100),)

    def test_duplicates_and_failures_are_no_cells(self) -> None:
        outcomes = [*_cells("s", "ig", 8), *_cells("s", "", 2), *_rejected("s", Status.FAILED, 90)]
        assert _one(outcomes).alerts == (_to_review(2, 2, 10),)

    def test_nothing_but_unclassified_cells(self) -> None:
        assert _one(_cells("s", "", 2)).alerts == (
            _to_review(2, 2, 2),
            "no_leukocytes: nothing to count",
        )

    @pytest.mark.parametrize(
        ("outliers", "others", "alert"),
        # lower exact 95 % limits of the share: 34 of 100 are 24.8 %, 35 of 100 are 25.7 %, 10 of 20 are 27.2 %
        [(34, 66, False), (35, 65, True), (10, 10, True), (9, 11, False), (19, 0, False), (20, 0, True)],
    )
    def test_a_stain_unlike_the_training_images(self, outliers: int, others: int, *, alert: bool) -> None:
        alerts = _one([*_cells("s", "", outliers), *_cells("s", "ig", others)]).alerts
        kinds = [text.partition(":")[0] for text in alerts]
        assert kinds[0] == "too_many_unclassified"
        assert ("unlike_training" in kinds) == alert
        if alert:
            assert f"{outliers} of {outliers + others} cells look like nothing that it was trained on" in alerts[1]

    def test_pictures_in_two_slides_alert_both(self) -> None:
        outcomes = [*_cells("a", "ig"), *_cells("b", "ig"), *_cells("c", "ig")]
        matches = [CrossSlideMatch("a/1", "a", "b/1", "b", 0), CrossSlideMatch("a/2", "a", "b/0", "b", 3)]
        a, b, c = _tally(outcomes).differentials(matches)
        assert a.alerts == ("cross_slide_duplicate: 2 pictures are also in b (first: a/1 = b/1)",)
        assert b.alerts == ("cross_slide_duplicate: 2 pictures are also in a (first: b/0 = a/2)",)
        assert c.alerts == ()

    def test_one_picture_is_singular_and_counts_once(self) -> None:
        outcomes = [*_cells("a", "ig"), *_cells("b", "ig"), *_cells("c", "ig")]
        matches = [CrossSlideMatch("a/1", "a", "c/1", "c", 0), CrossSlideMatch("a/1", "a", "b/1", "b", 0)]
        a, b, _ = _tally(outcomes).differentials(matches)
        assert a.alerts == ("cross_slide_duplicate: 1 picture is also in b, c (first: a/1 = b/1)",)
        assert b.alerts == ("cross_slide_duplicate: 1 picture is also in a (first: b/1 = a/1)",)

    def test_many_other_slides_are_cut_short(self) -> None:
        matches = [CrossSlideMatch("a/1", "a", f"s{i}/1", f"s{i}", 0) for i in range(7)]
        (alert,) = _one(_cells("a", "ig"), matches).alerts
        assert alert == "cross_slide_duplicate: 1 picture is also in s0, s1, s2, s3, s4 and others (first: a/1 = s0/1)"

    def test_what_to_do_comes_first(self) -> None:
        alerts = _one(_cells("a", ""), [CrossSlideMatch("a/1", "a", "b/1", "b", 0)]).alerts
        kinds = [alert.partition(":")[0] for alert in alerts]
        assert kinds == ["too_many_unclassified", "cross_slide_duplicate", "no_leukocytes"]
