"""What a server is asked for: a conversation, how tokens are chosen, and the beginning of an answer to go on with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import randbelow
from typing import Any, Literal

from r1tui.config import RANDOM_SEED, SamplingSettings
from r1tui.server.think import CLOSE, OPEN

_PASSED = ("temperature", "top_p", "min_p", "top_k", "repeat_penalty", "presence_penalty", "frequency_penalty")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; an assistant's is its answer without the thinking."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Beginning:
    """What of an answer is there, for another request to go on with: its thinking, and its text if that has begun."""

    thinking: str
    content: str

    def is_inside(self, *, forced: bool) -> bool:
        """Whether it ends within the thinking."""
        return not self.content and bool(self.thinking or forced)

    def as_written(self, *, forced: bool) -> str:
        """What the model wrote, behind a prompt that ended in `<think>` if `forced`."""
        if not (self.thinking or forced):
            return self.content
        opening = "" if forced else f"{OPEN}\n"
        return opening + self.thinking + (CLOSE + self.content if self.content else "")


@dataclass(frozen=True)
class ChatRequest:
    """What to answer and how. Where `sampling` has null, what the server was started with counts."""

    messages: Sequence[Message]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    beginning: Beginning | None = None
    """Of the answer, which is then gone on with."""

    def body(self, *, raw_reasoning: bool) -> dict[str, Any]:
        """The JSON of a chat; with `raw_reasoning` the server leaves the thinking in the content, for us to split."""
        return {
            "messages": json_messages(self.messages),
            **({"reasoning_format": "none"} if raw_reasoning else {}),
            **self._common(),
        }

    def body_of_rest(self, prompt: str, *, inside_thinking: bool) -> dict[str, Any]:
        """The JSON of a completion whose prompt ends with the answer's beginning.

        A chat whose last message is the assistant's would render the thinking by what the server makes of the
        template, which is not always what the model wrote.
        """
        return {"prompt": prompt, **({"generation_prompt": OPEN} if inside_thinking else {}), **self._common()}

    def _common(self) -> dict[str, Any]:
        chosen = self.sampling
        optional = {
            **{key: getattr(chosen, key) for key in _PASSED},
            "seed": randbelow(2**31) if chosen.seed == RANDOM_SEED else chosen.seed,
            "max_tokens": chosen.max_tokens,
            "reasoning_budget_tokens": chosen.thinking_budget,
            "chat_template_kwargs": template_arguments(chosen),
        }
        return {
            **{key: value for key, value in optional.items() if value is not None},
            "stream": True,
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "return_progress": True,
            "reasoning_control": True,
            "reasoning_budget_start_tag": OPEN,  # for templates in which the server sees no thinking
            "reasoning_budget_end_tags": [CLOSE],
            "reasoning_budget_message": "",
        }


def template_arguments(sampling: SamplingSettings) -> dict[str, bool] | None:
    """What the model's template is told beside the messages; None: nothing."""
    return None if sampling.thinking is None else {"enable_thinking": sampling.thinking}


def json_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
