"""Whether a model file's own figures show that the model is better than chance."""

from pydantic import BaseModel, NonNegativeInt, ValidationError, model_validator

from bloodcell_batch.errors import ModelRefusedError
from bloodcell_batch.model.file import ModelFile, ModelHeader
from bloodcell_batch.progress import Observer
from bloodcell_batch.statistics.binomial import chance_of_at_least

CHANCE = 0.01
"""A model is better than chance if naming always the commonest class would be right as often in less than this share
of all samples of so many images."""

_FEW_IMAGES = 1000


class _Figures(BaseModel):
    """What is needed of a header's figures: the confusion matrix, true classes as rows."""

    confusion: list[list[NonNegativeInt]]

    @model_validator(mode="after")
    def _is_square(self) -> "_Figures":
        if any(len(row) != len(self.confusion) for row in self.confusion):
            raise ValueError("the confusion matrix is not square")
        return self


def doubt(header: ModelHeader) -> str:
    """Why a model's own figures don't show that it is better than chance, as the rest of a sentence about the model;
    empty if they do.

    The figures are of the test part of its own training. The number of right answers is compared, by an exact binomial
    test, with that of a program that always names the commonest class, the best that can be done without looking.
    Balanced accuracy has no exact test, and single images of rare classes would decide about it.
    """
    try:
        confusion = _Figures.model_validate(header.metrics).confusion
    except ValidationError:
        return "holds no figures of test images: it was never trained, or not by this program"
    right = sum(row[place] for place, row in enumerate(confusion))
    sizes = [sum(row) for row in confusion]
    images, commonest = sum(sizes), max(sizes, default=0)
    if not images:
        return "was measured on no test images"
    if chance_of_at_least(right, images, commonest / images) <= CHANCE:
        return ""
    return (
        f"is not better than chance at its own test images: it was right about {right:,} of {images:,}, and always "
        f"naming the commonest class is right about {commonest:,}"
    )


def require_evidence(model: ModelFile, observer: Observer, *, force: bool) -> None:
    """Refuse a model whose own figures don't show that it is better than chance; warn of one that had little to learn
    from.

    Args:
        model: the model.
        observer: told instead, with `force`.
        force: use it all the same.

    Raises:
        ModelRefusedError: they don't.
    """
    why = doubt(model.header)
    if why and not force:
        hint = (
            "Use another model, train this one on, or measure it with `bloodcell-batch evaluate`; --force uses it all "
            "the same, and the run record says so."
        )
        raise ModelRefusedError(f"The model {model.path} {why}.", hint=hint)
    if why:
        observer.warn(f"the model {model.header.name} {why}; --force uses it all the same")
    elif _learnt_little(model.header):
        observer.warn(
            f"the model {model.header.name} was trained from random weights on fewer than {_FEW_IMAGES:,} images: "
            "expect more errors than its figures say; train --init-weights default starts from one that knows cells"
        )


def _learnt_little(header: ModelHeader) -> bool:
    recipe, split = header.training.get("recipe"), header.training.get("split")
    if not isinstance(recipe, dict) or not isinstance(split, dict):
        return False
    started = recipe.get("pretrained") or recipe.get("init_weights")
    images = split.get("train")
    return not started and isinstance(images, int) and images < _FEW_IMAGES
