"""`r1tui build`: the engine."""

import click
import msgspec

from r1tui.cli.context import WORDS, Context, json_option, pass_context, print_text
from r1tui.cli.stages import Printer, reporting
from r1tui.engine.make import build_engine


@click.command()
@click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda", "hip", "vulkan", "metal"]),
    help="Device to build for; auto: what this machine has.",
)
@click.option("--source", metavar="auto|git|pypi|PATH", help="Source of llama.cpp; PATH may be a llama-server.")
@click.option("--ref", type=WORDS, metavar="REF", help="The llama.cpp release, such as b11434.")
@click.option(
    "--cuda-toolkit",
    metavar="auto|pypi|PATH",
    help="The CUDA compiler; pypi: NVIDIA's own wheels (driver 580+).",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the build's log too.")
@json_option
@pass_context
def build(
    context: Context,
    /,
    *,
    verbose: bool,
    as_json: bool,
    **asked: str | None,
) -> None:
    """Build llama.cpp's llama-server for this machine, and print the binary's path.

    An interrupted build continues where it stopped; an existing one is used as it is.
    """
    changes = {key: value for key, value in asked.items() if value is not None}
    settings = msgspec.structs.replace(context.config.engine, **changes)
    with reporting("engine", Printer(as_json=as_json, verbose=verbose)) as emit:
        engine = build_engine(settings, context.paths, emit)
    if not as_json:
        print_text(str(engine.server))
