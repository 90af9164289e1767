"""Types of the K and V cache, and flash attention: older and MLA files of the same model want different ones."""

from dataclasses import dataclass, replace
from typing import Literal

from r1tui.config import CacheType, PlanSettings
from r1tui.gguf import Header
from r1tui.gguf.kv import COMPRESSED

FlashAttention = Literal["auto", "off"]
WITHOUT_KERNEL = ("cuda", "hip")
"""Backends without flash attention for the head sizes of older DeepSeek files (ggml-cuda/fattn.cu, shared by hip)."""
PLAIN_TYPES = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class CacheChoice:
    """Cache settings for llama-server, with the reasons."""

    type_k: CacheType
    type_v: CacheType
    flash_attention: FlashAttention
    reasons: tuple[str, ...] = ()


def is_legacy_deepseek(header: Header) -> bool:
    """True if the file is one of the first uploads, which keep K and V for each head."""
    return header.architecture == "deepseek2" and not header.mla


def needs_one_type(header: Header) -> bool:
    """True if K and V are one cache, of one type."""
    return header.mla or header.architecture == COMPRESSED


def choose_cache(header: Header, settings: PlanSettings, backends: frozenset[str]) -> CacheChoice:
    """The user's types where the model can have them, else the best that it can."""
    if needs_one_type(header):
        return _for_one_type(settings)
    if is_legacy_deepseek(header):
        return _for_legacy(settings, backends)
    return CacheChoice(settings.cache_type_k or "f16", settings.cache_type_v or "f16", "auto")


def _for_one_type(settings: PlanSettings) -> CacheChoice:
    wanted = settings.cache_type_k or settings.cache_type_v or "f16"
    choice = CacheChoice(wanted, wanted, "auto")
    if settings.cache_type_v not in (None, wanted):
        return replace(choice, reasons=(f"K and V are both {wanted}: this model needs the same type for both.",))
    return choice


def _for_legacy(settings: PlanSettings, backends: frozenset[str]) -> CacheChoice:
    type_k: CacheType = settings.cache_type_k or "q4_0"
    type_v: CacheType = settings.cache_type_v or "f16"
    if backends.isdisjoint(WITHOUT_KERNEL):
        return CacheChoice(type_k, type_v, "auto")
    reasons = ["Flash attention is off: this GPU backend lacks it for the head sizes of older DeepSeek files."]
    if type_v not in PLAIN_TYPES:
        reasons.append(f"V is f16, not {type_v}: a quantised V cache needs flash attention.")
        type_v = "f16"
    return CacheChoice(type_k, type_v, "off", tuple(reasons))
