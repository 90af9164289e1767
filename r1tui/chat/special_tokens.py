"""Makes control tokens that a user pasted harmless.

llama-server turns the text `<｜Assistant｜>` anywhere in a message into the control token, and so ends the user's turn
(seen with b11434). A word joiner (U+2060) after the first character keeps the text readable and breaks the token.
"""

import re
from collections.abc import Iterable

WORD_JOINER = "\u2060"

# DeepSeek's bars are full-width; ChatML, Llama 3, Phi and others use ASCII ones. The rest are older families' tokens
# and the tags that R1's own template and our splitter read.
_PATTERN = re.compile(
    r"<[|｜][^\s<>|｜][^<>\n]{0,62}?[|｜]>|</?think>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]"
    r"|</?(?:start|end)_of_(?:turn|image)>|<(?:bos|eos|pad|unk)>|<</?SYS>>"
)


def defuse(text: str, tokens: Iterable[str] = ()) -> tuple[str, list[str]]:
    """The text with control tokens broken, and which they were (once each, in order). `tokens` are the model's own."""
    found: list[str] = []

    def broken(match: re.Match[str]) -> str:
        token = match[0]
        if token not in found:
            found.append(token)
        return token[0] + WORD_JOINER + token[1:]

    own = [re.escape(token) for token in sorted(tokens, key=len, reverse=True) if len(token) > 2]
    pattern = re.compile("|".join([*own, _PATTERN.pattern])) if own else _PATTERN
    return pattern.sub(broken, text), found
