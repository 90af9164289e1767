"""What a GGUF file says about itself, read in milliseconds and without its weights or token lists."""

from r1tui.gguf.errors import GgufError
from r1tui.gguf.header import Header, read_header, read_header_from
from r1tui.gguf.kv import inspect, kv_bytes_per_token
from r1tui.gguf.parse import Tensor
from r1tui.gguf.source import ByteSource, FileSource

__all__ = [
    "ByteSource",
    "FileSource",
    "GgufError",
    "Header",
    "Tensor",
    "inspect",
    "kv_bytes_per_token",
    "read_header",
    "read_header_from",
]
