"""From a variant to a running server: engine and model side by side, then the plan, then the server, as events."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from r1tui.catalog.variants import Variant
from r1tui.config import Config
from r1tui.engine.architectures import check_architecture
from r1tui.engine.find import Engine, find_engine
from r1tui.errors import R1tuiError
from r1tui.events import LogLine, Notice, Stage, StageDone, StageEvent, StageFailed, StageStarted
from r1tui.gguf.header import shard_paths
from r1tui.hub.download.part import in_thread
from r1tui.hub.download.staging import check_room_for, download_job
from r1tui.hub.local.found import find_model
from r1tui.launch.loading import StatusChanges, follow_server, outcome
from r1tui.machine.bandwidth import load_bandwidth, measure
from r1tui.machine.hardware import detect_machine
from r1tui.machine.nvml import read_nvidia
from r1tui.machine.visible import visible_gpus
from r1tui.messages import FallbackPlan, ProcessId, ServerSpec, Status
from r1tui.plan import Plan
from r1tui.plan.fallbacks import fallback_plans, format_difference
from r1tui.planning.command import server_argv
from r1tui.planning.corrected import plan_here
from r1tui.planning.held import HeldMemory
from r1tui.planning.history import remember_load
from r1tui.planning.kept import find_kept
from r1tui.planning.overrides import for_variant
from r1tui.planning.request import request_here
from r1tui.planning.subject import subject_of
from r1tui.remedies import ListModels, ShowPlan
from r1tui.server.command import Tcp, parse_tcp, with_free_port
from r1tui.server.diagnosis import left_on_cpu
from r1tui.supervisor import client as supervisor
from r1tui.system.jobs import Job, r1tui_command
from r1tui.system.logs import as_user_error
from r1tui.system.paths import Paths, private_folder

T = TypeVar("T")
Queue = asyncio.Queue[StageEvent | None]
MEASURED_FROM_BYTES = 8 << 30
"""Smaller models are fast enough for nobody to ask."""
RESTART_DELAYS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""The waits before a crashed server is started again; a steady time afterwards forgets them."""
LOG_HEAD_CHARS = 1 << 18


@dataclass(frozen=True)
class Prepared:
    variant: Variant
    engine: Engine
    model: Path
    plan: Plan
    argv: list[str]
    tcp: Tcp | None
    smaller: list[FallbackPlan]
    """Plans to try when memory runs out."""


class Launch:
    """One way from a variant to a server. Every failure is a StageFailed event, the last one; nothing is raised."""

    def __init__(
        self,
        variant: Variant,
        config: Config,
        paths: Paths,
        *,
        config_file: str | None = None,
        tcp: str | None = None,
        owner: ProcessId | None = None,
        changes: StatusChanges | None = None,
    ) -> None:
        self.variant = variant
        self.prepared: Prepared | None = None
        self.started = False
        """True if this launch has started the server that runs."""
        self.status: Status | None = None
        self.leave_download = False
        """True if a download that it has begun goes on when it is cancelled."""
        self._config = config
        self._paths = paths
        self._config_file = config_file
        self._tcp = tcp or config.server.tcp
        self._owner = owner
        self._changes = changes

    async def prepare(self) -> AsyncGenerator[StageEvent, None]:
        """Engine, model and plan; `prepared` is there unless the last event is a StageFailed."""
        try:  # before an engine is built for a model that has no room
            await asyncio.to_thread(check_room_for, self.variant, self._paths, self._config)
        except Exception as error:
            yield StageFailed.of("model", as_user_error(error, "The launch"))
            return
        config, paths, name = self._config, self._paths, self.variant.name
        queue: Queue = asyncio.Queue()
        build, fetch = Job(paths.jobs, "engine"), download_job(self.variant, paths)
        building = self._obtain("engine", build, ["build"], lambda: find_engine(config.engine, paths), queue)
        fetching = self._obtain(
            "model", fetch, ["download", name], lambda: find_model(self.variant, paths, config), queue
        )
        finding = asyncio.create_task(building), asyncio.create_task(fetching)
        async with aclosing(events_of(queue, *finding)) as events:
            async for event in events:
                yield event
                if isinstance(event, StageFailed):
                    return
        engine, model = await finding[0], await finding[1]
        if engine is None or model is None:
            return
        yield StageStarted("plan", "Memory plan")
        try:
            if await asyncio.to_thread(self._speed_matters, model):
                yield LogLine("plan", "Measuring the speed of memory, bus and disk once (about 10 s).")
                await asyncio.to_thread(measure, self._paths, model, engine.tool("llama-bench"))
            self.prepared = await asyncio.to_thread(self._plan, engine, model)
        except Exception as error:
            yield StageFailed.of("plan", as_user_error(error, "The launch"))
            return
        yield StageDone("plan", self.prepared.plan.verdict, " ".join(self.prepared.plan.reasons))

    async def start(self) -> AsyncGenerator[StageEvent, None]:
        """Start the prepared server under a supervisor and wait, without a limit, until it is ready or has failed."""
        yield StageStarted("server", f"llama-server with {self.variant.name}")
        try:
            spec = self.spec()
            try:
                await self._start_supervisor(spec)
            except R1tuiError:  # another r1tui may have been faster and started the same model
                now = await asyncio.to_thread(supervisor.status, self._paths)
                if not now.running or now.model != spec.model:
                    raise
            stuck_s = self._config.server.stuck_s
            following = follow_server(self._paths, stuck_s, self._note, changes=self._changes)
            async with aclosing(following) as events:
                async for event in events:
                    yield event
        except Exception as error:
            yield StageFailed.of("server", as_user_error(error, "The launch"))
            return
        await asyncio.to_thread(self._learn)
        if (notice := await asyncio.to_thread(self._cpu_instead)) is not None:
            yield notice
        yield outcome(self.status)

    def _learn(self) -> None:
        status = self.status
        if status is not None and status.log and status.state in ("ready", "sleeping"):
            with suppress(OSError):
                remember_load(self._paths, status, Path(status.log).read_text("utf-8", "replace").splitlines())

    async def run(self) -> AsyncGenerator[StageEvent, None]:
        for stages in (self.prepare, self.start):
            async with aclosing(stages()) as events:
                async for event in events:
                    yield event
            if self.prepared is None:
                return

    def spec(self) -> ServerSpec:
        prepared = self.prepared
        assert prepared is not None  # noqa: S101  prepare() comes first
        return ServerSpec(
            variant=prepared.variant.name,
            fetched_as=prepared.variant.fetched_as,
            model=str(prepared.model),
            argv=prepared.argv,
            socket=str(self._paths.server_socket),
            tcp=str(prepared.tcp) if prepared.tcp else None,
            plan=prepared.plan.summary(prepared.variant.name, str(prepared.model), prepared.argv),
            key_file=str(self._paths.api_key) if prepared.tcp else None,
            log_max_mib=self._config.server.log_max_mib,
            owner=self._owner,
            restart_delays_s=list(RESTART_DELAYS_S) if self._config.server.restart and not self._owner else [],
            smaller=prepared.smaller,
            sleeps=self._config.server.idle_unload is not None,
            silence_s=self._config.server.silence_s,
        )

    def _note(self, status: Status) -> None:
        self.status = status

    async def _start_supervisor(self, spec: ServerSpec) -> None:
        """Start it; when cancelled meanwhile, know all the same whether it has started."""
        starting = asyncio.ensure_future(asyncio.to_thread(supervisor.start, spec, self._paths))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            raise
        finally:
            self.started = starting.done() and starting.exception() is None

    def _cpu_instead(self) -> Notice | None:
        """Said when a server that was to use a GPU came up without one."""
        with suppress(OSError), self._paths.server_log.open(encoding="utf-8", errors="replace") as log:
            why = left_on_cpu(log.read(LOG_HEAD_CHARS).splitlines())
            if why is not None and self._wants_gpu():
                return Notice.of("server", f"llama-server runs on the CPU only. {why.cause}", *why.remedies)
        return None

    def _wants_gpu(self) -> bool:
        """True if the plan uses a GPU, or has none only because the engine could not see those that are here."""
        if self.prepared is None:
            return False
        if self.prepared.plan.devices:
            return self.prepared.plan.n_gpu_layers != 0
        allowed = self._config.server.devices is None and self._config.plan.n_gpu_layers != 0
        return allowed and bool(visible_gpus(read_nvidia().gpus, os.environ))

    async def _obtain(
        self, stage: Stage, job: Job, command: list[str], find: Callable[[], T | None], queue: Queue
    ) -> T | None:
        """The result of `find`; until there is one, a detached job is followed. None: that failed."""
        try:
            while (found := await asyncio.to_thread(find)) is None:
                if (failed := await self._follow(job, stage, command, queue)) is not None:
                    queue.put_nowait(failed)
                    return None
        except Exception as error:
            queue.put_nowait(StageFailed.of(stage, as_user_error(error, "The launch")))
            return None
        queue.put_nowait(StageDone(stage, str(found.server if isinstance(found, Engine) else found)))
        return found

    async def _follow(self, job: Job, stage: Stage, command: list[str], queue: Queue) -> StageFailed | None:
        """Follow a job, which may be another r1tui's; one of ours is stopped when nobody follows it any more."""
        _, ours = await asyncio.to_thread(job.start, r1tui_command([*command, "--json"], self._config_file))
        done = False
        last_line = ""
        try:
            async with aclosing(job.events(stage)) as events:
                async for event in events:
                    match event:
                        case str():
                            last_line = event
                            queue.put_nowait(LogLine(stage, event))
                        case StageFailed():  # another's was for other settings, or stopped by its user: it is our turn
                            return event if ours else None
                        case StageDone():
                            done = True
                        case _:
                            queue.put_nowait(event)
            if done or not ours:
                return None
            said = f" Its last line: {last_line}" if last_line else ""
            return StageFailed(stage, f"The job ended unexpectedly.{said}", "Run it again to continue.")
        finally:
            if ours and not (self.leave_download and stage == "model"):
                await in_thread(job.stop)

    def _speed_matters(self, model: Path) -> bool:
        large = sum(shard.stat().st_size for shard in shard_paths(model)) >= MEASURED_FROM_BYTES
        return large and load_bandwidth(self._paths, detect_machine().fingerprint) is None

    def _plan(self, engine: Engine, model: Path) -> Prepared:
        config = self._config
        try:
            if config.server.kv_cache_gib:
                private_folder(self._paths.kept_prompts)
        except (R1tuiError, OSError):
            config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, kv_cache_gib=0.0))
        tcp = with_free_port(parse_tcp(self._tcp)) if self._tcp else None
        check = partial(check_architecture, engine=engine, settings=config.engine)
        subject = subject_of(self.variant, model, check)
        check(subject.header.architecture)
        held = HeldMemory.by(supervisor.status(self._paths))  # it is stopped before this one starts
        kept = find_kept(self.variant, config, self._paths)
        request = for_variant(request_here(config, self._paths, engine, held), config, self.variant, kept)
        plan = plan_here(subject, request, engine, self._paths, config.server.rpc, held=held)
        if not plan.can_start:
            raise R1tuiError(
                f"{self.variant.name} does not fit this machine: {' '.join(plan.reasons)}",
                ListModels(),
                ShowPlan(self.variant.name),
            )

        def argv_of(one: Plan) -> list[str]:
            return server_argv(
                engine, self.variant, model, one, config, paths=self._paths, header=subject.header, tcp=tcp
            )

        smaller = [
            FallbackPlan(
                argv=(argv := argv_of(less)),
                plan=less.summary(self.variant.name, str(model), argv),
                words=format_difference(less, plan),
                spares_host=less.ctx_size < plan.ctx_size and not less.read_whole,
            )
            for less in fallback_plans(subject.header, request, plan)
        ]
        return Prepared(self.variant, engine, model, plan, argv_of(plan), tcp, smaller)


async def events_of(queue: Queue, *tasks: "asyncio.Task[Any]") -> AsyncGenerator[StageEvent, None]:
    """The events that the tasks put into the queue, until all have ended; when the consumer stops, so do they."""
    ending = asyncio.gather(*tasks)
    ending.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
        await ending
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(ending, *tasks, return_exceptions=True)  # else asyncio reports that nobody saw its end
