"""A walk through what was asked before, one question at a time, and back to what is being typed."""

from collections.abc import Sequence

from r1tui.chat.typed import Typed


class Recall:
    """Where the walk is. Each step is told what stands in the prompt now, which is there again on the way back."""

    def __init__(self) -> None:
        self.entries: Sequence[Typed] = ()
        """What was asked, oldest first; a walk that has begun goes on with those that there were."""
        self._walk: Sequence[Typed] = ()
        self._at = 0
        self._left: dict[int, Typed] = {}

    def older(self, now: Typed) -> Typed | None:
        """The question before; None at the oldest."""
        if self._at == 0:
            self._walk = [entry for entry in reversed(self.entries) if entry != now]
        return self._step(1, now)

    def newer(self, now: Typed) -> Typed | None:
        """The question after, at the end what was typed; None where that is what stands in the prompt."""
        return self._step(-1, now)

    def leave(self) -> None:
        """End the walk: the prompt was sent."""
        self._at = 0
        self._left.clear()

    def draft(self, now: Typed) -> Typed:
        """What would be missed: the old question as it was changed, else what was being typed before the walk."""
        if self._at and now == self._walk[self._at - 1]:
            return self._left[0]
        return now

    def _step(self, by: int, now: Typed) -> Typed | None:
        at = self._at + by
        if not 0 <= at <= len(self._walk):
            return None
        self._left[self._at] = now
        self._at = at
        left = self._left.get(at)
        return self._walk[at - 1] if left is None else left
