"""What can go wrong, as a person should read it: a cause and the key or command that mends it."""


class R1tuiError(Exception):
    """A failure that a user sees: `cause` says what happened, `remedy` the command or key that mends it."""

    exit_status = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}\n{self.remedy}" if self.remedy else self.cause


class UsageError(R1tuiError):
    """What was asked for makes no sense: a bad argument or setting."""

    exit_status = 2


class ConfigError(UsageError):
    """The config file cannot be used: the message names the file, the key and what is allowed."""


class CancelledError(R1tuiError):
    """The user stopped it; what was done so far is kept."""

    exit_status = 130
