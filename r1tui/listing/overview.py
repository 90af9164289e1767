"""The list of models as one chooses from it: size, place on disk, quality, verdict for this machine."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from r1tui.catalog.variants import Catalog, Variant
from r1tui.config import Config
from r1tui.engine.architectures import UnknownArchitectureError, check_architecture
from r1tui.engine.find import Engine
from r1tui.engine.make import engine_to_ask
from r1tui.errors import R1tuiError
from r1tui.hub.download.staging import check_room, progress_of, running_downloads
from r1tui.hub.listing.remote import known_files
from r1tui.hub.local.folders import ModelDisk, NoRoomError, model_disks
from r1tui.hub.local.found import ModelSearch, other_models
from r1tui.hub.local.places import OWNERS, Owner
from r1tui.messages import NO_SPEED
from r1tui.plan import Plan, PlanRequest, Verdict, make_plan, verdict_by_size
from r1tui.plan.history import run_of_plan
from r1tui.plan.verdict import IN_MEMORY
from r1tui.planning.held import HeldMemory
from r1tui.planning.history import find_history_of
from r1tui.planning.kept import find_kept
from r1tui.planning.overrides import for_variant
from r1tui.planning.request import request_here
from r1tui.planning.sketched import sketch_of
from r1tui.planning.subject import find_subject
from r1tui.supervisor import client as supervisor
from r1tui.system.paths import Paths
from r1tui.text import percent, rough, size

_ELSEWHERE: dict[Owner, str] = {
    "huggingface": "HF cache",
    "llama.cpp": "llama.cpp",
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
}
"""Place of a model outside the folders of r1tui and the user."""


Group = Literal["here", "well", "rest"]
BEARABLE_TPS = 3.0
"""Answer tokens per second from which on a model runs well."""


class MemoryNeeds(NamedTuple):
    """Memory of a model on this machine: weights, cache and buffers."""

    vram_mib: float
    vram_total_mib: float
    ram_mib: float
    ram_total_mib: float
    disk_mib: float = 0.0
    """Weights that RAM has no room for."""


@dataclass(frozen=True)
class ModelEntry:
    """One model. The verdict is of its plan (`exact`), else of its sketch, else from its size; None: unknown."""

    variant: Variant
    path: Path | None
    size_gib: float | None
    verdict: Verdict | None
    problem: str = ""
    """Reason why the file on disk cannot be used."""
    plan: Plan | None = None
    sketch: Plan | None = None
    """By the model's published dimensions, where its header is not here."""
    owner: Owner | None = None
    """Owner of its folder."""
    progress: float | None = None
    """The share that is here of a model that is not all here."""
    downloading: bool = False
    """True if it is being fetched now."""
    needs_by_size: MemoryNeeds | None = None
    """What its weights alone would take."""
    listed_age_s: float | None = None
    """Age of the hub's size in seconds; None: the size is from the catalog, or the file's own."""
    no_room: NoRoomError | None = None
    """Why it, or the rest of it, cannot be fetched: no disk has room."""
    measured_tps: float | None = None
    """Answer tokens per second that were measured with exactly this plan."""

    @property
    def exact(self) -> bool:
        """True if the verdict rests on the file's own header."""
        return self.plan is not None

    @property
    def size(self) -> str:
        """Its size in words; empty where that is unknown."""
        return size(self.size_gib * 2**30) if self.size_gib is not None else ""

    @property
    def here(self) -> str:
        """Place or progress: `on disk`, `Ollama`, `34 %`."""
        if self.path is not None:
            return _ELSEWHERE.get(self.owner, "on disk") if self.owner else "on disk"
        return percent(self.progress) if self.progress is not None else ""

    @property
    def layers(self) -> str:
        """The part on the GPUs, in a few words; empty without GPUs, or before the header is known."""
        return self.plan.summary().placement if self.plan and self.plan.devices else ""

    @property
    def gpu_mib(self) -> int | None:
        """Memory that it takes on all GPUs."""
        return self.plan.on_devices_mib if self.plan else None

    @property
    def host_mib(self) -> int | None:
        """Memory that it takes on the host, the weights that the kernel may drop included."""
        return self.plan.host.planned_mib if self.plan else None

    @property
    def speed(self) -> str:
        """Answer tokens per second, measured or (~) to expect; empty for what cannot start or has no dimensions."""
        if self.measured_tps is not None:
            return rough(self.measured_tps, self.measured_tps)
        planned = self.plan or self.sketch
        if planned is None or not planned.can_start:
            return ""
        return f"~ {rough(*planned.speed.answer)}" if any(planned.speed.answer) else "unknown"

    @property
    def needs(self) -> MemoryNeeds | None:
        """VRAM and RAM it needs, by its plan, else by its size; None if neither is known."""
        planned = self.plan or self.sketch
        if planned is None:
            return self.needs_by_size
        vram_total_mib = sum(one.total_mib for one in planned.devices)
        host = planned.in_ram_mib, planned.host.total_mib
        return MemoryNeeds(planned.on_devices_mib, vram_total_mib, *host, planned.disk_mib)

    @property
    def group(self) -> Group:
        """Its group in the list: `here`, or downloadable and running `well`, or the `rest`."""
        if self.path is not None:
            return "here"
        planned = self.plan or self.sketch
        is_slow = planned is not None and 0 < planned.speed.answer.high < BEARABLE_TPS
        usable = self.verdict in IN_MEMORY and not self.problem and self.no_room is None
        return "well" if usable and not is_slow else "rest"

    def to_json(self) -> dict[str, Any]:
        """An element of `r1tui variants --json`."""
        planned = self.plan or self.sketch
        tps = planned.summary().tps.answer if planned and planned.can_start else NO_SPEED.answer
        return {
            "name": self.variant.name,
            "title": self.variant.title,
            "size_gib": round(self.size_gib, 2) if self.size_gib is not None else None,
            "on_disk": self.path is not None,
            "path": str(self.path) if self.path else None,
            "verdict": self.verdict,
            "exact": self.exact,
            "problem": self.problem,
            "bits": self.variant.bits,
            "quality": self.variant.quality,
            "owner": self.owner,
            "progress": round(self.progress, 4) if self.progress is not None else None,
            "listed_age_s": round(self.listed_age_s) if self.listed_age_s is not None else None,
            "n_gpu_layers": self.plan.n_gpu_layers if self.plan else None,
            "n_cpu_moe": self.plan.n_cpu_moe if self.plan else None,
            "gpu_mib": self.gpu_mib,
            "host_mib": self.host_mib,
            "tps": tps if any(tps) else None,
            "measured_tps": round(self.measured_tps, 2) if self.measured_tps is not None else None,
            "disk_lacking_bytes": self.no_room.lacking_bytes if self.no_room else 0,
        }


def overview(
    catalog: Catalog, config: Config, paths: Paths, glanced: Callable[[list[ModelEntry]], None] = lambda _: None
) -> Iterator[ModelEntry]:
    """Every model of the catalog, looked at one by one. Reads headers, no weights; asks no network.

    What our own running server holds counts as free. `glanced` gets all entries by names and sizes first.
    """
    engine = engine_to_ask(config.engine, paths)
    request = request_here(config, paths, engine, HeldMemory.by(supervisor.status(paths)))
    search, disks, coming = ModelSearch(paths, config), model_disks(paths, config), running_downloads(paths)

    def with_disk(entry: ModelEntry) -> ModelEntry:
        no_room = _find_no_room(entry, disks, paths)
        return replace(entry, no_room=no_room, downloading=entry.variant.name in coming)

    glances = [with_disk(_glance(variant, request, search)) for variant in catalog]
    glanced(glances)
    for glance in glances:
        entry = _look(glance, request, engine, search)
        yield entry if entry.size_gib == glance.size_gib else with_disk(entry)  # the disk was asked about that size


def _find_no_room(entry: ModelEntry, disks: list[ModelDisk], paths: Paths) -> NoRoomError | None:
    if entry.path is None and entry.variant.repo is not None and entry.size_gib is not None:
        try:
            check_room(entry.variant, entry.size_gib * 2**30, disks, paths)
        except NoRoomError as error:
            return error
    return None


def _needs_by_size(size_gib: float, request: PlanRequest) -> MemoryNeeds:
    apart = [device for device in request.devices if not device.unified]
    vram_mib = min(size_gib * 1024, sum(max(device.usable_mib, 0) for device in apart))
    vram_total_mib = sum(device.total_mib for device in apart)
    rest_mib = size_gib * 1024 - vram_mib
    ram_mib = min(rest_mib, max(request.host_usable_mib, 0.0))
    return MemoryNeeds(vram_mib, vram_total_mib, ram_mib, request.host_total_mib, rest_mib - ram_mib)


def other_variants(known: Mapping[str, Path | None], config: Config, paths: Paths) -> Catalog:
    """The models on this machine beside the `known` ones, by name, as variants by their files."""
    taken = {name.casefold() for name in known}
    found: dict[str, Variant] = {}
    for other in other_models(paths, config, list(filter(None, known.values()))):
        short = " ".join(other.name.split())
        name = short if short.casefold() not in taken else str(other.path)
        taken.add(name.casefold())
        found[name] = Variant(name, f"{short}, in {OWNERS[other.owner]}", file=other.path)
    return Catalog(found)


def models_here(catalog: Catalog, config: Config, paths: Paths) -> list[Variant]:
    """The models on this machine, in the list's order: those of the catalog, then others."""
    search = ModelSearch(paths, config)
    known = {one.name: found.path if (found := search.find(one)) else None for one in catalog}
    return [*(one for one in catalog if known[one.name] is not None), *other_variants(known, config, paths)]


def _glance(variant: Variant, request: PlanRequest, search: ModelSearch) -> ModelEntry:
    """The entry by the model's size and its place on disk."""
    paths, config = search.paths, search.config
    found, known = search.find(variant), known_files(variant, paths)
    size_gib = known.listing.size_bytes / 2**30 if known else variant.size_gib
    return ModelEntry(
        variant,
        found.path if found else None,
        size_gib,
        verdict_by_size(size_gib, request) if size_gib is not None else None,
        problem="" if found else search.rejected.get(variant.name, ""),
        owner=found.owner if found else None,
        needs_by_size=_needs_by_size(size_gib, request) if size_gib is not None else None,
        progress=progress_of(variant, paths, config) if found is None else None,
        listed_age_s=known.age_s if known else None,
    )


def _look(entry: ModelEntry, request: PlanRequest, engine: Engine | None, search: ModelSearch) -> ModelEntry:
    """The entry with the plan by the model's header."""
    variant, paths, config = entry.variant, search.paths, search.config
    kept = find_kept(variant, config, paths)
    try:
        check = partial(check_architecture, engine=engine, settings=config.engine)
        subject = find_subject(variant, paths, config, check_architecture=check, search=search)
        if subject is None:
            sketch = sketch_of(variant, paths) if variant.shape else None
            planned = make_plan(sketch, for_variant(request, config, variant, kept)) if sketch else None
            return replace(entry, sketch=planned, verdict=planned.verdict if planned else entry.verdict)
        check(subject.header.architecture)
        history = find_history_of(paths, subject.file, engine.server) if engine else None
    except UnknownArchitectureError as error:
        return replace(entry, problem=error.cause, verdict="no")
    except R1tuiError as error:
        return replace(entry, problem=error.cause)
    plan = make_plan(subject.header, replace(for_variant(request, config, variant, kept), history=history))
    run = history.run_of(run_of_plan(plan.summary(), plan.arguments()).layout) if history else None
    measured_tps = median(run.answer_tps) if run and run.answer_tps else None
    size_gib = subject.header.size_bytes / 2**30
    return replace(entry, size_gib=size_gib, verdict=plan.verdict, plan=plan, measured_tps=measured_tps)
