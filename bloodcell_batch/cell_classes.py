"""Cell classes: what one class is, and the list of a model's classes that tables, reports and checks follow.

`DEFAULT_CLASSES` are the eight of the packaged model.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


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


OTHER = "other"
NOT_A_CELL = "not_a_cell"
OTHER_LABELS = (OTHER, NOT_A_CELL)
"""What a person may call a cell that is of no class; such cells are not counted."""

# Laboratories report in this order; what is not listed follows in the model's own.
_LABORATORY_ORDER = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig")
_KNOWN_NAMES = {
    "basophil": ("BAS", "Basophils"),
    "eosinophil": ("EOS", "Eosinophils"),
    "erythroblast": ("NRBC", "Erythroblasts (nRBC)"),
    "ig": ("IG", "Immature granulocytes (PMY+MY+MMY)"),
    "lymphocyte": ("LYM", "Lymphocytes"),
    "monocyte": ("MON", "Monocytes"),
    "neutrophil": ("NEU", "Neutrophils (band+segmented)"),
    "platelet": ("PLT", "Platelets"),
}
_BUILT_IN_GROUPS = {
    "granulocyte": ("neutrophil", "eosinophil", "basophil", "ig"),
    "mononuclear": ("lymphocyte", "monocyte"),
}
_ROLE_ORDER = tuple(Role)
_SHORT_LENGTH = 5


@dataclass(frozen=True, slots=True)
class CellClass:
    """One class: its name in files and columns, its role, and the class that it is a kind of, empty for none."""

    name: str
    role: Role
    parent: str = ""

    @property
    def short(self) -> str:
        """An abbreviation for narrow columns."""
        return short_name(self.name)

    @property
    def title(self) -> str:
        """The name for people, in the plural where it is known."""
        known = _KNOWN_NAMES.get(self.name)
        return known[1] if known else self.name.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class CellGroup:
    """Classes that have something in common, for cells of which no more is known; `members` are their places in the
    list of classes."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True)
class ClassList:
    """The classes of a model in the order of its outputs, or those that a run reports of them.

    Raises:
        ValueError: fewer than two classes, a name twice, one that is reserved, or a kind with another role than its
            siblings or parent.
    """

    classes: tuple[CellClass, ...]

    def __post_init__(self) -> None:
        names = self.names
        if len(names) < 2:
            raise ValueError(f"there must be at least two classes, not {len(names)}")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"the class {repeated[0]!r} is there twice")
        reserved = [name for name in names if name in OTHER_LABELS]
        if reserved:
            raise ValueError(f"{reserved[0]!r} is not a class: it is what a person calls a cell of none of them")
        roles = {entry.name: entry.role for entry in self.classes if not entry.parent}
        for entry in self.classes:
            if entry.parent and roles.setdefault(entry.parent, entry.role) is not entry.role:
                raise ValueError(f"{entry.name!r} has another role than {entry.parent!r}, of which it is a kind")
            if entry.parent and any(other.name == entry.parent and other.parent for other in self.classes):
                raise ValueError(f"{entry.parent!r} is the parent of {entry.name!r} and has a parent itself")

    def __len__(self) -> int:
        return len(self.classes)

    def __hash__(self) -> int:
        return hash(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        return tuple(entry.name for entry in self.classes)

    @cached_property
    def reading_order(self) -> tuple[str, ...]:
        """All classes in the order in which people read them: leukocytes, nRBC, platelets, what is outside."""
        return tuple(entry.name for entry in sorted(self.classes, key=self._place))

    @cached_property
    def in_reading_order(self) -> tuple[CellClass, ...]:
        """The classes themselves, in that order."""
        return tuple(self.by_name[name] for name in self.reading_order)

    @cached_property
    def leukocytes(self) -> tuple[str, ...]:
        """The classes of the differential, in the order in which laboratories report them."""
        return self.with_role(Role.LEUKOCYTE)

    @cached_property
    def nrbc(self) -> tuple[str, ...]:
        """The classes of nucleated red cells."""
        return self.with_role(Role.NRBC)

    @cached_property
    def platelets(self) -> tuple[str, ...]:
        """The classes of platelets."""
        return self.with_role(Role.PLATELET)

    @cached_property
    def outside(self) -> tuple[str, ...]:
        """The classes that are counted and in no percentage."""
        return self.with_role(Role.OUTSIDE)

    @cached_property
    def verified_labels(self) -> tuple[str, ...]:
        """What a person may call a cell: a class, a cell of none of the classes, or no cell; the last two are not
        counted."""
        return (*self.reading_order, *OTHER_LABELS)

    @cached_property
    def by_name(self) -> dict[str, CellClass]:
        """The classes by their names."""
        return {entry.name: entry for entry in self.classes}

    @cached_property
    def groups(self) -> tuple[CellGroup, ...]:
        """Groups of two or more classes but not all, smallest first: the kinds of one parent, with it where it is a
        class itself; granulocytes and mononuclear cells, with all of their kinds."""
        roots = [entry.parent or entry.name for entry in self.classes]
        parents = dict.fromkeys(entry.parent for entry in self.classes if entry.parent)
        wanted = {parent: (parent,) for parent in parents} | {
            name: kinds for name, kinds in _BUILT_IN_GROUPS.items() if name not in {*self.names, *parents}
        }
        found: dict[tuple[int, ...], CellGroup] = {}
        for name, kinds in wanted.items():
            members = tuple(
                place
                for place, (root, entry) in enumerate(zip(roots, self.classes, strict=True))
                if root in kinds and (name in parents or entry.role is Role.LEUKOCYTE)
            )
            if 1 < len(members) < len(self):
                found.setdefault(members, CellGroup(name, members))
        return tuple(sorted(found.values(), key=lambda group: len(group.members)))

    @property
    def denominator(self) -> str:
        """What the percentages are of, as a formula."""
        return "wbc = " + (" + ".join(self.leukocytes) or "0")

    def with_role(self, role: Role) -> tuple[str, ...]:
        """The classes of a role, in reading order."""
        return tuple(name for name in self.reading_order if self.by_name[name].role is role)

    def _place(self, entry: CellClass) -> tuple[int, int, int]:
        root = entry.parent or entry.name
        known = _LABORATORY_ORDER.index(root) if root in _LABORATORY_ORDER else len(_LABORATORY_ORDER)
        return _ROLE_ORDER.index(entry.role), known, self.names.index(entry.name)


@dataclass(frozen=True)
class RollUp:
    """How a model's outputs become the classes that a run reports: output `i` counts as class `target[i]`."""

    reported: ClassList
    target: tuple[int, ...]

    @property
    def changes_nothing(self) -> bool:
        """True where every output is a class of its own, in the same order."""
        return self.target == tuple(range(len(self.reported)))


def rolled_up(outputs: ClassList, *, subclasses: bool = False) -> RollUp:
    """Kinds of a class become that class; with `subclasses`, every output stays a class of its own."""
    names = [entry.name if subclasses or not entry.parent else entry.parent for entry in outputs.classes]
    roles = dict(zip(names, (entry.role for entry in outputs.classes), strict=True))
    kept: Iterable[CellClass] = (
        outputs.classes if subclasses else (CellClass(name, role) for name, role in roles.items())
    )
    reported = ClassList(tuple(kept))
    return RollUp(reported, tuple(reported.names.index(name) for name in names))


def short_name(name: str) -> str:
    """An abbreviation of a class for narrow columns."""
    known = _KNOWN_NAMES.get(name)
    return known[0] if known else name.replace("_", "")[:_SHORT_LENGTH].upper()


DEFAULT_CLASSES = ClassList(
    (
        CellClass("basophil", Role.LEUKOCYTE),
        CellClass("eosinophil", Role.LEUKOCYTE),
        CellClass("erythroblast", Role.NRBC),
        CellClass("ig", Role.LEUKOCYTE),
        CellClass("lymphocyte", Role.LEUKOCYTE),
        CellClass("monocyte", Role.LEUKOCYTE),
        CellClass("neutrophil", Role.LEUKOCYTE),
        CellClass("platelet", Role.PLATELET),
    )
)
"""Of the packaged model, and of a training that doesn't say otherwise."""

RESEARCH_USE_ONLY = "For Research Use Only. Not for use in diagnostic procedures."
