"""The environment of the llama.cpp programs that we start: nothing in it changes what their arguments say.

What they read there (b11434, every `getenv` of its source): arguments (`LLAMA_ARG_*`), another port and other routes
(`AIP_*`, of a cloud's containers), what is fetched from where and by whom (`HF_*`, `MODEL_ENDPOINT`), switches of the
server (`LLAMA_*`), and how the hardware is used (`GGML_*`, `CUDA_*`, …), which is the user's to say.
"""

import os
import re
from collections.abc import Mapping

_SPEAKS_TO_LLAMA = ("LLAMA_", "LLAMACPP_", "AIP_", "HF_", "HUGGING_FACE_", "HUGGINGFACE_", "MODEL_ENDPOINT", "MTMD_")
_HARDWARE = ("CUDA_", "GGML_", "HIP_")
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "API_KEY", "APIKEY", "ACCESS_KEY", "CREDENTIAL")
_SECRET = re.compile("|".join(_SECRET_WORDS), re.IGNORECASE)
KEY_VARIABLE = "LLAMA_API_KEY"
"""What llama-server reads its key from, and r1tui that of a server of somebody else's."""
CONFIG_FOLDER = {"XDG_CONFIG_HOME": os.devnull}
"""llama.cpp takes arguments from `llama.cpp/config.ini` there too: a folder that cannot exist."""
CARD_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""CUDA numbers cards as the driver's tools do, unless the user wants it otherwise."""


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what llama.cpp would read as its own; the Hugging Face tokens are among that."""
    return {name: value for name, value in env.items() if not name.startswith(_SPEAKS_TO_LLAMA)}


def server_environment(env: Mapping[str, str], api_key: str | None = None) -> dict[str, str]:
    """The environment for a llama.cpp program that loads a model or listens: clean, and without anybody's secrets."""
    kept = {name: value for name, value in clean_environment(env).items() if not is_secret(name)} | CONFIG_FOLDER
    return CARD_ORDER | kept | ({KEY_VARIABLE: api_key} if api_key else {})


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds somebody's secret, as far as names tell."""
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
