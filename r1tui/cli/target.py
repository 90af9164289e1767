"""The model that a command means, and the check that the running server has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from r1tui.cli.context import Context
from r1tui.errors import R1tuiError, UsageError
from r1tui.remedies import ListModels, StopServer
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import expand

if TYPE_CHECKING:
    from r1tui.catalog.variants import Variant
    from r1tui.messages import Status


def attached_endpoint(attach: str | None, model_name: str | None) -> Endpoint | None:
    """The server that `--attach` names, None without it. Raises UsageError."""
    if attach is None and model_name is not None:
        raise UsageError("--model-name was given without --attach.", "For one of r1tui's models use --variant.")
    return Endpoint.parse(attach) if attach is not None else None


def wanted_variant(context: Context, variant: str | None, model: str | None) -> Variant | None:
    """The variant or file that was named, else the config's; None when neither names one. Raises UsageError."""
    if variant and model:
        raise UsageError("Both a variant and --model were given.", "Give one of them.")
    name = str(expand(model)) if model else variant or context.config.variant
    if name is None:
        return None
    if model and not Path(name).is_file():
        raise UsageError(f"{name}: no such file.", "Give a GGUF file (the first one, if the model is split).")
    from r1tui.catalog.variants import load_catalog  # noqa: PLC0415  the screen opens without it

    return load_catalog(context.config).find(name)


def needed_variant(context: Context, variant: str | None, model: str | None) -> Variant:
    """The same as `wanted_variant`, for commands that need one."""
    found = wanted_variant(context, variant, model)
    if found is None:
        raise UsageError("No variant was given.", ListModels(), "`variant:` in the config sets one.")
    return found


def serves(status: Status, variant: Variant, context: Context) -> bool:
    """True when the running server has this variant's model."""
    if status.variant == variant.name and variant.file is None:  # files in two folders may have one name
        return True
    from r1tui.hub.local.found import find_model  # noqa: PLC0415  the screen opens without it

    model = find_model(variant, context.paths, context.config)
    return model is not None and status.model is not None and model.resolve() == Path(status.model).resolve()


def check_same_model(status: Status, variant: Variant | None, context: Context) -> None:
    """Raise R1tuiError when another model than the wanted one runs."""
    if status.stray:
        raise R1tuiError(status.cause or "", *status.remedies)
    if variant is not None and not serves(status, variant, context):
        raise R1tuiError(
            f"The server runs {status.variant or status.model or 'an unknown model'}, not {variant.name}.",
            StopServer(),
        )
