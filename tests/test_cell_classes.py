import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role, rolled_up

FINE = ClassList(
    (
        CellClass("platelet", Role.PLATELET),
        CellClass("smudge_cell", Role.OUTSIDE),
        CellClass("plasma_cell", Role.LEUKOCYTE),
        CellClass("band_neutrophil", Role.LEUKOCYTE, "neutrophil"),
        CellClass("segmented_neutrophil", Role.LEUKOCYTE, "neutrophil"),
        CellClass("erythroblast", Role.NRBC),
        CellClass("lymphocyte", Role.LEUKOCYTE),
        CellClass("neutrophil", Role.LEUKOCYTE),
    )
)


def test_the_eight_are_read_in_the_order_of_laboratories() -> None:
    assert DEFAULT_CLASSES.leukocytes == ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig")
    assert DEFAULT_CLASSES.reading_order[-2:] == ("erythroblast", "platelet")
    assert DEFAULT_CLASSES.denominator == "wbc = neutrophil + lymphocyte + monocyte + eosinophil + basophil + ig"
    assert rolled_up(DEFAULT_CLASSES).changes_nothing


def test_kinds_become_their_class_unless_they_are_asked_for() -> None:
    together = rolled_up(FINE)
    names = ("platelet", "smudge_cell", "plasma_cell", "neutrophil", "erythroblast", "lymphocyte")
    assert together.reported.names == names
    assert together.target == (0, 1, 2, 3, 3, 4, 5, 3)
    assert together.reported.leukocytes == ("neutrophil", "lymphocyte", "plasma_cell")
    apart = rolled_up(FINE, subclasses=True)
    assert apart.changes_nothing
    assert apart.reported.leukocytes == (
        *("band_neutrophil", "segmented_neutrophil", "neutrophil", "lymphocyte", "plasma_cell"),
    )
    assert apart.reported.outside == ("smudge_cell",)
    assert apart.reported.verified_labels[-4:] == ("platelet", "smudge_cell", "other", "not_a_cell")


def members(classes: ClassList) -> dict[str, tuple[str, ...]]:
    return {group.name: tuple(classes.names[place] for place in group.members) for group in classes.groups}


def test_groups_of_classes() -> None:
    assert list(members(DEFAULT_CLASSES).items()) == [
        ("mononuclear", ("lymphocyte", "monocyte")),
        ("granulocyte", ("basophil", "eosinophil", "ig", "neutrophil")),
    ]
    neutrophils = ("band_neutrophil", "segmented_neutrophil", "neutrophil")
    assert members(FINE) == {"neutrophil": neutrophils}  # which are all the granulocytes that there are
    assert members(rolled_up(FINE).reported) == {}
    several = ClassList((*FINE.classes, CellClass("basophil", Role.LEUKOCYTE), CellClass("monocyte", Role.LEUKOCYTE)))
    assert list(members(several).items()) == [
        ("mononuclear", ("lymphocyte", "monocyte")),
        ("neutrophil", neutrophils),
        ("granulocyte", (*neutrophils, "basophil")),
    ]


def test_what_is_no_group() -> None:
    two = ClassList((CellClass("lymphocyte", Role.LEUKOCYTE), CellClass("monocyte", Role.LEUKOCYTE)))
    assert two.groups == ()  # it would be certain by definition
    own = ClassList(tuple(CellClass(name, Role.LEUKOCYTE) for name in ("granulocyte", "ig", "basophil", "monocyte")))
    assert own.groups == ()  # the name means a class here
    outside = ClassList(tuple(CellClass(name, Role.OUTSIDE) for name in ("ig", "basophil", "monocyte")))
    assert outside.groups == ()


def test_names_for_people() -> None:
    band = FINE.by_name["band_neutrophil"]
    assert (band.title, band.short) == ("Band neutrophil", "BANDN")
    assert (DEFAULT_CLASSES.by_name["ig"].title, DEFAULT_CLASSES.by_name["ig"].short) == (
        "Immature granulocytes (PMY+MY+MMY)",
        "IG",
    )


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ((CellClass("a", Role.NRBC),), "at least two"),
        ((CellClass("a", Role.NRBC), CellClass("a", Role.LEUKOCYTE)), "twice"),
        ((CellClass("a", Role.NRBC), CellClass("other", Role.LEUKOCYTE)), "not a class"),
        ((CellClass("a", Role.NRBC, "p"), CellClass("b", Role.LEUKOCYTE, "p")), "another role than 'p'"),
        ((CellClass("a", Role.NRBC, "b"), CellClass("b", Role.NRBC, "c")), "has a parent itself"),
    ],
)
def test_what_is_no_list(classes: tuple[CellClass, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ClassList(classes)
