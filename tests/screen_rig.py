"""The screen with nothing behind it that changes by itself: for pictures that must be the same every time."""

from dataclasses import replace
from pathlib import Path

from r1tui.catalog.variants import Variant
from r1tui.chat.answer import Answer
from r1tui.chat.conversation import Conversation, Exchange
from r1tui.config import Config
from r1tui.events import (
    FileProgress,
    FilesProgress,
    Finished,
    LogLine,
    Notice,
    Progress,
    StageDone,
    StageEvent,
    StageStarted,
    StreamEvent,
    Timings,
)
from r1tui.listing.overview import ModelEntry
from r1tui.machine.nvml import GpuUse
from r1tui.machine.telemetry import Sample, ServerUse
from r1tui.messages import Range, Speed, Status
from r1tui.plan import DevicePlan, HostPlan, Plan
from r1tui.plan.layout import ModelLayout
from r1tui.server.endpoint import Endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.messages import Sampled, ServerChanged, StageReported
from r1tui.tui.widgets.rows import Rows
from r1tui.tui.widgets.transcript import Transcript

MIB, GIB = 1 << 20, 1 << 30
COURSE_S = 200
THINKING = """The user wants a small game. Pygame is the usual choice.

I need a bird that falls with gravity, pipes that move to the left, and a jump on the space bar."""
ANSWER = """Here is a **minimal** Flappy Bird. Press *space* to flap.

```python
import pygame

def main() -> None:
    pygame.init()
    screen = pygame.display.set_mode((288, 512))
    y, speed = 256.0, 0.0
    while True:
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                return
            if event.type == pygame.KEYDOWN and event.key == pygame.K_SPACE:
                speed = -4.5
        speed += 0.25
        y += speed
```

| constant | value | why |
|---|---|---|
| gravity | 0.25 | feels light |
| flap | −4.5 | clears a pipe |

1. Save it as `flappy.py`.
2. Run it with `python flappy.py`."""
PLAN = Plan(
    layout=ModelLayout(62, 31, (62,), 8192, "q4_0", "f16", flash_attention=False, ubatch_size=512),
    strategy="experts", n_gpu_layers=62, n_cpu_moe=31, ctx_size=8192, cache_type_k="q4_0", cache_type_v="f16",
    threads=16, devices=(DevicePlan("CUDA0", 81559, 80900, 48700, 22204, 2438),),
    host=HostPlan(262144, 84000, 0, 512, 512),
    ubatch_size=512, flash_attn="off", tensor_split=(), verdict="hybrid", repack=False, reasons=(),
    speed=Speed(Range(60, 180), Range(4.1, 9.3)),
)  # fmt: skip
STATUS = Status(
    state="ready", pid=4242, supervisor_pid=4240, variant="r1-iq1_s", endpoint="unix:/run/r1tui/server.sock",
    uptime_s=7380, plan=PLAN.summary(), model="/m/r1.gguf", log="/state/logs/server.log",
)  # fmt: skip
SAMPLE = Sample(
    time_s=1000.0, cpu_percent=61.0, memory_total_bytes=256 * GIB, memory_available_bytes=228 * GIB,
    page_cache_bytes=131 * GIB, server=ServerUse(4242, 65 * GIB, 2 * GIB, 63 * GIB, 58.0, 812 * MIB),
    gpus=(GpuUse(0, "NVIDIA H100 80GB HBM3", 74 * GIB, 80 * GIB, 37, 61, 310.0, own_bytes=72 * GIB, clock_mhz=1755,
                  memory_clock_mhz=2619, pcie_link=(5, 16)),),
    gpus_age_s=0.2, cores_percent=(92.0, 88.0, 12.0, 61.0, 55.0, 4.0, 71.0, 98.0) * 4,
)  # fmt: skip
LAUNCH: tuple[StageEvent, ...] = (
    StageStarted("engine", "llama.cpp"),
    Progress("engine", 84, 211, "steps", 0.5, 254.0),
    LogLine("engine", "[83/211] Building CXX object src/CMakeFiles/llama.dir/llama-model.cpp.o"),
    LogLine("engine", "[84/211] Building CXX object src/CMakeFiles/llama.dir/llama-context.cpp.o"),
    StageStarted("model", "SmolLM2 135M Instruct"),
    Progress("model", 61 << 20, 94 << 20, "bytes", 12.5e6, 2.8),
)
SHARD = "DeepSeek-R1-UD-IQ1_S-0000{}-of-00003.gguf"
DOWNLOAD: tuple[StageEvent, ...] = (
    StageStarted("model", "DeepSeek-R1 671B, dynamic 1.58 bit"),
    Notice("model", "3 files, 130.6 GiB; into /data/r1tui/models/unsloth/DeepSeek-R1-GGUF (412.0 GiB free); "
                    "about 25 min at the last rate, 91.0 MiB/s."),
    Notice("model", "On this machine: 62 layers on CUDA0, experts of 31 on the CPU. `r1tui plan r1-iq1_s` says why."),
    Notice("model", "DeepSeek-R1-UD-IQ1_S-00002-of-00003.gguf: too many requests (429); again in 12 s."),
    Progress("model", 74_512_000_000, 140_231_438_464, "bytes", 92e6, 714.0),
    FilesProgress(
        "model",
        (FileProgress(SHARD.format(1), 21_000_000_000, 49_349_193_664, "checking"),
         FileProgress(SHARD.format(2), 25_162_806_336, 49_397_904_416, "arriving"),
         FileProgress(SHARD.format(3), 0, 41_484_340_384, "waiting")),
        92e6, 88.4e6, 714.0, 3,
    ),
)  # fmt: skip
DONE: tuple[StageEvent, ...] = (
    StageDone("engine", "/cache/llama-server", "cpu, build 11434"),
    StageDone("model", "/models/model.gguf"),
    StageStarted("plan", "Memory plan"),
)
ENTRIES = (
    ModelEntry(Variant("demo", "SmolLM2 135M Instruct", bits=4.5, quality="fluent nonsense"), Path("/m/demo.gguf"),
          0.09, "gpu", owner="r1tui"),
    ModelEntry(Variant("r1-iq1_s", "DeepSeek-R1 671B, dynamic 1.58 bit", bits=1.58, quality="fair", shards=3),
          Path("/m/r1.gguf"), 130.6, "hybrid", plan=PLAN, owner="r1tui", listed_age_s=3 * 86400.0),
    ModelEntry(Variant("r1-q2_k_xl", "DeepSeek-R1 671B, dynamic 2.51 bit", bits=2.51, quality="best"), None, 212.0,
          "disk", progress=0.34),
    ModelEntry(Variant("qwen-7b", "DeepSeek-R1-Distill-Qwen-7B, Q4_K_M", bits=4.8, quality="distilled"),
          Path("/ollama/models/blobs/sha256-0123"), 4.36, "gpu", owner="ollama", measured_tps=88.0),
    ModelEntry(Variant("llama-70b", "DeepSeek-R1-Distill-Llama-70B, Q4_K_M", bits=4.8, quality="distilled"), None, 39.6,
          "gpu"),
)  # fmt: skip


class StillSampler:
    """A sampler that has nothing new."""

    def start(self) -> None:
        """Nothing starts."""

    def stop(self) -> None:
        """Nothing stops."""

    def latest(self) -> None:
        """Nothing is sampled."""


class StillApp(R1App):
    """The screen with an attached server that nobody asks."""

    def __init__(self, home: Path, config: Config | None = None) -> None:
        paths = Paths.from_environment({"R1TUI_HOME": str(home)})
        super().__init__(
            paths, config or Config(), attach=Endpoint.parse(f"unix:{home}/none.sock"), clock=lambda: 1000.0
        )
        self.sampler = StillSampler()  # type: ignore[assignment]
        self.animation_level = "none"

    def draw_all(self) -> None:
        """Draw what waits for its time."""
        for screen in self.screen_stack:
            for rows in screen.query(Rows):
                rows.draw()

    def show_launch(self) -> None:
        """As it is while engine and model are made."""
        self.chat.add_class("-launching")
        for event in LAUNCH:
            self.chat.post_message(StageReported(event))

    def show_chat(self) -> None:
        """As it is after an answer."""
        conversation = Conversation("c", [
            Exchange("Write Flappy Bird in Python.",
                 Answer.past(ANSWER, THINKING, thinking_tokens=1204, thinking_s=148.0)),
        ])  # fmt: skip
        self.chat.conversations.shown = conversation
        self.chat.query_one(Transcript).show(conversation)

    def show_branches(self) -> None:
        """As it is when the second question was asked anew."""
        conversation = Conversation("c", [Exchange("Which games are easy?", Answer.past("Snake, Pong, Flappy Bird."))])
        conversation.ask("Write Pong.").answer = Answer.past("Here it is.")
        exchange = conversation.ask_instead(conversation.exchanges[1], "Write Flappy Bird in Python.")
        exchange.answer = Answer.past(ANSWER, THINKING, thinking_tokens=1204, thinking_s=148.0)
        self.chat.conversations.shown = conversation
        self.chat.query_one(Transcript).show(conversation)

    def show_answer(self, *events: StreamEvent) -> None:
        """As it is when this has come of an answer to a second question."""
        self.show_chat()
        exchange = self.chat.conversation.ask("Now with sounds, and a high score that is kept between games.")
        exchange.answer = Answer(lambda: 1000.0)
        for event in events:
            exchange.answer.apply(event)
        self.chat.query_one(Transcript).show(self.chat.conversation)
        self.chat.refresh_bindings()

    def show_figures(self) -> None:
        """The instruments in the middle of things."""
        self.chat.post_message(ServerChanged(STATUS))
        for second in range(COURSE_S):
            wave = 1 - abs((second % 80) - 40) / 40
            gpus = tuple(replace(gpu, busy_percent=round(20 + 60 * wave)) for gpu in SAMPLE.gpus or ())
            self.chat.post_message(Sampled(replace(SAMPLE, cpu_percent=90 - 60 * wave, gpus=gpus)))
        self.chat.post_message(Sampled(SAMPLE))
        self.chat.instruments.asked()
        self.chat.instruments.update_answer([Timings(412, 0, 96.4, 1875, 8.3)])
        self.chat.instruments.update_answer([Finished("stop", 412, 1204, 1875, 96.4, 8.3, 4270.0)])
