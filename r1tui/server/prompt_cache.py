"""The prompt cache: what llama-server had computed of a conversation when it was left (its KV cache), as files.

The folder has, for each prompt, the file that llama-server wrote and a note beside it, and one note of what the
server's slot holds now. A prompt is known by hashes of its messages, so whatever conversation or branch begins alike
finds it. A cache is used with exactly the model, engine and arguments that made it, whole, and during the same boot:
nothing makes sure that it reached the disk, and llama-server b11434 crashes on a file that was cut.
"""

import hashlib
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise, takewhile
from pathlib import Path
from time import time

import msgspec

from r1tui.gguf.header import shard_paths
from r1tui.messages import ProcessId
from r1tui.server.command import parse_options
from r1tui.system.files import read_json_if_any, write_json
from r1tui.system.paths import private_folder
from r1tui.system.processes import boot_id

FLAG = "--slot-save-path"
LONGEST_S = 10.0
"""The longest that keeping a prompt may delay a stop or the next question."""
LEAST_GAIN_S = 2.0
"""A prompt that is read again faster is not saved."""
USUAL_RATE = 300e6
"""Bytes per second until the first file has shown how fast llama-server writes them."""
SPARE_BYTES = 1 << 30
"""Left free on the disk."""
STRAY_S = 60.0
"""A file that nobody has written to for so long was given up."""
MOST_VAIN = 2
"""A model is given up after so many restored prompts in a row of which it used nothing."""

# What may differ between the server that made a cache and the one that uses it, by `Option.subject`.
_INDIFFERENT = frozenset(
    (
        "--model", "--host", "--port", "--threads", "--threads-batch", "--n-gpu-layers", "--n-cpu-moe", "--cpu-moe",
        "--tensor-split", "--split-mode", "--main-gpu", "--device", "--rpc", "--batch-size", "--ubatch-size",
        "--override-tensor", "--kv-offload", "--numa", "--repack", "load-mode", "--warmup", "--fit", "--fit-target",
        "--fit-ctx", "--temp", "--top-p", "--min-p", "--seed", "--n-predict", "--verbosity", "--verbose", "--prio",
        "--cache-ram", "--sleep-idle-seconds", "--ui", "--cors-origins", "--alias", "--parallel", FLAG,
    )
)  # fmt: skip


class PromptChain(msgspec.Struct, frozen=True):
    """The hashed messages of a request."""

    identity: str
    """Of the model, the engine and the arguments that decide what a cache holds."""
    chain: tuple[str, ...]
    """A hash for each message, of all up to it."""
    chars: tuple[int, ...]
    """Characters up to the end of each message."""
    tokens: int = 0
    """Of the whole prompt, once the server has counted them."""
    tps: float = 0.0
    """How fast they were read."""
    conversation: str = ""
    """The id of the conversation that asked; empty where nobody says."""

    @property
    def name(self) -> str:
        return hashlib.sha256(f"{self.identity} {self.chain[-1]}".encode()).hexdigest()[:32]

    def shared_tokens(self, other: "PromptChain") -> int:
        """About how many of its tokens the other begins with too; its answer is followed by other text anyway."""
        if self.identity != other.identity:
            return 0
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.chain, other.chain, strict=False)))
        return self.tokens * self.chars[shared - 1] // max(self.chars[-1], 1) if shared else 0

    def seconds(self, tokens: int) -> float:
        return tokens / self.tps if self.tps else 0.0


class SlotContent(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a server's slot, and what saving them depends on."""

    prompt: PromptChain
    server: ProcessId
    task: int | None
    """llama-server's number of the last request in the slot; another one means that somebody else has used it."""
    bytes_per_token: float
    limit_bytes: int
    """Of all files together."""
    saved: bool = False
    """True if it is kept already, or need not be."""


class CacheNote(msgspec.Struct, frozen=True):
    """The note beside a cache file."""

    prompt: PromptChain
    n_bytes: int
    seconds: float
    """Seconds that llama-server took to write it."""
    boot: str


def prompt_of(identity: str, messages: Iterable[tuple[str, str]], conversation: str = "") -> PromptChain:
    """The prompt of (role, content) messages, and of the conversation with this id."""
    chain: list[str] = []
    chars: list[int] = []
    for role, content in messages:
        text = f"{chain[-1] if chain else ''}\0{role}\0{content}"
        chain.append(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:24])
        chars.append((chars[-1] if chars else 0) + len(content))
    return PromptChain(identity, tuple(chain), tuple(chars), conversation=conversation)


def identity_of(argv: Sequence[str]) -> str:
    """The identity of a server by its command. Raises OSError and R1tuiError when a file of it is gone."""
    binary, *arguments = argv
    options = parse_options(arguments, "the command")
    model = next(Path(option.values[0]) for option in options if option.flag == "--model")
    stats = [(path, path.stat()) for path in (Path(binary), *shard_paths(model))]
    files = [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    rest = sorted((option.subject, *option.values) for option in options if option.subject not in _INDIFFERENT)
    return hashlib.sha256(repr((files, rest)).encode()).hexdigest()[:32]


def folder_of(argv: Sequence[str]) -> Path | None:
    """Folder of this command's saved prompts; None if it saves none."""
    return next((Path(value) for flag, value in pairwise(argv) if flag == FLAG), None)


class PromptCacheFolder:
    """The folder. What cannot be read is as if it were not there; writing raises OSError and R1tuiError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def held(self, server: ProcessId) -> SlotContent | None:
        """Noted content of this server's slot; check that the slot still holds it."""
        held = read_json_if_any(self._folder / "held", SlotContent)
        return held if held is not None and held.server == server else None

    def hold(self, held: SlotContent) -> None:
        private_folder(self._folder)
        write_json(self._folder / "held", held)

    def best(self, request: PromptChain) -> CacheNote | None:
        """The cached prompt that saves this request the most."""
        usable = (note for note in self._notes() if note.boot == boot_id() and self._is_whole(note))
        best = max(usable, key=lambda note: note.prompt.shared_tokens(request), default=None)
        return best if best is not None and best.prompt.shared_tokens(request) else None

    def is_worth(self, held: SlotContent, n_bytes: float) -> bool:
        """True if keeping so many bytes is allowed, saves time and is quick enough."""
        speeds = sorted(note.n_bytes / note.seconds for note in self._notes() if note.seconds > 0)
        cost_s = n_bytes / (speeds[len(speeds) // 2] if speeds else USUAL_RATE)
        gain_s = held.prompt.seconds(held.prompt.tokens)
        return (
            gain_s >= max(LEAST_GAIN_S, 2 * cost_s)  # it is written, and read later
            and cost_s <= LONGEST_S
            and n_bytes <= held.limit_bytes
            and n_bytes + SPARE_BYTES <= shutil.disk_usage(self._folder).free
            and not self.is_off(held.prompt.identity)
        )

    def make_room(self, n_bytes: float, limit_bytes: int) -> None:
        """Delete what was given up, then the oldest, until so many bytes more are within the limit."""
        for path in self._folder.glob("*.part"):
            with suppress(OSError):
                if time() - path.stat().st_mtime > STRAY_S:
                    path.unlink()
        notes = sorted(self._notes(), key=lambda note: self._time_of(note.prompt), reverse=True)
        for note in notes:
            if note.boot != boot_id() or not self._is_whole(note):
                self.drop(note.prompt)
                continue
            n_bytes += note.n_bytes
            if n_bytes > limit_bytes:
                self.drop(note.prompt)

    def file(self, prompt: PromptChain) -> Path:
        """Path of the prompt's cache, existing or not."""
        return self._folder / f"{prompt.name}.kv"

    def keep(self, part: Path, note: CacheNote) -> None:
        """Take a written file up, in place of those of which it is the continuation."""
        write_json(self._note_file(note.prompt), note)
        part.replace(self.file(note.prompt))
        for other in list(self._notes()):
            ours, theirs = note.prompt, other.prompt
            if theirs.identity == ours.identity and theirs.chain == ours.chain[: len(theirs.chain)] != ours.chain:
                self.drop(theirs)

    def used(self, prompt: PromptChain) -> None:
        """Mark the prompt as used now."""
        with suppress(OSError):
            self._note_file(prompt).touch()

    def drop(self, prompt: PromptChain) -> None:
        with suppress(OSError):
            self._note_file(prompt).unlink(missing_ok=True)
            self.file(prompt).unlink(missing_ok=True)

    def drop_of(self, conversations: Collection[str]) -> None:
        """Delete those of conversations that are gone for good, and what is noted of their prompts in a slot."""
        for note in list(self._notes()):
            if note.prompt.conversation in conversations:
                self.drop(note.prompt)
        held = read_json_if_any(self._folder / "held", SlotContent)
        if held is not None and held.prompt.conversation in conversations:
            with suppress(OSError):
                (self._folder / "held").unlink(missing_ok=True)

    def is_off(self, identity: str) -> bool:
        """True if the model was seen to use nothing of restored prompts."""
        return self._vain().get(identity, 0) >= MOST_VAIN

    def judge(self, identity: str, *, in_vain: bool) -> bool:
        """Count a restored prompt of which nothing was used, or forget the count; True when that turns it off."""
        vain = self._vain()
        before = vain.pop(identity, 0)
        if in_vain or before:
            after = vain | ({identity: before + 1} if in_vain else {})
            write_json(self._folder / "vain", after)
        return in_vain and before + 1 == MOST_VAIN

    def _vain(self) -> dict[str, int]:
        return read_json_if_any(self._folder / "vain", dict[str, int]) or {}

    def _notes(self) -> Iterator[CacheNote]:
        for path in self._folder.glob("*.json"):
            if (note := read_json_if_any(path, CacheNote)) is not None:
                yield note

    def _note_file(self, prompt: PromptChain) -> Path:
        return self.file(prompt).with_suffix(".json")

    def _time_of(self, prompt: PromptChain) -> int:
        with suppress(OSError):
            return self._note_file(prompt).stat().st_mtime_ns
        return 0

    def _is_whole(self, note: CacheNote) -> bool:
        with suppress(OSError):
            return self.file(note.prompt).stat().st_size == note.n_bytes
        return False
