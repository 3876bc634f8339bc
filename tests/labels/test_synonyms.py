import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.labels.synonyms import KNOWN_CELLS, known_cell, nearest_names, rolled_up


def test_the_class_entries_are_known_with_their_roles() -> None:
    for default in DEFAULT_CLASSES.classes:
        for text in (default.name, default.short, default.name.upper(), f"{default.name}s"):
            found = known_cell(text)
            assert found is not None
            assert (found.name, found.role, found.parent) == (default.name, default.role, None)


def test_every_spelling_means_one_cell() -> None:
    spelled = [name for cell in KNOWN_CELLS for name in (cell.name, *cell.synonyms)]
    for cell in KNOWN_CELLS:
        for name in cell.synonyms:
            assert name, cell.name
            assert known_cell(name) is cell, name
    assert len(spelled) == len(set(spelled))
    parents = {cell.name: cell.parent for cell in KNOWN_CELLS}
    assert all(cell.parent is None or parents[cell.parent] is None for cell in KNOWN_CELLS)


@pytest.mark.parametrize(
    ("text", "name", "counted"),
    [
        ("1_Segmented Neutrophil", "segmented_neutrophil", "neutrophil"),
        ("Stabkernige", "band_neutrophil", "neutrophil"),
        ("MMY", "metamyelocyte", "ig"),
        ("Éosinophile", "eosinophil", "eosinophil"),
        ("polynucléaire neutrophile", "neutrophil", "neutrophil"),
        ("Linfócitos", "lymphocyte", "lymphocyte"),
        ("piastrine", "platelet", "platelet"),
        ("NRBC", "erythroblast", "erythroblast"),
        ("NGS", "segmented_neutrophil", "neutrophil"),
        ("LYT", "lymphocyte", "lymphocyte"),
        ("Immature Granulocytes(Promyelocytes, Myelocytes and Metamyelocytes)", "ig", "ig"),
        ("not_a_cell", "artefact", "artefact"),
        ("smudge cells", "smudge_cell", "smudge_cell"),
    ],
)
def test_names_as_people_write_them(text: str, name: str, counted: str) -> None:
    found = known_cell(text)
    assert found is not None
    assert (found.name, rolled_up(found)) == (name, counted)


@pytest.mark.parametrize("text", ["", "S-2026-001", "12", "Meyer", "x", "neutropenia"])
def test_other_words_are_no_cells(text: str) -> None:
    assert known_cell(text) is None


def test_the_nearest_names_of_a_misspelt_one() -> None:
    assert nearest_names("neutrophyl")[0] == "neutrophil"
    assert nearest_names("Lymphocite")[0] == "lymphocyte"
    assert nearest_names("qqqq") == []
