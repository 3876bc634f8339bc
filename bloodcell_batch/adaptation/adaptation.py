"""What comes of an adaptation."""

from dataclasses import dataclass

from bloodcell_batch.adaptation.figures import Change, change_as_text
from bloodcell_batch.model.file import ModelFile


@dataclass(frozen=True, slots=True)
class Control:
    """The package's control cells: how many, and the shares of them that the model had and has right; None where they
    can't tell, as the model has seen them."""

    cells: int
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What came of it: `model` is None where nothing was written since it would not be better."""

    model: ModelFile | None
    change: Change
    control: Control
    layers: str
    counts: dict[str, int]
    slides: int

    def as_text(self) -> str:
        """The figures for people."""
        listed = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        slides = f" of {self.slides} slides" if self.slides else ""
        lines = [f"{sum(self.counts.values())} cells{slides}: {listed}", "", change_as_text(self.change)]
        if self.control.before is not None and self.control.after is not None:
            lines.append(
                f"Of {self.control.cells} control cells of the package (PBC), {self.control.before:.1%} were right "
                f"before and {self.control.after:.1%} are now."
            )
        return "\n".join(lines) + "\n"
