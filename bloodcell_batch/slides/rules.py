"""Which slide an image belongs to: its parent folder, its top folder, a regular expression or a manifest."""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

from bloodcell_batch.errors import InputError, UsageError

SlideBy = Literal["parent", "top", "regex", "manifest"]
SlideRule = Callable[[str], str]

ROOT_SLIDE = "."
"""Slide of the images that lie directly in the scanned folder, beside folders with others."""


def by_parent(path: str) -> str:
    """The folder that holds the image, relative to the scanned folder."""
    return str(PurePosixPath(path).parent)


def by_top(path: str) -> str:
    """The first folder on the way from the scanned folder to the image."""
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ROOT_SLIDE


def by_regex(pattern: str) -> SlideRule:
    """What the group `slide` (or the first group) matches in the relative path; an image it does not match is an error.

    Raises:
        UsageError: the pattern is not a regular expression, or has no group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--slide-regex {pattern!r} is not a regular expression: {error}.", hint="Correct it."
        ) from error
    if not compiled.groups:
        hint = r"Mark the slide's part with a group, for example '(?P<slide>[A-Z]-\d+)'."
        raise UsageError(f"--slide-regex {pattern!r} has no group.", hint=hint)
    group: str | int = "slide" if "slide" in compiled.groupindex else 1

    def rule(path: str) -> str:
        match = compiled.search(path)
        if match is None or not match[group]:
            hint = "Widen the pattern so that it matches every image, or use --slide-by parent."
            raise InputError(f"--slide-regex {pattern!r} doesn't match the image {path}.", hint=hint)
        return match[group]

    return rule


PATH_RULES: dict[str, SlideRule] = {"parent": by_parent, "top": by_top}
"""The rules that need nothing but the path; the others need a regular expression or a file."""


def slide_rule(kind: SlideBy, regex: str | None = None, manifest: Path | None = None) -> SlideRule:
    """The rule for `--slide-by`; `regex` and `manifest` are needed by the kinds of those names."""
    if kind == "regex":
        return by_regex(regex or "")
    if kind == "manifest":
        from bloodcell_batch.slides.manifest import ManifestRule  # noqa: PLC0415 - reads tables, which takes NumPy

        return ManifestRule(manifest or Path())
    return PATH_RULES[kind]
