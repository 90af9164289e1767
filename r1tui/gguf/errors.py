"""What a GGUF file can have wrong."""

from r1tui.errors import R1tuiError
from r1tui.remedies import FetchModel


class GgufError(R1tuiError):
    """The file is no GGUF that can be used: `cause` names the file and what is wrong with it."""

    FETCH_AGAIN = FetchModel(verify=True)

    @classmethod
    def broken(cls, name: str, what: str) -> "GgufError":
        """An error for a file whose content cannot be right."""
        return cls(f"{name}: {what}.", cls.FETCH_AGAIN)


class LackingSettingError(GgufError):
    """The file lacks a setting that every known language model has."""
