"""What a pydantic model finds wrong with a document, as text for people."""

from pydantic import ValidationError


def first_problem(error: ValidationError, whole: str = "the document") -> str:
    """The place and the kind of the first problem: `model.sha256: Field required`.

    Args:
        error: what the model raised.
        whole: the place of a problem that is not in any one field.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
