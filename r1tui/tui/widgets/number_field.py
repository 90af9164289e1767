"""A field for a whole number, which keys change as they change a switch."""

from textual.events import Key

from r1tui.tui.commands import bindings_of
from r1tui.tui.widgets.own_keys import run_own_binding
from r1tui.tui.widgets.still_input import StillInput


class NumberField(StillInput):
    """Digits are typed; the keys of a switch make it more or less, by one or, if it `doubles`, twofold."""

    BINDINGS = bindings_of("switch")

    def __init__(self, *, id: str, doubles: bool = False) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id, compact=True, placeholder="auto", max_length=12)
        self._doubles = doubles
        self.limits: tuple[int, int] | None = None
        """The lowest and the highest value; None while they are not known."""
        self.automatic: int | None = None
        """The number that an empty field means, from which the first step goes."""

    @property
    def number(self) -> int | None:
        """The typed number; None for anything else."""
        text = self.value.strip().replace(",", "")
        return int(text) if text.isascii() and text.isdecimal() else None

    async def on_key(self, event: Key) -> None:
        """Take those of its own keys that could be typed, too; the digits are nobody's."""
        if event.is_printable:
            await run_own_binding(self, event)

    def action_turn(self, step: int) -> None:
        """Have the next number, or the one before."""
        now = self.automatic if self.number is None else self.number
        if self.limits is None or now is None:
            return
        wanted = now + step if not self._doubles else now * 2 if step > 0 else now // 2
        self.value = str(min(max(wanted, self.limits[0]), self.limits[1]))
        self.cursor_position = len(self.value)
