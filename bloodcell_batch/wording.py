"""Numbers in sentences."""


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 cell`, `2,000 cells`: a number with what it counts; `nouns` where the plural needs more than an s, or where a
    verb follows, as in "1 file was"."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
