"""How much of the context is left for an answer, and when that is little."""

from collections.abc import Iterable
from dataclasses import dataclass

LITTLE_SHARE = 0.15
LITTLE_TOKENS = (1000, 4000)
"""Less is never too little by that share, and more is always enough: R1 thinks for some thousand tokens."""
SMALL_SHARE = 0.25
"""A context that is small itself is nearly full only when so little of it is left."""
MESSAGE_TOKENS = 16
"""The most that a template adds to a message."""


@dataclass(frozen=True)
class ContextBudget:
    """A prompt and the context that it goes into, in tokens."""

    prompt_tokens: int
    context_tokens: int

    @property
    def left(self) -> int:
        """What an answer can have at most; 0 or less when the prompt is refused."""
        return self.context_tokens - self.prompt_tokens

    @property
    def is_full(self) -> bool:
        """Whether llama-server refuses the prompt."""
        return self.left <= 0

    @property
    def is_nearly_full(self) -> bool:
        """Whether an answer is likely to be cut off."""
        least, most = LITTLE_TOKENS
        little = min(max(LITTLE_SHARE * self.context_tokens, least), most, SMALL_SHARE * self.context_tokens)
        return self.left < little

    def __str__(self) -> str:
        return f"{self.prompt_tokens:,} of the context's {self.context_tokens:,} tokens"


def surely_has_room(texts: Iterable[str], context_tokens: int) -> bool:
    """Whether these messages leave room however they are cut into tokens: none is less than a byte."""
    most = sum(len(text.encode()) + MESSAGE_TOKENS for text in texts)
    return not ContextBudget(most, context_tokens).is_nearly_full
