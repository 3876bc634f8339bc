import dataclasses

import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.records import (
    BLANK_BRIGHTNESS,
    BLANK_CONTRAST,
    ImageFacts,
    ImageFile,
    Prediction,
    Quality,
    RawPrediction,
    Reason,
    Rejection,
    Status,
)
from bloodcell_batch.stages.interpret import Thresholds, decide, interpret

THRESHOLDS = Thresholds(confidence=0.8, outlier=2.0)
NAN = float("nan")


def _raw(top: float = 0.9, score: float = 1.0, contrast: float = 40.0, index: int = 6) -> RawPrediction:
    rest = (1 - top) / (len(DEFAULT_CLASSES.names) - 1)
    probabilities = tuple(top if i == index else rest for i in range(len(DEFAULT_CLASSES.names)))
    facts = ImageFacts("00" * 32, bytes(32), 96, 96, Quality(100.0, contrast, 10.0), bytes(16))
    return RawPrediction(ImageFile("s/a", "s", 1, 0), facts, probabilities, score)


def _is_unclassified(cell: Prediction, reason: Reason) -> None:
    assert cell.status is Status.UNCLASSIFIED
    assert cell.reason is reason
    assert cell.label == ""
    assert cell.review_reasons == (reason.value,)


@pytest.mark.parametrize("index", range(len(DEFAULT_CLASSES.names)))
def test_a_clear_cell_gets_the_top_class(index: int) -> None:
    raw = _raw(index=index)
    cell = decide(raw, THRESHOLDS, DEFAULT_CLASSES)
    assert cell == Prediction(
        raw.file, raw.facts, Status.CLASSIFIED, None, DEFAULT_CLASSES.names[index], 0.9, raw.probabilities, 1.0, ()
    )


@pytest.mark.parametrize(("top", "classified"), [(0.8, True), (0.8 - 1e-9, False), (1.0, True), (0.2, False)])
def test_the_confidence_threshold_is_inclusive(top: float, *, classified: bool) -> None:
    cell = decide(_raw(top=top), THRESHOLDS, DEFAULT_CLASSES)
    if classified:
        assert cell.status is Status.CLASSIFIED
    else:
        _is_unclassified(cell, Reason.LOW_CONFIDENCE)


@pytest.mark.parametrize(
    ("score", "classified"), [(2.0, True), (2.0 + 1e-9, False), (0.0, True), (float("inf"), False)]
)
def test_the_outlier_threshold_is_inclusive(score: float, *, classified: bool) -> None:
    cell = decide(_raw(score=score), THRESHOLDS, DEFAULT_CLASSES)
    if classified:
        assert cell.status is Status.CLASSIFIED
    else:
        _is_unclassified(cell, Reason.OUTLIER)


@pytest.mark.parametrize(("contrast", "blank"), [(0.0, True), (BLANK_CONTRAST - 1e-6, True), (BLANK_CONTRAST, False)])
def test_a_blank_picture_is_never_classified(contrast: float, *, blank: bool) -> None:
    cell = decide(_raw(top=1.0, score=0.1, contrast=contrast), THRESHOLDS, DEFAULT_CLASSES)
    assert (cell.reason is Reason.NO_CONTRAST) == blank
    assert (cell.status is Status.CLASSIFIED) != blank


@pytest.mark.parametrize(
    ("brightness", "black"), [(0.0, True), (BLANK_BRIGHTNESS - 0.01, True), (BLANK_BRIGHTNESS, False)]
)
def test_a_picture_that_is_all_but_black_is_never_classified(brightness: float, *, black: bool) -> None:
    raw = _raw(top=1.0, score=0.1)
    quality = dataclasses.replace(raw.facts.quality, brightness=brightness)
    cell = decide(
        dataclasses.replace(raw, facts=dataclasses.replace(raw.facts, quality=quality)), THRESHOLDS, DEFAULT_CLASSES
    )
    assert (cell.reason is Reason.NO_CONTRAST) == black


def _shares(**named: float) -> tuple[float, ...]:
    return tuple(named.get(name, 0.0) for name in DEFAULT_CLASSES.names)


@pytest.mark.parametrize(
    ("shares", "group"),
    [
        (_shares(neutrophil=0.5, ig=0.4, monocyte=0.1), ("granulocyte", 0.9)),
        (_shares(neutrophil=0.5, ig=0.3, monocyte=0.2), ("granulocyte", 0.8)),
        (_shares(neutrophil=0.5, ig=0.2999, monocyte=0.2001), ("", None)),
        (_shares(lymphocyte=0.5, monocyte=0.45, ig=0.05), ("mononuclear", 0.95)),
        (_shares(lymphocyte=0.5, neutrophil=0.5), ("", None)),
        (_shares(neutrophil=0.5, erythroblast=0.5), ("", None)),
        (_shares(neutrophil=0.85, ig=0.15), ("", None)),  # a class is sure
    ],
)
def test_where_no_class_is_sure_a_group_may_be(shares: tuple[float, ...], group: tuple[str, float | None]) -> None:
    cell = decide(dataclasses.replace(_raw(), probabilities=shares), THRESHOLDS, DEFAULT_CLASSES)
    assert (cell.group, cell.group_confidence) == pytest.approx(group)
    assert (cell.label == "") == (max(shares) < 0.8)


@pytest.mark.parametrize(("score", "contrast"), [(9.0, 40.0), (NAN, 40.0), (1.0, 0.0)])
def test_what_may_be_no_cell_is_of_no_group(score: float, contrast: float) -> None:
    raw = dataclasses.replace(_raw(score=score, contrast=contrast), probabilities=_shares(neutrophil=0.5, ig=0.5))
    assert decide(raw, THRESHOLDS, DEFAULT_CLASSES).group == ""


def test_the_smallest_group_is_said() -> None:
    names = ("band_neutrophil", "segmented_neutrophil", "eosinophil", "monocyte")
    parents = dict.fromkeys(names[:2], "neutrophil")
    classes = ClassList(tuple(CellClass(name, Role.LEUKOCYTE, parents.get(name, "")) for name in names))
    raw = dataclasses.replace(_raw(), probabilities=(0.5, 0.4, 0.05, 0.05))
    assert (decide(raw, THRESHOLDS, classes).group) == "neutrophil"
    raw = dataclasses.replace(_raw(), probabilities=(0.4, 0.2, 0.35, 0.05))
    assert (decide(raw, THRESHOLDS, classes).group) == "granulocyte"


def test_the_strongest_reason_is_given() -> None:
    _is_unclassified(decide(_raw(top=0.3, score=9, contrast=0), THRESHOLDS, DEFAULT_CLASSES), Reason.NO_CONTRAST)
    _is_unclassified(decide(_raw(top=0.3, score=9), THRESHOLDS, DEFAULT_CLASSES), Reason.OUTLIER)


def test_an_unclassified_cell_keeps_its_numbers() -> None:
    raw = _raw(top=0.5, score=1.5)
    cell = decide(raw, THRESHOLDS, DEFAULT_CLASSES)
    assert (cell.confidence, cell.outlier_score, cell.probabilities) == (0.5, 1.5, raw.probabilities)
    assert (cell.file, cell.facts) == (raw.file, raw.facts)


def test_a_nan_score_is_never_classified() -> None:
    _is_unclassified(decide(_raw(top=1.0, score=NAN), THRESHOLDS, DEFAULT_CLASSES), Reason.OUTLIER)


@pytest.mark.parametrize("position", range(len(DEFAULT_CLASSES.names)))
def test_a_nan_probability_is_never_classified(position: int) -> None:
    raw = _raw(top=0.95, index=1)
    probabilities = tuple(NAN if i == position else value for i, value in enumerate(raw.probabilities))
    _is_unclassified(
        decide(dataclasses.replace(raw, probabilities=probabilities), THRESHOLDS, DEFAULT_CLASSES),
        Reason.LOW_CONFIDENCE,
    )


def test_thresholds_can_be_switched_off() -> None:
    off = Thresholds(confidence=0.0, outlier=float("inf"))
    assert decide(_raw(top=0.126, score=1e9), off, DEFAULT_CLASSES).status is Status.CLASSIFIED


def test_a_tie_goes_to_the_first_class() -> None:
    raw = dataclasses.replace(_raw(), probabilities=(0.5, 0.5, 0, 0, 0, 0, 0, 0))
    assert decide(raw, Thresholds(confidence=0.5, outlier=2), DEFAULT_CLASSES).label == DEFAULT_CLASSES.names[0]


def test_rejections_pass_unchanged_and_in_place() -> None:
    bad = Rejection(ImageFile("s/b", "s", 0, 0), Status.FAILED, Reason.EMPTY, "test")
    outcomes = list(interpret([_raw(), bad, _raw(top=0.1)], THRESHOLDS, DEFAULT_CLASSES))
    assert outcomes[1] is bad
    assert [outcome.status for outcome in outcomes] == [Status.CLASSIFIED, Status.FAILED, Status.UNCLASSIFIED]
