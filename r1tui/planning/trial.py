"""A model with all that its plan needs but its settings, which are tried one after the other."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from r1tui.catalog.variants import Variant
from r1tui.config import LEAST_CONTEXT, Config
from r1tui.engine.find import Engine
from r1tui.engine.make import engine_to_ask
from r1tui.errors import R1tuiError
from r1tui.gguf.kv import is_exact
from r1tui.machine.hardware import usable_logical_cpus
from r1tui.messages import Status
from r1tui.plan import Plan, PlanRequest, make_plan
from r1tui.plan.cache import needs_one_type
from r1tui.planning.corrected import plan_here
from r1tui.planning.held import HeldMemory
from r1tui.planning.history import find_history_of
from r1tui.planning.kept import AUTO, ModelSettings
from r1tui.planning.overrides import for_variant
from r1tui.planning.request import request_here
from r1tui.planning.sketched import plan_sketched, sketch_subject
from r1tui.planning.subject import Subject, find_subject
from r1tui.remedies import FetchModel
from r1tui.system.paths import Paths

LARGEST_CONTEXT = 1 << 24


class Limits(NamedTuple):
    """The values that a setting may have."""

    low: int
    high: int


@dataclass(frozen=True)
class Trial:
    """Plans for one model on this machine as it was when this began."""

    variant: Variant
    subject: Subject
    request: PlanRequest
    config: Config
    paths: Paths
    engine: Engine | None = None
    held: HeldMemory | None = None

    @classmethod
    def begin(cls, variant: Variant, config: Config, paths: Paths, server: Status) -> "Trial":
        """Look at the machine and at the model; what the `server` holds counts as free. Raises R1tuiError."""
        engine, held = engine_to_ask(config.engine, paths), HeldMemory.by(server)
        subject = find_subject(variant, paths, config) or sketch_subject(variant, paths)
        if subject is None:
            raise R1tuiError(f"The size of {variant.name} is unknown.", FetchModel(variant.name))
        history = find_history_of(paths, subject.file, engine.server) if engine and subject.file.exists() else None
        request = replace(request_here(config, paths, engine, held), history=history)
        return cls(variant, subject, request, config, paths, engine, held)

    @cached_property
    def limits(self) -> dict[str, Limits]:
        """The values that each setting in numbers may have; none where it would change nothing."""
        header, limits = self.subject.header, {}
        limits["ctx_size"] = Limits(LEAST_CONTEXT, header.n_ctx_train or LARGEST_CONTEXT)
        if self.request.devices:
            limits["n_gpu_layers"] = Limits(0, header.n_layers + 1)
            if header.n_experts:
                limits["n_cpu_moe"] = Limits(0, header.n_layers)
        limits["threads"] = Limits(1, usable_logical_cpus())
        return limits

    @property
    def has_one_cache_type(self) -> bool:
        """True if V has the type of K."""
        return needs_one_type(self.subject.header)

    @property
    def asks_engine(self) -> bool:
        """True if the engine can say more than the formulas."""
        known = self.request.devices or not is_exact(self.subject.header)
        return self.engine is not None and self.subject.file.exists() and bool(known)

    def by_formulas(self, settings: ModelSettings) -> Plan:
        """The plan with these settings; quick."""
        if self.subject.file.exists():
            return make_plan(self.subject.header, self._wanted(settings))
        return plan_sketched(self.subject.header, self.variant, self._wanted(settings))

    def by_engine(self, settings: ModelSettings) -> Plan:
        """The plan with these settings by the engine's own figures, which takes seconds. Raises R1tuiError."""
        assert self.engine is not None  # noqa: S101  asks_engine
        rpc = self.config.server.rpc
        return plan_here(self.subject, self._wanted(settings), self.engine, self.paths, rpc, held=self.held)

    def _wanted(self, settings: ModelSettings) -> PlanRequest:
        return for_variant(self.request, self.config, self.variant, AUTO, settings)
