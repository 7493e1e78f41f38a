"""What may go wrong, in words a user can act on.

Every error that a user can do something about is a `HypirError`: its message says what was seen and what was expected,
its hint says what to do. The command line prints both as two lines and exits with code 1.
"""

from __future__ import annotations


class HypirError(Exception):
    """An error the user can act on.

    Attributes:
        message: One sentence: what was seen and what was expected.
        hint: One sentence: the way out; empty when the message already says it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(HypirError):
    """A setting is unknown, of the wrong type, out of range or at odds with another."""


class InputError(HypirError):
    """A file or folder given by the user cannot be read, written or used."""


class CheckpointError(HypirError):
    """A weights file is not what its use needs: wrong keys, shapes, format or backbone."""


class BackboneError(HypirError):
    """A backbone cannot be loaded or lacks what was asked of it."""


class DeviceError(HypirError):
    """A device is absent, too small or cannot do what was asked."""


class UnexpectedError(HypirError):
    """What nobody foresaw, about one image of many; the exception itself is its `__cause__`."""


def first_line(error: BaseException) -> str:
    """The first line of what a foreign error says, or its type where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def as_hypir_error(error: Exception, *, subject: str) -> HypirError:
    """An error to report and go on with: a `HypirError` as it is, anything else by its type and text.

    Args:
        error: What was raised.
        subject: What was at work, e.g. the path of an image.
    """
    if isinstance(error, HypirError):
        return error
    text = " ".join(str(error).split())
    found = UnexpectedError(
        f"{subject}: {type(error).__name__}{f': {text}' if text else ''}",
        hint="HYPIR_DEBUG=1 shows where it happened; please report it with the image",
    )
    found.__cause__ = error
    return found
