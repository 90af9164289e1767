"""Failures as a person should read them: a cause, and the key or command that mends it."""

import errno
from pathlib import Path

from r1tui.remedies import AnyRemedy, Run, as_remedies, in_commands

LOCAL_DISK = "Set R1TUI_HOME to a folder on a disk of this machine."


class R1tuiError(Exception):
    """A failure that a user sees: `cause` says what happened, `remedies` what mends it; a text is advice."""

    exit_status = 1

    def __init__(self, cause: str, *remedies: str | AnyRemedy) -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedies = as_remedies(remedies)

    @property
    def remedy(self) -> str:
        """The remedies in words, with commands."""
        return in_commands(self.remedies)

    def __str__(self) -> str:
        return f"{self.cause}\n{self.remedy}" if self.remedy else self.cause


class UsageError(R1tuiError):
    """A bad argument or setting."""

    exit_status = 2


class ConfigError(UsageError):
    """The config file cannot be used: the message names the file, the key and what is allowed."""


class CancelledError(R1tuiError):
    """The user stopped it; what was done so far is kept."""

    exit_status = 130


_OWN_PLACE = "Make it readable and writable for you, or set R1TUI_HOME to a folder that you own."
_REMEDIES: dict[int, tuple[str | AnyRemedy, ...]] = {
    errno.EMFILE: (Run("ulimit -n 4096", "raises the limit; then try again"),),
    errno.ENFILE: ("Close some programs and try again.",),
    errno.EAGAIN: ("Close some programs.", Run("ulimit -u", "shows and raises the limit of processes")),
    errno.ENOMEM: ("Close some programs to free memory.",),
    errno.EFBIG: (
        Run("ulimit -f unlimited", "raises the limit"),
        "Or set R1TUI_HOME to a disk that allows large files.",
    ),
    errno.EIO: ("The disk may be failing.", Run("dmesg", "says more")),
    errno.ENAMETOOLONG: ("Choose a shorter name.",),
}


def unwritable(error: UnicodeEncodeError) -> R1tuiError:
    """A name, of a file or of a program's argument, that this locale's encoding has no letters for."""
    letter = error.object[error.start : error.start + 1]
    where = f"{ascii(letter)[1:-1]}, which this locale ({error.encoding}) cannot write"
    return R1tuiError(f"A name has the character {where}.", "Use a UTF-8 locale: set LC_ALL=C.UTF-8.")


def is_full(error: OSError) -> bool:
    """True when a disk or a quota had no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def os_error(error: OSError, place: Path | None = None) -> R1tuiError:
    """An operating system's refusal (a full disk, a folder that cannot be written) in our words."""
    where = str(place or error.filename or "").strip()
    if is_full(error):
        disk = f"The disk that holds {where}" if where else "The disk"
        return R1tuiError(f"{disk} is full.", "Free some space, or set R1TUI_HOME to a folder on a larger disk.")
    said = error.strerror or str(error)
    if error.errno == errno.ENOLCK:
        return R1tuiError(f"{where}: {said}.", LOCAL_DISK)
    return R1tuiError(f"{where}: {said}." if where else f"{said}.", *_REMEDIES.get(error.errno or 0, (_OWN_PLACE,)))
