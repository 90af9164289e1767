"""The architectures of models that an engine knows: by llama.cpp's list, or by giving the binary an empty model."""

import os
import re
import struct
import tempfile
from functools import cache
from pathlib import Path

from r1tui.config import EngineSettings
from r1tui.engine.find import Engine
from r1tui.errors import R1tuiError
from r1tui.remedies import Advice, AnyRemedy, BuildEngine, ListModels
from r1tui.system.children import run_lines
from r1tui.system.environment import server_environment

PINNED = "b11434"
"""The release whose list this is."""
ARCHITECTURES = frozenset(
    """
    llama llama4 deci falcon grok gpt2 gptj gptneox mpt baichuan starcoder refact bert modern-bert nomic-bert
    nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert bloom stablelm qwen qwen2 qwen2moe qwen2vl qwen3
    qwen3moe qwen3next qwen3vl qwen3vlmoe qwen35 qwen35moe clef qwen4exp phi2 phi3 phimoe plamo plamo2 plamo3
    codeshell orion internlm2 minicpm minicpm3 gemma gemma2 gemma3 gemma3n gemma4 gemma4-assistant gemma-embedding
    starcoder2 mamba mamba2 maple jamba falcon-h1 xverse command-r cohere2 cohere2moe dbrx olmo olmo2 olmoe
    muse-glimmer openelm arctic deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 chatglm glm4 glm4moe glm-dsa
    bitnet t5 t5encoder jais jais2 nemotron nemotron_h nemotron_h_moe exaone exaone4 exaone-moe rwkv6 rwkv6qwen2
    rwkv7 arwkv7 granite granitemoe granitehybrid graniteswitch granite_swa chameleon wavtokenizer-dec plm
    bailingmoe bailingmoe2 bailingmoe3 dots1 dots3note arcee afmoe laguna ernie4_5 ernie4_5-moe hunyuan-moe
    hunyuan-dense hunyuan_vl hy_v3 hy_v4 smollm3 gpt-oss lfm2 lfm2moe dream smallthinker llada llada-moe seed_oss
    grovemoe apertus minimax-01 hrm_text minimax-m2 minimax-m3 cogvlm rnd1 pangu-embedded mistral3 eagle3 dflash
    mistral4 paddleocr mimo2 step35 spark2_5 llama-embed maincoder kimi-linear kimi-k3 glm5-next talkie mellum
    nanbeige qwen3tts pockettts
    """.split()  # noqa: SIM905
)
"""LLM_ARCH_NAMES of its llama-arch.cpp."""
RESPELLED = {"glm5next": "glm5-next"}
"""Names in files that forks converted, and llama.cpp's own."""
TIMEOUT_S = 60.0
NO_GPU = dict.fromkeys(
    ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"), ""
)
"""A question that needs no card wakes none."""


class UnknownArchitectureError(R1tuiError):
    """The engine cannot load models of this architecture."""


def check_architecture(architecture: str, engine: Engine | None, settings: EngineSettings) -> None:
    """Raise UnknownArchitectureError where the engine, or the one that would be built, does not know the architecture.

    Says nothing of a release that is not built and whose list is not known.
    """
    if engine is None:
        known = (
            settings.ref != PINNED or settings.source not in ("auto", "git", "pypi") or architecture in ARCHITECTURES
        )
        release = settings.ref
    else:
        number = engine.capabilities.build_number
        release = f"b{number}" if number else engine.ref
        newer = number is not None and number >= int(PINNED[1:])
        known = (newer and architecture in ARCHITECTURES) or _is_loaded(engine.server, architecture)
    if not known:
        raise UnknownArchitectureError(
            f"llama.cpp {release} does not know the architecture `{architecture}`.", *_remedies(architecture)
        )


def _remedies(architecture: str) -> tuple[AnyRemedy, ...]:
    if architecture in ARCHITECTURES:
        return Advice(f"{PINNED} knows it: set `engine.ref` to {PINNED} or newer."), BuildEngine()
    if (ours := RESPELLED.get(architecture)) is not None:
        return Advice(f"Look for files that a newer llama.cpp converted, as {ours}."), ListModels()
    return Advice("Set `engine.ref` to a newer release that supports it, or choose another model."), ListModels()


@cache
def _is_loaded(server: Path, architecture: str) -> bool:
    """True if llama-server goes on beyond the architecture of a model that has nothing else."""
    with tempfile.TemporaryDirectory(prefix="r1tui-") as folder:
        model = Path(folder, "model.gguf")
        model.write_bytes(_nothing_but(architecture))
        said: list[str] = []
        argv: list[str | Path] = [server, "--model", model, "--host", Path(folder, "x.sock")]
        env = {**server_environment(os.environ), **NO_GPU, "GGML_NO_BACKTRACE": "1"}
        try:
            run_lines(argv, said.append, what="llama-server with an empty model", env=env, timeout_s=TIMEOUT_S)
        except (TimeoutError, OSError):
            return True  # whatever is wrong with it is no matter of the model
        return not re.search(r"unknown model architecture", "\n".join(said))


def _nothing_but(architecture: str) -> bytes:
    """A GGUF file with one setting and no tensor."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    string_type = 8
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    return header + text("general.architecture") + struct.pack("<I", string_type) + text(architecture)
