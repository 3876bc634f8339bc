"""Images that can't be trusted, and the guard of the decoders that say so."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from bloodcell_batch.records import Reason


class UndecodableImageError(Exception):
    """The bytes are not an image that can be trusted; `reason` goes to the table, `detail` to the run record."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@contextmanager
def decoder_call() -> Iterator[None]:
    """Guards one call of a decoder: whatever it raises is said of the image. Our own code stays outside.

    Every error counts, because no decoder documents what damaged or unusual bytes make it raise: mutated files gave
    KeyError, AttributeError, AssertionError, RuntimeError, SyntaxError and a dozen others.

    Raises:
        UndecodableImageError: for whatever the decoder raised, except
        MemoryError: which passes; `decode_rgb` decides whose fault it is.
    """
    try:
        yield
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise UndecodableImageError(Reason.NOT_AN_IMAGE, "the content is not an image of a known format") from error
    except Exception as error:
        text = str(error) or type(error).__name__
        raise UndecodableImageError(damage_reason(text), text) from error


def damage_reason(text: str) -> Reason:
    """Decoders say in words only whether data are missing or wrong."""
    lowered = text.lower()
    return Reason.TRUNCATED if any(word in lowered for word in ("truncat", "premature", "eof")) else Reason.CORRUPT
