"""What a GGUF file can have wrong."""

from r1tui.errors import R1tuiError


class GgufError(R1tuiError):
    """The file is no GGUF that can be used: `cause` names the file and what is wrong with it."""

    FETCH_AGAIN = "If it was downloaded, check and fetch it again: r1tui download VARIANT --verify."

    @classmethod
    def broken(cls, name: str, what: str) -> "GgufError":
        """An error for a file whose content cannot be right."""
        return cls(f"{name}: {what}.", cls.FETCH_AGAIN)
