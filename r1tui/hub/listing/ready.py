"""Checks before the hub is asked: the environment's variables and the token."""

import logging
import os
import re
from pathlib import Path

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError, UsageError
from r1tui.hub.listing.answers import UnreachableError
from r1tui.remedies import Run
from r1tui.system.environment import check_network, check_seconds, clean_secret, hub_endpoint
from r1tui.system.lazy import hub_constants, huggingface_hub

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_UTF_16 = re.compile(rb"\xff\xfe|\xfe\xff|[^\0]\0|\0[^\0]")
_LOG_IN_AGAIN = Run("hf auth login", "writes a new one; or set HF_TOKEN to the token")
MOST_BYTES = 1 << 16


def check_online(variant: Variant) -> None:
    """Raise UnreachableError when the user forbade the hub."""
    for name in _OFFLINE:
        if os.environ.get(name, "").lower() in ("1", "true", "yes", "on"):
            raise UnreachableError(
                f"{variant.name} is not on this machine, and {name} is set, so it cannot be downloaded.",
                f"Unset {name}, or use a GGUF file on this machine: --model FILE.",
            )


def ready_endpoint() -> str:
    """The address to ask the hub at. Call it before huggingface_hub is imported, which chokes on some variables.

    Raises UnreachableError, naming the variable or the file, for what no hub can be asked with.
    """
    # its warnings name signed URLs, and what failed is told by our errors
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        check_network()
        check_seconds()
        endpoint = hub_endpoint()
        _check_token()
    except UsageError as error:
        raise UnreachableError(error.cause, *error.remedies) from error
    return endpoint


def _check_token() -> None:
    """Raise R1tuiError for a token that no request can carry; huggingface_hub itself finds and sends it."""
    if hub_constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return
    name = next((name for name in _TOKENS if os.environ.get(name, "").strip()), "")
    file = Path(hub_constants.HF_TOKEN_PATH)
    try:
        if name:
            remedy = f"Set {name} to the token only, in plain characters: export {name}=hf_…, or unset it."
            clean_secret(os.environ[name], name, remedy)
        elif not os.environ.get("HF_OIDC_RESOURCE") and file.exists():
            _check_file(file)
        huggingface_hub.get_token()
    except OSError as error:
        raise UnreachableError(
            f"The token file {file} cannot be read: {error.strerror}.",
            "Make it readable for you (chown, chmod), or set HF_TOKEN.",
        ) from error
    except R1tuiError:
        raise
    except Exception as error:  # what huggingface_hub makes of HF_OIDC_RESOURCE, of other files beside the token
        raise UnreachableError(
            f"huggingface_hub found no token ({type(error).__name__}).",
            "Set HF_TOKEN to a token, or unset HF_OIDC_RESOURCE.",
            Run("hf auth login", "writes a token"),
        ) from error


def _check_file(file: Path) -> None:
    with file.open("rb") as opened:
        raw = opened.read(MOST_BYTES)
    if _UTF_16.match(raw):
        raise UsageError(f"The token file {file} is UTF-16, not plain text.", _LOG_IN_AGAIN)
    clean_secret(raw.decode("utf-8", "replace"), f"The token in {file}", _LOG_IN_AGAIN)
