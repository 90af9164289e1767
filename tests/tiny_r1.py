"""Writes a tiny DeepSeek-R1 whose answer is known: the real architecture (deepseek2, experts), a script for weights.

Attention and experts add nothing, every embedding is one-hot and the output matrix leads each token to the next one of
the script, so a llama-server computes the real graph and says, at any temperature, exactly THINK, `</think>`, ANSWER,
end of sentence. The script starts after the newline of a template's `<think>\\n`; a template that ends with
`<｜Assistant｜>` makes the model write `<think>\\n` itself; a prompt that ends with `</think>` starts the answer.

    python -m tests.tiny_r1 OUT.gguf [THINK [ANSWER]]
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import ExpertGatingFuncType, GGUFWriter, TokenType
from numpy.typing import NDArray

BOS, EOS, USER, ASSISTANT, THINK, END_THINK = range(6)
SPECIAL = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")
NEWLINE = len(SPECIAL) + ord("\n")

DEFAULT_THINK = "Okay, the user wants a greeting. Naïve UTF-8: 日本語 🦙 and done.\n"
DEFAULT_ANSWER = (
    "\n\nHello! Here is **Flappy Bird**:\n\n```python\nimport pygame\n\ndef main():\n    pass\n```\n\n"
    "| col | value |\n|---|---|\n| x | 1 |\n\n你好 🦙, that is all ✅"
)

_TURNS = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}HISTORY{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'OPENING' }}{% endif %}"
)
_DROPPED_THOUGHTS = (
    "{% set content = m['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}"
)
_DROPPED_INLINE = "{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
_FORCED, _UNFORCED = "<｜Assistant｜><think>\\n", "<｜Assistant｜>"


def _template(history: str, opening: str) -> str:
    return _TURNS.replace("HISTORY", history).replace("OPENING", opening)


TEMPLATE = _template(_DROPPED_THOUGHTS, _FORCED)
"""The form of DeepSeek's own: the thinking is forced, earlier thoughts are dropped."""
UNFORCED_TEMPLATE = _template(_DROPPED_THOUGHTS, _UNFORCED)
"""The same, but the model opens its thinking itself."""
UNRECOGNISED_TEMPLATE = _template(_DROPPED_INLINE, _FORCED)
"""Renders what TEMPLATE does, but llama-server, which looks for `content.split('</think>')`, sees no thinking in it:
the content begins with the thinking and has `</think>` in it."""
UNRECOGNISED_UNFORCED_TEMPLATE = _template(_DROPPED_INLINE, _UNFORCED)
"""As UNRECOGNISED_TEMPLATE, and the content begins with `<think>\\n`, which the model writes itself."""

HEADS, ROPE, NOPE, VALUE, KV_RANK, Q_RANK, DENSE_WIDTH = 2, 32, 32, 32, 64, 64, 256

Array = NDArray[np.float32]


def byte_alphabet() -> list[str]:
    """The printable stand-in for each byte in a byte-level BPE vocabulary."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def pieces(text: str, *, split_bytes: bool = False) -> list[bytes]:
    """The text cut before each run of white space; with `split_bytes` also around every byte of other than ASCII."""
    words = [word.encode() for word in re.findall(r"\s*\S+(?:\s+$)?|\s+$", text)]
    if not split_bytes:
        return words
    return [piece for word in words for piece in re.findall(rb"[\x00-\x7f]+|[\x80-\xff]", word)]


class _Script:
    """The vocabulary, and which token follows which; a token stands for one place in the script only."""

    def __init__(self, *, reachable: bool) -> None:
        self._reachable = reachable
        self._alphabet = byte_alphabet()
        self.tokens = [*SPECIAL, *self._alphabet]
        self.types = [TokenType.CONTROL] * 4 + [TokenType.USER_DEFINED] * 2 + [TokenType.NORMAL] * 256
        self.follows = {ASSISTANT: THINK, THINK: NEWLINE}
        self._ids = {token: place for place, token in enumerate(self.tokens)}
        self._used = {NEWLINE}

    def chain(self, words: list[bytes], start: int) -> int:
        """Let the words follow the token `start`; the last one's token."""
        pending = b""
        for word in words:
            pending += word  # a word that the script has elsewhere is joined with those after it
            if self._is_free(pending):
                self.follows[start] = start = self._token(pending)
                pending = b""
        if pending:
            for part in self._halves(pending):
                self.follows[start] = start = self._token(part)
        return start

    def _halves(self, word: bytes) -> tuple[bytes, bytes]:
        """The word, which the script has elsewhere, cut into two that it does not have."""
        for cut in range(len(word) - 1, 0, -1):
            first, second = word[:cut], word[cut:]
            if first != second and self._is_free(first) and self._is_free(second):
                return first, second
        raise ValueError(f"the script repeats {word!r} too often at an end")

    def _is_free(self, word: bytes) -> bool:
        return self._ids.get(self._spelled(word)) not in self._used

    def _spelled(self, word: bytes) -> str:
        if self._reachable:
            return word.decode()
        return "".join(self._alphabet[byte] for byte in word)

    def _token(self, word: bytes) -> int:
        text = self._spelled(word)
        if text not in self._ids:
            self._ids[text] = len(self.tokens)
            self.tokens.append(text)
            self.types.append(TokenType.USER_DEFINED if self._reachable else TokenType.NORMAL)
        self._used.add(self._ids[text])
        return self._ids[text]


def build(
    path: Path,
    *,
    think: str = DEFAULT_THINK,
    answer: str = DEFAULT_ANSWER,
    split_bytes: bool = False,
    loop: bool = False,
    loop_think: bool = False,
    reachable: bool = False,
    mla: bool = True,
    layers: int = 4,
    experts: int = 8,
    expert_width: int = 64,
    dense: int = 1,
    shard_tensors: int = 0,
    context: int | None = None,
    template: str = TEMPLATE,
    sampling: Mapping[str, float] | None = None,
) -> Path:
    """Write the model and return its (first) file.

    `split_bytes` makes every byte of a character beyond ASCII its own token (a byte sequence that came before is joined
    with what follows it); `loop` repeats the answer for ever, `loop_think` the thinking, which then ends only when made
    to; `reachable` lets the words of the script be read as the tokens they are written as, so that an answer whose
    beginning is in the prompt goes on there; `mla=False` writes the layout of the first uploads, with
    a K and V cache per head; `shard_tensors` splits the file into PATH-00001-of-0000N.gguf; `context` is of 8192
    tokens, or of 65536 where something is repeated for ever (8192 are there in 3 s, which a busy test may need itself);
    `sampling` is what the file itself says of sampling (general.sampling.*).
    """
    script = _Script(reachable=reachable)
    thought = script.chain(pieces(think, split_bytes=split_bytes), NEWLINE)
    script.follows[thought] = script.follows[NEWLINE] if loop_think else END_THINK
    last = script.chain(pieces(answer, split_bytes=split_bytes), END_THINK)
    script.follows[last] = script.follows[END_THINK] if loop else EOS
    width = -(-len(script.tokens) // 256) * 256

    writer = GGUFWriter(path, "deepseek2", split_max_tensors=shard_tensors)
    _add_parameters(
        writer, width=width, layers=layers, experts=experts, expert_width=expert_width, dense=dense, mla=mla
    )
    writer.add_context_length(context or (65536 if loop or loop_think else 8192))
    for key, value in (sampling or {}).items():
        writer.add_float32(f"general.sampling.{key}", value)
    _add_vocabulary(writer, script, template)
    _add_weights(writer, script, width, [layers, experts, expert_width, dense], mla=mla)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if not shard_tensors:
        return path
    return next(iter(sorted(path.parent.glob(f"{path.stem}-00001-of-*.gguf"))), path)


def _add_parameters(
    writer: Any, *, width: int, layers: int, experts: int, expert_width: int, dense: int, mla: bool
) -> None:
    writer.add_name("Tiny R1")
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(DENSE_WIDTH)
    writer.add_head_count(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(ROPE)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_q_lora_rank(Q_RANK)
    writer.add_kv_lora_rank(KV_RANK)
    writer.add_head_count_kv(1 if mla else HEADS)
    writer.add_key_length(KV_RANK + ROPE if mla else NOPE + ROPE)
    writer.add_value_length(KV_RANK if mla else VALUE)
    if mla:
        writer.add_key_length_mla(NOPE + ROPE)
        writer.add_value_length_mla(VALUE)
    writer.add_leading_dense_block_count(dense)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(2)
    writer.add_expert_shared_count(1)
    writer.add_expert_feed_forward_length(expert_width)
    writer.add_expert_weights_scale(2.5)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)


def _add_vocabulary(writer: Any, script: _Script, template: str) -> None:
    writer.add_vocab_size(len(script.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-v3")
    writer.add_token_list(script.tokens)
    writer.add_token_types(script.types)
    writer.add_array("tokenizer.ggml.merges", ["t h"])
    writer.add_chat_template(template)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_pad_token_id(EOS)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _add_weights(writer: Any, script: _Script, width: int, shape: list[int], *, mla: bool) -> None:
    layers, experts, expert_width, dense = shape
    vocab = len(script.tokens)
    rng = np.random.default_rng(3407)

    def noise(*size: int) -> Array:
        return (rng.standard_normal(size) * 0.02).astype(np.float32)

    def zeros(*size: int) -> Array:
        return np.zeros(size, np.float32)

    def ones(*size: int) -> Array:
        return np.ones(size, np.float32)

    embedding, output = zeros(vocab, width), zeros(vocab, width)
    embedding[np.arange(vocab), np.arange(vocab)] = 1
    for token in range(vocab):
        output[script.follows.get(token, EOS), token] = 1
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones(width))
    writer.add_tensor("output.weight", output)
    for layer in range(layers):
        weights = {
            "attn_norm.weight": ones(width),
            "attn_q_a_norm.weight": ones(Q_RANK),
            "attn_kv_a_norm.weight": ones(KV_RANK),
            "attn_q_a.weight": noise(Q_RANK, width),
            "attn_q_b.weight": noise(HEADS * (NOPE + ROPE), Q_RANK),
            "attn_kv_a_mqa.weight": noise(KV_RANK + ROPE, width),
            "attn_output.weight": zeros(width, HEADS * VALUE),
            "ffn_norm.weight": ones(width),
        }
        if mla:
            weights |= {"attn_k_b.weight": noise(HEADS, KV_RANK, NOPE), "attn_v_b.weight": noise(HEADS, VALUE, KV_RANK)}
        else:
            weights |= {"attn_kv_b.weight": noise(HEADS * (NOPE + VALUE), KV_RANK)}
        if layer < dense:
            weights |= {
                "ffn_gate.weight": noise(DENSE_WIDTH, width),
                "ffn_up.weight": noise(DENSE_WIDTH, width),
                "ffn_down.weight": zeros(width, DENSE_WIDTH),
            }
        else:
            weights |= {
                "ffn_gate_inp.weight": noise(experts, width),
                "exp_probs_b.bias": zeros(experts),
                "ffn_gate_exps.weight": noise(experts, expert_width, width),
                "ffn_up_exps.weight": noise(experts, expert_width, width),
                "ffn_down_exps.weight": zeros(experts, width, expert_width),
                "ffn_gate_shexp.weight": noise(expert_width, width),
                "ffn_up_shexp.weight": noise(expert_width, width),
                "ffn_down_shexp.weight": zeros(width, expert_width),
            }
        for name, data in weights.items():
            writer.add_tensor(f"blk.{layer}.{name}", data)


if __name__ == "__main__":
    texts = dict(zip(("think", "answer"), sys.argv[2:4], strict=False))
    print(build(Path(sys.argv[1]), **texts))  # type: ignore[arg-type]
