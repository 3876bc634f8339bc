import pytest
from pydantic import BaseModel, ValidationError, field_validator, model_validator

from bloodcell_batch.config.problems import first_problem


class _Part(BaseModel):
    sizes: list[int]

    @field_validator("sizes")
    @classmethod
    def _not_empty(cls, sizes: list[int]) -> list[int]:
        if not sizes:
            raise ValueError("there are none")
        return sizes


class _Document(BaseModel):
    part: _Part

    @model_validator(mode="after")
    def _large_enough(self) -> "_Document":
        if sum(self.part.sizes) < 10:
            raise ValueError("it is too small")
        return self


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "part: Field required"),
        ({"part": {"sizes": [1, "x"]}}, "part.sizes.1: Input should be a valid integer, unable to parse string"),
        ({"part": {"sizes": []}}, "part.sizes: there are none"),
        ({"part": {"sizes": [1]}}, "header: it is too small"),
        ([], "header: Input should be a valid dictionary or instance of _Document"),
    ],
)
def test_the_first_problem_with_its_place(document: object, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Document.model_validate(document)
    assert first_problem(caught.value, "header").startswith(text)
