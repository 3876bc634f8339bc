"""The eight cell classes: `CELL_CLASSES` in the order of tensors and model files, `READING_ORDER` in that of people."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """How a class enters the differential count."""

    LEUKOCYTE = "leukocyte"
    """Counted in the denominator of the percentages."""
    NRBC = "nrbc"
    """Nucleated red blood cell: reported per 100 leukocytes, outside the percentages."""
    PLATELET = "platelet"
    """Images are counted, nothing more: crops say nothing about platelet concentration."""
    OUTSIDE = "outside"
    """Counted, in no percentage: smudge cells, artefacts."""


@dataclass(frozen=True, slots=True)
class CellClass:
    """One class: its name in files and columns, its abbreviation, its name for people, and its role."""

    name: str
    short: str
    title: str
    role: Role


CELL_CLASSES: tuple[CellClass, ...] = (
    CellClass("basophil", "BAS", "Basophils", Role.LEUKOCYTE),
    CellClass("eosinophil", "EOS", "Eosinophils", Role.LEUKOCYTE),
    CellClass("erythroblast", "NRBC", "Erythroblasts (nRBC)", Role.NRBC),
    CellClass("ig", "IG", "Immature granulocytes (PMY+MY+MMY)", Role.LEUKOCYTE),
    CellClass("lymphocyte", "LYM", "Lymphocytes", Role.LEUKOCYTE),
    CellClass("monocyte", "MON", "Monocytes", Role.LEUKOCYTE),
    CellClass("neutrophil", "NEU", "Neutrophils (band+segmented)", Role.LEUKOCYTE),
    CellClass("platelet", "PLT", "Platelets", Role.PLATELET),
)

CLASS_NAMES: tuple[str, ...] = tuple(cell.name for cell in CELL_CLASSES)
LEUKOCYTES: tuple[str, ...] = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig")
"""The classes of the differential, in the order in which laboratories report them."""

NRBC: str = next(cell.name for cell in CELL_CLASSES if cell.role is Role.NRBC)
PLATELET: str = next(cell.name for cell in CELL_CLASSES if cell.role is Role.PLATELET)

READING_ORDER: tuple[str, ...] = (*LEUKOCYTES, NRBC, PLATELET)
"""All classes, in the order in which people read them."""

OTHER = "other"
NOT_A_CELL = "not_a_cell"
VERIFIED_LABELS: tuple[str, ...] = (*READING_ORDER, OTHER, NOT_A_CELL)
"""What a person may call a cell: a class, a cell of none of the classes, or no cell; the last two are not counted."""

RESEARCH_USE_ONLY = "For Research Use Only. Not for use in diagnostic procedures."
