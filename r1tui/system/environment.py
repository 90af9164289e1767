"""Variables: those that our programs and the network libraries read, checked; and what llama.cpp's programs get.

Nothing in a llama.cpp program's environment changes what its arguments say. What it reads there (b11434, every `getenv`
of its source): arguments (`LLAMA_ARG_*`), another port and other routes (`AIP_*`, of a cloud's containers), what is
fetched from where and by whom (`HF_*`, `MODEL_ENDPOINT`), switches of the server (`LLAMA_*`), and how the hardware is
used (`GGML_*`, `CUDA_*`, …), which is the user's to say. Errors never show a value, which may be a secret.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from r1tui.errors import UsageError
from r1tui.remedies import AnyRemedy
from r1tui.system.lazy import urllib_parse, urllib_request

_SPEAKS_TO_LLAMA = ("LLAMA_", "LLAMACPP_", "AIP_", "HF_", "HUGGING_FACE_", "HUGGINGFACE_", "MODEL_ENDPOINT", "MTMD_")
_HARDWARE = ("CUDA_", "GGML_", "HIP_")
_SECRET_WORDS = (
    "TOKEN", "SECRET", "PASSW", "PASSPHRASE", "API_KEY", "APIKEY", "ACCESS_KEY", "CREDENTIAL", "AUTHORIZATION",
)  # fmt: skip
_SECRET = re.compile("|".join(_SECRET_WORDS), re.IGNORECASE)
KEY_VARIABLE = "LLAMA_API_KEY"
"""The variable with llama-server's key, and for r1tui with the key of a server that is somebody else's."""
CONFIG_FOLDER = {"XDG_CONFIG_HOME": os.devnull}
"""llama.cpp takes arguments from `llama.cpp/config.ini` there too: a folder that cannot exist."""
CARD_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""CUDA numbers cards as the driver's tools do, unless the user wants it otherwise."""

HUB = "https://huggingface.co"
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
"""huggingface_hub reads them as whole numbers as soon as it is imported."""
_STRAIGHT = "\"'`"
_CURLY = "´‘’‚‛“”„‟«»‹›「」＂＇"
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]", re.ASCII)
_PORT = re.compile(r":\d{0,5}", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}")
_IN_WORDS = {
    "\0": "a NUL", "\n": "a line break", "\r": "a line break", " ": "a space", "\t": "a tab",
    "\ufeff": "a byte order mark", "\ufffd": "a byte that is not UTF-8",
}  # fmt: skip


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what llama.cpp would read as its own; the Hugging Face tokens are among that."""
    return {name: value for name, value in env.items() if not name.startswith(_SPEAKS_TO_LLAMA)}


def server_environment(env: Mapping[str, str], api_key: str | None = None) -> dict[str, str]:
    """The environment for a llama.cpp program that loads a model or listens: clean, and without anybody's secrets."""
    kept = {name: value for name, value in clean_environment(env).items() if not is_secret(name)} | CONFIG_FOLDER
    return CARD_ORDER | kept | ({KEY_VARIABLE: api_key} if api_key else {})


def is_secret(name: str) -> bool:
    """True for the name of a variable that holds a secret, as far as names tell."""
    return _SECRET.search(name) is not None and not name.startswith(_HARDWARE)


def shell_lines() -> list[str]:
    """`server_environment` without a key, as lines of a POSIX shell script."""
    either = {case for word in _SECRET_WORDS for case in (word, word.lower())}
    return [
        "for name in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do",
        '  case "$name" in',
        f'    {_any_of(_SPEAKS_TO_LLAMA)}) unset "$name" ;;',
        f"    {_any_of(_HARDWARE)}) ;;",
        f'    {"|".join(f"*{word}*" for word in sorted(either))}) unset "$name" ;;',
        "  esac",
        "done",
        *(f"export {name}={value}" for name, value in CONFIG_FOLDER.items()),
        *(f'export {name}="${{{name}-{value}}}"' for name, value in CARD_ORDER.items()),
    ]


def _any_of(beginnings: tuple[str, ...]) -> str:
    return "|".join(f"{beginning}*" for beginning in beginnings)


def check_network() -> None:
    """Raise UsageError for what keeps every connection from being made: proxies, and where certificates are."""
    check_proxies()
    for name, is_right, what in (("SSL_CERT_FILE", Path.is_file, "file"), ("SSL_CERT_DIR", Path.is_dir, "folder")):
        if (given := os.environ.get(name)) and not is_right(Path(given)):
            remedy = f"Set it to a {what} of certificates, or unset it."
            raise UsageError(f"{name} points to a {what} that does not exist.", remedy)
    if (given := os.environ.get("SSLKEYLOGFILE")) and not _is_writable(Path(given)):
        raise UsageError(
            "SSLKEYLOGFILE points to a file that cannot be written.", "Set it to another file, or unset it."
        )


def _is_writable(path: Path) -> bool:
    """True if the file can be written, or made where there is none."""
    return os.access(path if os.access(path, os.F_OK) else path.parent, os.W_OK)


def check_proxies() -> None:
    """Raise UsageError for a proxy that is mistyped, unless NO_PROXY says that none is used."""
    used = urllib_request.getproxies_environment()
    if "*" in (one.strip() for one in used.get("no", "").split(",")):
        return
    for scheme in ("http", "https", "all"):
        if (value := used.get(scheme)) and (fault := _address_fault(value, PROXY_SCHEMES, may_lack_scheme=True)):
            remedy = "Write it as http://HOST:PORT or socks5h://HOST:PORT, or unset it."
            raise UsageError(f"{_variable(scheme, value)} {fault}.", remedy)


def proxy_variable(url: str) -> str:
    """The variable that sets the proxy for this address; empty without one."""
    parts, used = urllib_parse.urlsplit(url), urllib_request.getproxies_environment()
    if urllib_request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    kind = next((kind for kind in (parts.scheme, "all") if used.get(kind)), "")
    return _variable(kind, used[kind]) if kind else ""


def proxy_login(url: str) -> tuple[str, str]:
    """The variable of the proxy for this address, and the remedy where the proxy asks for a name and password."""
    name = proxy_variable(url) or "HTTP_PROXY"
    return name, f"Write them into {name}: http://NAME:PASSWORD@HOST:PORT."


def hub_endpoint() -> str:
    """The address of the hub, or of the mirror that HF_ENDPOINT names; no slash at its end. Raises UsageError."""
    given = os.environ.get("HF_ENDPOINT", "").strip()
    if not given:
        return HUB
    fault = _address_fault(given, ("https", "http"), may_lack_scheme=False)
    if fault := fault or ("has a ? or # in it" if re.search("[?#]", given) else ""):
        raise UsageError(f"HF_ENDPOINT {fault}.", "Write it as https://HOST, or unset it to use huggingface.co.")
    return given.rstrip("/")


def check_seconds() -> None:
    """Raise UsageError for a time limit of huggingface_hub's that is no whole number."""
    for name in SECONDS:
        if (given := os.environ.get(name)) is not None and not re.fullmatch(r"\s*\d{1,9}\s*", given, re.ASCII):
            raise UsageError(f"{name} is not a whole number of seconds.", f"Write it as {name}=10, or unset it.")


def clean_secret(value: str, where: str, remedy: str | AnyRemedy) -> str:
    """A key or token without the space around it. Raises UsageError with `where` and `remedy` for an invalid one."""
    value = value.strip()
    quoted = value[:1] in _STRAIGHT and value[:1] == value[-1:] and len(value) > 1
    if quoted or value[:1] in (*_CURLY,) or value[-1:] in (*_CURLY,):
        raise UsageError(f"{where} is in quotes.", remedy)
    if fault := _no_character(value):
        raise UsageError(f"{where} {fault}.", remedy)
    return value


def _variable(scheme: str, value: str) -> str:
    names = (name for name, given in os.environ.items() if given == value and name.lower() == f"{scheme}_proxy")
    return max(names, default=f"{scheme}_proxy", key=str.islower)  # small letters win


def _address_fault(value: str, schemes: Sequence[str], *, may_lack_scheme: bool) -> str:
    """The mistake in an address, as a sentence goes on after its name; empty without one."""
    if value[0] in _STRAIGHT + _CURLY or value[-1] in _STRAIGHT + _CURLY:
        return "is in quotes"
    if fault := _no_character(value):
        return fault
    scheme, separator, rest = value.partition("://")
    if not separator:
        rest = value
        if not may_lack_scheme or value.rstrip("/").count("/") > value.rpartition("@")[0].count("/"):
            return f"has no {schemes[0]}:// in front"
    elif scheme.lower() not in schemes:
        return "has an unsupported scheme" + (f": {scheme}" if _SCHEME.fullmatch(scheme) else "")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if "@" in rest and "@" not in authority:
        return "has a /, ? or # in its name or password; write %2F, %3F or %23"
    address = authority.rpartition("@")[2]
    host, tail = re.fullmatch(r"(\[[^]]*\]|[^:]*)(.*)", address).groups()  # type: ignore[union-attr]
    if not host:
        return "has no host"
    if not _HOST.fullmatch(host):
        return "has an invalid host name"
    is_port = _PORT.fullmatch(tail) and 0 < int(tail[1:] or "1") < 1 << 16
    return "has an invalid port (1 to 65535)" if tail and not is_port else ""


def _no_character(value: str) -> str:
    """The first character that neither an address nor a header can carry, in words."""
    at, one = next(((at, one) for at, one in enumerate(value) if not "!" <= one <= "~"), (0, ""))
    if not one:
        return ""
    if one in _IN_WORDS:
        what = _IN_WORDS[one]
    elif one in _CURLY:
        what = "a curly quote"
    else:
        what = "a control character" if one < " " or one == "\x7f" else "a character that is not ASCII"
    return f"has {what} in it (character {at + 1})"
