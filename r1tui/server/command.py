"""llama-server's arguments, composed from settings, a plan and what the binary knows."""

import difflib
import getpass
import ipaddress
import re
import secrets
import shlex
import socket as sockets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from r1tui.config import SamplingSettings, ServerSettings
from r1tui.errors import R1tuiError, UsageError
from r1tui.plan.capabilities import Capabilities
from r1tui.remedies import AnyRemedy, BuildEngine, FetchModel, Run
from r1tui.system.environment import KEY_VARIABLE, shell_lines

# Spellings of one flag, from `llama-server --help` of b11434; the first stands for the flag.
_SPELLINGS = (
    ("--model", "-m"), ("--ctx-size", "-c"), ("--threads", "-t"), ("--threads-batch", "-tb"),
    ("--n-gpu-layers", "--gpu-layers", "-ngl"), ("--n-cpu-moe", "-ncmoe"), ("--cpu-moe", "-cmoe"),
    ("--cache-type-k", "-ctk"), ("--cache-type-v", "-ctv"), ("--flash-attn", "-fa"), ("--tensor-split", "-ts"),
    ("--batch-size", "-b"), ("--ubatch-size", "-ub"), ("--device", "-dev"), ("--override-tensor", "-ot"),
    ("--split-mode", "-sm"), ("--main-gpu", "-mg"), ("--parallel", "-np"), ("--n-predict", "--predict", "-n"),
    ("--verbosity", "--log-verbosity", "-lv"), ("--verbose", "--log-verbose", "-v"), ("--temp", "--temperature"),
    ("--seed", "-s"), ("--ui", "--webui"), ("--no-ui", "--no-webui"), ("--fit", "-fit"), ("--fit-target", "-fitt"),
    ("--fit-ctx", "-fitc"), ("--cache-ram", "-cram"), ("--no-repack", "-nr"), ("--load-mode", "-lm"),
    ("--kv-offload", "-kvo"), ("--no-kv-offload", "-nkvo"), ("--kv-unified", "-kvu"),
    ("--no-kv-unified", "-no-kvu"), ("--cont-batching", "-cb"), ("--no-cont-batching", "-nocb"),
    ("--hf-token", "-hft"), ("--hf-repo", "-hfr", "-hf"), ("--hf-file", "-hff"), ("--model-url", "-mu"),
    ("--docker-repo", "-dr"), ("--help", "--usage", "-h"), ("--cache-list", "-cl"), ("--alias", "-a"),
)  # fmt: skip
_FIRST_SPELLING = {spelling: group[0] for group in _SPELLINGS for spelling in group}
_ALL_SPELLINGS = {group[0]: group for group in _SPELLINGS}

SAMPLING_FLAGS = {
    "temperature": "--temp", "top_p": "--top-p", "min_p": "--min-p", "top_k": "--top-k",
    "repeat_penalty": "--repeat-penalty", "presence_penalty": "--presence-penalty",
    "frequency_penalty": "--frequency-penalty", "seed": "--seed",
}  # fmt: skip

# How weights are loaded, in the words of newer and of older builds.
_LOAD_MODES = {
    ("--load-mode", "auto"): [],
    ("--load-mode", "mmap"): [],
    ("--load-mode", "none"): ["--no-mmap"],
    ("--load-mode", "mlock"): ["--mlock"],
    ("--no-mmap",): ["--load-mode", "none"],
    ("--mlock",): ["--load-mode", "mlock"],
}

_EXPOSED = "Every user of this machine can read command arguments."
_REFUSED: dict[str, tuple[str | AnyRemedy, ...]] = {
    "--host": ("r1tui uses its own socket; for a port set `server.tcp` or pass `--tcp 127.0.0.1:PORT`.",),
    "--port": ("Set `server.tcp` or pass `--tcp 127.0.0.1:PORT`.",),
    "--api-key": (_EXPOSED, "With `server.tcp` r1tui makes its own key; remove this flag."),
    "--api-key-file": ("With `server.tcp` r1tui makes its own key; remove this flag.",),
    "--hf-token": (_EXPOSED, "Set HF_TOKEN and download the model first.", FetchModel()),
    **dict.fromkeys(
        ("--model", "--model-url", "--hf-repo", "--hf-file", "--docker-repo", "--models-dir", "--models-preset"),
        ("Choose the model with a variant or `--model FILE`.",),
    ),
    **dict.fromkeys(
        ("--log-file", "--log-disable", "--log-jsonl"),
        ("r1tui writes the server's log itself; remove this flag.",),
    ),
    **dict.fromkeys(
        ("--api-prefix", "--ssl-key-file", "--ssl-cert-file"),
        ("r1tui does not use them; put a proxy in front of `server.tcp`.",),
    ),
    **dict.fromkeys(
        ("--help", "--version", "--list-devices", "--cache-list", "--completion-bash"),
        ("It makes the server print something and quit; run the binary itself.", Run("r1tui doctor", "names it")),
    ),
}


@dataclass(frozen=True)
class Tcp:
    """A loopback address for other tools; port 0 stands for one still to be chosen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Option:
    flag: str
    values: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The flag's subject: the same for every spelling, and for a flag and its opposite."""
        if self.flag in ("--load-mode", "-lm", "--mmap", "--no-mmap", "--mlock"):
            return "load-mode"
        flag = _FIRST_SPELLING.get(self.flag, self.flag)
        return flag if flag == "--no-host" else flag.replace("--no-", "--", 1)


def compose(
    binary: Path,
    capabilities: Capabilities,
    model: Path,
    placement: Sequence[str],
    *,
    server: ServerSettings,
    sampling: SamplingSettings,
    socket: Path,
    tcp: Tcp | None = None,
    prompt_cache: Path | None = None,
    extra_args: Sequence[str] = (),
) -> list[str]:
    """The whole command, the binary first.

    `placement` is the plan's arguments; `prompt_cache` is the folder, which must be there, for the caches of
    conversations that are left; `extra_args` are the variant's.
    The plan's arguments replace ours about the same thing, the settings' extra ones both, the variant's all. Raises
    UsageError for a flag among the extra arguments that the binary does not know or that is not the user's to give,
    and R1tuiError for one that plan or settings need and this binary lacks.
    """
    wishes = _ours(server, sampling, tcp)
    if prompt_cache is not None:
        wishes.append(Option("--slot-save-path", (str(prompt_cache),)))
    ours = [option for option in wishes if _spelled(option, capabilities) is not None]
    needed = [*_ours_needed(server), *parse_options(placement, "the plan")]
    for option in needed:
        if _spelled(option, capabilities) is None:
            raise R1tuiError(
                f"This llama-server ({capabilities.version or 'unknown version'}) has no {option.flag}.",
                BuildEngine(),
            )
    groups = [ours, needed, _extra(server.extra_args, capabilities), _extra(extra_args, capabilities)]
    argv = [str(binary), "--model", str(model), *_address(socket, tcp)]
    for number, group in enumerate(groups):
        replaced = {later.subject for later_group in groups[number + 1 :] for later in later_group}
        for option in group:
            if option.subject not in replaced:
                argv += _spelled(option, capabilities) or []
    return argv


def parse_options(arguments: Iterable[str], where: str) -> list[Option]:
    """Arguments as flags with their values; `--flag=value` and `--flag value` in one string are taken apart.

    Raises UsageError, which names `where`, for a value without a flag or quotes that do not close.
    """
    words: list[str] = []
    for argument in arguments:
        if not _is_flag(argument):
            words.append(argument)
            continue
        try:
            first, *rest = shlex.split(argument) if re.search(r"\s", argument) else [argument]
        except ValueError as error:
            raise UsageError(f"{where}: {argument!r} cannot be parsed: {error}.", "Close its quotes.") from error
        flag, equals, value = first.partition("=")
        words += [flag, value, *rest] if equals else [first, *rest]
    options: list[Option] = []
    for word in words:
        if _is_flag(word):
            options.append(Option("--" + word[2:].replace("_", "-") if word.startswith("--") else word))
        elif options:
            options[-1] = Option(options[-1].flag, (*options[-1].values, word))
        else:
            raise UsageError(f"{where}: {word!r} comes before any flag.", "A flag starts with a dash, such as --top-k.")
    return options


def parse_tcp(text: str) -> Tcp:
    """`127.0.0.1:8080`, `localhost:8080` or `[::1]:8080` as an address; raises UsageError for any but loopback."""
    host, colon, port_text = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch(r"\d{1,5}", port_text, re.ASCII) or int(port_text) > 65535:
        raise UsageError(f"{text!r} is not HOST:PORT.", "Write for example 127.0.0.1:8080; port 0 takes a free one.")
    if host.lower() == "localhost":
        host = "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            f"{host} is not this machine's loopback address: anyone on the network could use the server.",
            "Use 127.0.0.1.",
            Run("ssh -L 8080:127.0.0.1:8080 THIS-MACHINE", "connects to it from another machine"),
        )
    return Tcp(host, int(port_text))


def with_free_port(tcp: Tcp) -> Tcp:
    """The address itself, or with port 0 one that nobody listens on at the moment.

    It is one that no kernel gives to an outgoing connection, which would have it before the server binds it, or
    while the server is restarted: Linux gives those from 32768 on, macOS and the BSDs from 49152.
    """
    if tcp.port:
        return tcp
    family = sockets.AF_INET6 if ":" in tcp.host else sockets.AF_INET
    for port in (*(20_000 + secrets.randbelow(12_768) for _ in range(20)), 0):
        with sockets.socket(family, sockets.SOCK_STREAM) as probe, suppress(OSError):
            probe.bind((tcp.host, port))
            return Tcp(tcp.host, probe.getsockname()[1])
    raise R1tuiError(f"{tcp.host} has no free port.", "Name one with `--tcp HOST:PORT`, or end other programs.")


def as_script(
    argv: Sequence[str], socket: Path, key_file: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """The command as a POSIX shell script that runs the server in the foreground; the key itself is not in it.

    The script removes `socket` before it starts, so compose it with one that no running server listens on. `env`:
    variables that the server is started with where the user has not set them.
    """
    binary, *arguments = argv
    lines = [
        "#!/bin/sh",
        "# llama-server as r1tui starts it; only these arguments count.",
        "set -eu",
        *shell_lines(),
        *(f'export {name}="${{{name}:-{value}}}"' for name, value in (env or {}).items()),
        "umask 077",
        f"mkdir -p {shlex.quote(str(socket.parent))}",
        f"rm -f {shlex.quote(str(socket))}",
    ]
    if key_file is not None:
        file = shlex.quote(str(key_file))
        lines += [
            f"[ -s {file} ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > {file}",
            f"{KEY_VARIABLE}=$(cat {file})",
            f"export {KEY_VARIABLE}",
        ]
    parts = [f"exec {shlex.quote(binary)}"]
    parts += [shlex.join((option.flag, *option.values)) for option in parse_options(arguments, "the command")]
    return "\n".join([*lines, " \\\n  ".join(parts)]) + "\n"


def ssh_line(tcp: Tcp, user: str | None = None, machine: str | None = None) -> str:
    """The command that makes the port reachable on another machine, to be run there."""
    target = f"{user or _user()}@{machine or sockets.gethostname()}"
    host = f"[{tcp.host}]" if ":" in tcp.host else tcp.host
    return f"ssh -N -L {tcp.port}:{host}:{tcp.port} {target}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "USER"


def _address(socket: Path, tcp: Tcp | None) -> list[str]:
    if "," in str(socket):
        raise UsageError(
            f"{socket.parent} has a comma in its name, which is not allowed.", "Set R1TUI_HOME to another folder."
        )
    if tcp is None:
        return ["--host", str(socket)]
    return ["--host", f"{socket},{tcp.host}", "--port", str(tcp.port)]


def _ours(server: ServerSettings, sampling: SamplingSettings, tcp: Tcp | None) -> list[Option]:
    options = [Option("--verbosity", ("4",)), Option("--parallel", ("1",))]  # the log shows buffer sizes from 4 on
    if server.prio:
        options.append(Option("--prio", (str(server.prio),)))
    said = ((flag, getattr(sampling, key)) for key, flag in SAMPLING_FLAGS.items())
    options += [Option(flag, (str(value),)) for flag, value in said if value is not None]
    if tcp is not None:
        options += [Option("--no-ui"), Option("--cors-origins", ("localhost",))]
    return options


def _ours_needed(server: ServerSettings) -> list[Option]:
    options = []
    if server.devices is not None:
        options.append(Option("--device", (",".join(server.devices) or "none",)))
    if server.rpc:
        options.append(Option("--rpc", (",".join(server.rpc),)))
    if server.idle_unload is not None:
        options.append(Option("--sleep-idle-seconds", (str(server.idle_unload),)))
    return options


def _extra(arguments: Sequence[str], capabilities: Capabilities) -> list[Option]:
    options = parse_options(arguments, "extra_args")
    for option in options:
        refusal = _REFUSED.get(_FIRST_SPELLING.get(option.flag, option.flag))
        if refusal is not None:
            raise UsageError(f"extra_args: {option.flag} is not allowed.", *refusal)
        if _spelled(option, capabilities) is None:
            near = difflib.get_close_matches(option.flag, sorted(capabilities.flags), n=1, cutoff=0.0)
            raise UsageError(
                f"extra_args: this llama-server does not know {option.flag}.",
                f"The closest flag is {near[0]}." if near else "Remove it from `extra_args` in config.yaml.",
            )
    return options


def _spelled(option: Option, capabilities: Capabilities) -> list[str] | None:
    """The option in words that the binary knows, none where they say its default; None when it has none for it."""
    first = _FIRST_SPELLING.get(option.flag, option.flag)
    for flag in (option.flag, *_ALL_SPELLINGS.get(first, ())):
        if capabilities.accepts(flag):
            return [flag, *option.values]
    words = _LOAD_MODES.get((first, *option.values))
    return words if not words or capabilities.accepts(words[0]) else None


def _is_flag(word: str) -> bool:
    return re.match(r"--?[A-Za-z]", word) is not None
