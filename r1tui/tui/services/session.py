"""What the screen has of one server: its launches, its answers, how it chooses tokens."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from textual.message import Message

from r1tui.catalog.variants import load_catalog
from r1tui.chat.choices import SamplingChoices
from r1tui.config import Config, SamplingSettings
from r1tui.errors import R1tuiError, UsageError
from r1tui.gguf import GgufError, read_header
from r1tui.messages import Status
from r1tui.server.client import model_title
from r1tui.server.command import SAMPLING_FLAGS, parse_options
from r1tui.server.endpoint import Endpoint
from r1tui.server.sampling import Sampling, for_question, sampling_for
from r1tui.server.wire import Props
from r1tui.system.paths import Paths
from r1tui.tui.messages import ModelsOffered
from r1tui.tui.services.chat_client import ChatClient
from r1tui.tui.services.launcher import Launcher
from r1tui.tui.services.server import Connection, ServerMonitor


class Session:
    """The connection to one server, managed or attached, with its answers, launches and settings."""

    def __init__(
        self,
        paths: Paths,
        config: Config,
        post: Callable[[Message], object],
        monitor: ServerMonitor,
        *,
        config_file: str | None = None,
        attach: Endpoint | None = None,
        model_name: str = "",
    ) -> None:
        self.server = Connection(paths, monitor, attach, model_name)
        """The way to the server's own answers."""
        self._config = config
        self._post = post
        self._monitor = monitor
        self._attach = attach
        self.choices = SamplingChoices(paths.sampling_choices, config.sampling)
        """Sampling by the model's name."""
        self._attached_name = str(attach or "")
        managed = monitor if attach is None else None
        self.chat = ChatClient(paths, config, post, self.server, sampling=self.sampling, managed=managed)
        """Client of the server, one answer at a time."""
        self.launcher = Launcher(
            paths,
            config,
            post,
            monitor=monitor,
            connection=self.server,
            chat=self.chat,
            config_file=config_file,
        )
        """Launcher of the managed server."""

    @property
    def attached(self) -> bool:
        """True for an attached server, where there is nothing to launch, switch or stop."""
        return self._attach is not None

    @property
    def answering(self) -> bool:
        """True while an answer is received."""
        return self.chat.answer_id is not None

    @property
    def model(self) -> str:
        """The name of the model that would answer; empty where none runs."""
        return self._attached_name if self.attached else self._monitor.status.variant or ""

    async def watch(self) -> None:
        """Follow the managed server, taking it over when its supervisor was killed; posts each change, for ever."""
        await self._monitor.watch(self._meet_supervisor)

    async def _meet_supervisor(self) -> None:
        if (answer_id := self.chat.answer_id) is not None:
            await self._monitor.tell_supervisor(answer_id, running=True)  # the one before may have been killed

    async def look_at_attached(self) -> None:
        """Post what an attached server says of itself, and its models where one must be chosen.

        Where it does not answer, the first question will tell.
        """
        with suppress(R1tuiError):
            client = await self.server.client()
            names = await client.choose_model()
            if names:
                self._post(ModelsOffered(names))
            self.server.model_name = client.model
            props = Props()  # another server than llama-server says nothing
            with suppress(R1tuiError):
                props = await client.props()
            self._attached_name = model_title(client.model or props.model) or str(client.endpoint)
            self._monitor.take_status(Status(state="ready", variant=self._attached_name), props.context_tokens)

    async def choose_model(self, name: str) -> None:
        """Ask this one of an attached server's models from now on."""
        await self.server.choose(name)
        await self.look_at_attached()

    async def offer_models(self) -> None:
        """Post the models of an attached server, to choose from; raises R1tuiError when it does not say."""
        names = await (await self.server.client()).models()
        if not names:
            raise R1tuiError("This server does not list its models.", "It uses its own model.")
        self._post(ModelsOffered(names))

    async def sampling(self) -> SamplingSettings:
        """Sampling of the next answer, as set by the user; null leaves it to the server."""
        chosen = await asyncio.to_thread(self.choices.of, self.model)
        return chosen if self.attached else for_question(chosen, self._config, self._monitor.status.variant)

    async def effective_sampling(self) -> Sampling:
        """The values that apply where the user has chosen none, with their sources.

        Nothing is known of somebody else's server but what the config says.
        """
        if self.attached:
            said = msgspec.structs.asdict(self.choices.default)
            return Sampling(
                self.choices.default, {key: (value, "config") for key, value in said.items() if value is not None}
            )
        return await asyncio.to_thread(sampling_of_running, self._monitor.status, self._config)

    async def is_deterministic(self) -> bool:
        """True if the same question gets the same answer: temperature 0 was chosen, or is what counts."""
        chosen = (await self.sampling()).temperature
        return chosen == 0 or (chosen is None and (await self.effective_sampling()).temperature == 0)

    async def close(self) -> None:
        """Let go of the connection; the server stays as it is."""
        await self.server.forget()


def sampling_of_running(status: Status, config: Config) -> Sampling:
    """The values of the managed server's model. Reads the file's header: not on an event loop."""
    variant = header = None
    with suppress(R1tuiError):
        variant = load_catalog(config).running(status)
    with suppress(GgufError, R1tuiError, OSError):
        header = read_header(Path(status.model)) if status.model else None
    found = sampling_for(config.sampling, variant, header)
    for key, value in _started_with(status.argv or []).items():
        if getattr(config.sampling, key) is None and value != found.sources[key][0]:
            found.sources[key] = (value, "extra_args")
    return found


def _started_with(argv: list[str]) -> dict[str, float]:
    """Sampling values from a server's command line, by our settings' names."""
    with suppress(UsageError):
        said = {one.subject: one.values[0] for one in parse_options(argv[1:], "argv") if one.values}
        return {key: number for key, flag in SAMPLING_FLAGS.items() if (number := _number(said.get(flag))) is not None}
    return {}


def _number(text: str | None) -> float | None:
    for kind in (int, float):
        with suppress(ValueError, TypeError):
            return kind(text or "")
    return None
