"""From what data call cells to classes: a class's own name, the user's map, or a name that is known for it."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList
from bloodcell_batch.errors import InputError, UsageError
from bloodcell_batch.labels.synonyms import KNOWN_CELLS, known_cell, nearest_names
from bloodcell_batch.progress import counted

IGNORE = "ignore"
"""In a class map: leave the images of this label out."""

_LISTED = 40

_ORDER = (*DEFAULT_CLASSES.names, *(cell.name for cell in KNOWN_CELLS if cell.name not in DEFAULT_CLASSES.names))
_KNOWN = {cell.name: cell for cell in KNOWN_CELLS}


@dataclass(frozen=True, slots=True)
class ClassNames:
    """How labels become classes.

    Attributes:
        classes: those that there are; None for those that the data turn out to have.
        class_map: label of the data -> name of a class, or `IGNORE`; it goes before all other names.
        found: filled by `name_of`: each label with another name than its class, and that class.
        declared: by the data themselves, with their roles; they count where `classes` is None.
    """

    classes: ClassList | None = None
    class_map: Mapping[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    declared: ClassList | None = None

    def check_map(self) -> None:
        """Refuse a map to what is no class.

        Raises:
            UsageError: it names classes that are not there, or, where the data decide, that nobody knows.
        """
        allowed = self.classes.names if self.classes else tuple(_KNOWN)
        wrong = sorted({name for name in self.class_map.values() if name not in {*allowed, IGNORE}})
        if wrong:
            hint = f"Classes are {', '.join(allowed)}, or {IGNORE}."
            if self.classes is None:
                hint += " Other classes are declared in the recipe, under [classes], with their roles."
            raise UsageError(f"The class map names unknown classes: {', '.join(wrong)}.", hint=hint)

    def name_of(self, label: str) -> str | None:
        """The class that a label means, `IGNORE`, or None where it means none of them."""
        label = label.strip()
        name = self.class_map[label] if label in self.class_map else self._own(label)
        if name is not None and name != label:
            self.found[label] = name
        return name

    def _own(self, label: str) -> str | None:
        spelled = label.casefold().replace(" ", "_").replace("-", "_")
        known = known_cell(label)
        if self.classes is None and self.declared is not None and label in self.declared.names:
            return label
        if self.classes is None:
            return known.name if known else None
        candidates = (label, spelled, *((known.name, known.parent) if known else ()))
        return next((name for name in candidates if name in self.classes.names), None)

    def list_of(self, names: Iterable[str]) -> ClassList:
        """The classes, where `names` are those that the data have.

        Raises:
            InputError: the data decide, and have fewer than two.
        """
        if self.classes is not None:
            return self.classes
        there = set(names)
        if len(there) < 2:
            only = f"only {there.pop()}" if there else "none"
            hint = "A model tells at least two classes apart: label cells of another one, too."
            raise InputError(f"The data have images of {only}.", hint=hint)
        declared = (
            {} if self.declared is None else {one.name: one for one in self.declared.classes if one.name in there}
        )
        known = (_KNOWN[name] for name in _ORDER if name in there and name not in declared)
        cells = {cell.name: CellClass(cell.name, cell.role, cell.parent or "") for cell in known} | declared
        order = [*_ORDER, *declared]
        return ClassList(tuple(sorted(cells.values(), key=lambda cell: order.index(cell.name))))

    @property
    def told(self) -> str:
        """The classes for an error's hint."""
        return ", ".join(self.classes.names if self.classes else _ORDER)

    def refuse_unknown(self, data: Path, unknown: Counter[str]) -> None:
        """Raise an InputError that names the labels in `data` that mean no class, with their numbers, if there are any,
        and how to map those that nearly do."""
        if not unknown:
            return
        listed = ", ".join(f"{name!r} ({counted(count, 'row')})" for name, count in unknown.most_common(_LISTED))
        more = f" and {len(unknown) - _LISTED} others" if len(unknown) > _LISTED else ""
        hint = f"Classes are {self.told}; --map OTHER=OURS takes other names.{self.suggested(unknown)}"
        raise InputError(f"{data} has labels that are not classes: {listed}{more}.", hint=hint)

    def suggested(self, labels: Iterable[str]) -> str:
        """How to map labels that nearly name a class, as text to add to a hint; empty where none does."""
        allowed = self.classes.names if self.classes else _ORDER
        pairs = []
        for label in labels:
            # A cell that is known and no class of this model is not like another one.
            near = IGNORE if known_cell(label) else next((name for name in nearest_names(label) if name in allowed), "")
            if near:
                pairs.append(f"--map {shlex.quote(f'{label}={near}')}")
        return f" For these: {' '.join(pairs)}." if pairs else ""
