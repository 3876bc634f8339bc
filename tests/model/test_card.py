from dataclasses import replace

import pytest

from bloodcell_batch.model.card import model_card
from bloodcell_batch.model.file import open_model


@pytest.mark.parametrize(
    ("laboratories", "words"),
    [
        ({}, "One laboratory, one scanner and one stain in the training data"),
        ({"a": {"images": 40, "test": 4}}, "One laboratory, one scanner and one stain in the training data"),
        (
            {"a": {"images": 4000, "test": 4}, "b": {"images": 7, "test": 0}},
            "Images of 2 laboratories (a 4,000, b 7); the figures above are of a alone.",
        ),
    ],
)
def test_the_card_says_how_many_laboratories_the_images_are_of(
    laboratories: dict[str, dict[str, int]], words: str
) -> None:
    model = open_model()
    training = {**model.header.training, "laboratories": laboratories}
    card = model_card(replace(model, header=model.header.model_copy(update={"training": training})))
    assert words in card
    assert "Expect lower accuracy on other laboratories' images" in card


def test_the_card_says_which_cells_are_looked_at_again() -> None:
    model = open_model()
    once, twice = (
        model_card(replace(model, header=model.header.model_copy(update={"second_look": limit}))) for limit in (0, 0.95)
    )
    told = "A cell whose top probability is below 0.95 is looked at three more times"
    assert told in twice
    assert told not in once
