"""A model whose header is not here, planned for by its published dimensions and its size."""

from dataclasses import replace

from r1tui.catalog.variants import Variant
from r1tui.gguf import Header
from r1tui.gguf.sketch import ModelShape, sketch_header
from r1tui.hub.listing.remote import known_files
from r1tui.hub.local.records import own_folder
from r1tui.messages import NO_SPEED
from r1tui.plan import Plan, PlanRequest, make_plan
from r1tui.planning.subject import Subject
from r1tui.system.paths import Paths

USUAL_BITS, USUAL_LAYERS = 4.8, 48


def sketch_of(variant: Variant, paths: Paths) -> Header | None:
    """Estimate the model's header from its size on the hub or in the catalog; None: no size."""
    known = known_files(variant, paths)
    size_gib = known.listing.size_bytes / 2**30 if known else variant.size_gib
    if size_gib is None:
        return None
    parameters = size_gib * 2**30 * 8 / (variant.bits or USUAL_BITS) / 1e9
    shape = variant.shape or ModelShape(USUAL_LAYERS, parameters)
    return sketch_header(variant.name, shape, int(size_gib * 2**30))


def sketch_subject(variant: Variant, paths: Paths) -> Subject | None:
    """The model as its sketch, to plan for and nothing else: there is no file; None: no size."""
    header = sketch_of(variant, paths)
    if header is None:
        return None
    model = own_folder(variant, paths) / header.path.name
    return Subject(header, model, model, on_disk=False)


def plan_sketched(header: Header, variant: Variant, request: PlanRequest) -> Plan:
    """The plan for a sketch; without published dimensions nobody knows how much of it a token reads, nor its speed."""
    made = make_plan(header, request)
    if variant.shape is not None:
        return made
    reasons = tuple(reason for reason in made.reasons if "tokens/s" not in reason and "first token" not in reason)
    unknown = "The speed is unknown: the model's header is not on this machine."
    return replace(made, speed=NO_SPEED, ttft_s={}, reasons=(*reasons, unknown))
