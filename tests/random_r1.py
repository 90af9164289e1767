"""A full-size sparse R1 whose router, embeddings and norms are random: each token picks other experts, as real ones do.

The experts' weights stay a hole. The residual stream is the token's embedding, so the router's choice is close to
uniform; the speed of its answers is close to that of real weights, its words are noise. On disk it takes 0.5 GB and
7 MB a layer.

    python -m tests.random_r1 OUT.gguf [mla]
"""

import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.random import Generator

from r1tui.gguf import read_header
from r1tui.gguf.parse import Tensor
from tests import sparse_r1

Q4_K_BYTES = 144  # of 256 values: scale and minimum as f16, 12 bytes of smaller scales, 128 of values
BLOCKS_AT_ONCE = 1 << 20
ROUTER_SCALE = 0.02


def build(path: Path, *, mla: bool, layers: int = sparse_r1.LAYERS) -> Path:
    """Write the file; the same arguments give the same one."""
    sparse_r1.build(path, mla=mla, layers=layers)
    random = np.random.default_rng(1)
    with path.open("r+b") as file:
        for tensor in read_header(path).tensors:
            file.seek(tensor.offset)
            for part in _content(tensor, random):
                file.write(part)
    return path


def _content(tensor: Tensor, random: Generator) -> Iterator[bytes]:
    """What is written at the tensor's place; nothing for one that stays a hole."""
    if tensor.name == "token_embd.weight":
        yield from _embeddings(tensor, random)
    elif tensor.name.endswith("ffn_gate_inp.weight"):
        yield (random.standard_normal(prod(tensor.shape), np.float32) * np.float32(ROUTER_SCALE)).tobytes()
    elif tensor.name.endswith("norm.weight"):
        yield np.ones(prod(tensor.shape), np.float32).tobytes()


def _embeddings(tensor: Tensor, random: Generator) -> Iterator[bytes]:
    """Random Q4_K blocks around zero."""
    left = tensor.size_bytes // Q4_K_BYTES
    while left:
        count = min(left, BLOCKS_AT_ONCE)
        blocks = np.empty((count, Q4_K_BYTES), np.uint8)
        blocks[:, 0:2] = np.frombuffer(np.float16(1e-3).tobytes(), np.uint8)
        blocks[:, 2:4] = np.frombuffer(np.float16(8e-3).tobytes(), np.uint8)
        blocks[:, 4:16] = 0x21
        blocks[:, 16:] = random.integers(0, 256, (count, Q4_K_BYTES - 16), np.uint8)
        yield blocks.tobytes()
        left -= count


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), mla="mla" in sys.argv[2:]))
