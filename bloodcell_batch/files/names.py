"""File names as text and as bytes; names need not be valid UTF-8."""

import unicodedata


def printable(text: str) -> str:
    """A path as UTF-8 text; bytes that are not UTF-8 appear as backslash escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def one_line(text: str) -> str:
    """Text that can't move the cursor, change colours or forge a line: names of files may hold any character."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in printable(text))


def name_bytes(name: str) -> bytes:
    """A file's name as the file system has it, also where its bytes are not UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def name_text(data: bytes) -> str:
    """The inverse of `name_bytes`."""
    return data.decode("utf-8", "surrogateescape")


def look(name: str) -> str:
    """What a name looks like to a person: equal for composed and decomposed letters, and for blanks that differ only
    in kind, in number or at the ends."""
    return " ".join(unicodedata.normalize("NFKC", name).split())
