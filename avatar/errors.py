"""Errors that a user can act on. Each says what happened, what was expected, what was got, and the next command."""

from __future__ import annotations


class VisavisError(Exception):
    """Base of all errors that are not bugs of ours; the command line exits with `exit_code` and prints no traceback."""

    exit_code = 2

    def __init__(self, what: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        self.what, self.expected, self.got, self.fix = what, expected, got, fix
        lines = [what]
        lines += [f"  {label}: {text}" for label, text in (("expected", expected), ("got", got), ("next", fix)) if text]
        super().__init__("\n".join(lines))


class BadInput(VisavisError):
    """The user's file or option can't be used."""


class FormatMismatch(VisavisError):
    """A folder or file has another schema, version or content than this one reads."""


class MissingAsset(VisavisError):
    """A model file or package that a step needs is not on this machine."""


class BackendUnavailable(VisavisError):
    """A rendering backend can't run here."""


class Interrupted(VisavisError):
    """Stopped by the user; what was done is kept and the same command goes on from there."""

    exit_code = 3
