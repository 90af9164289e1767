"""What kind of device llama.cpp means by a name."""

from r1tui.plan import DeviceBackend


def device_backend(name: str) -> DeviceBackend | None:
    """What kind of device llama.cpp means by a name such as `CUDA0`; None for one that takes no layers (BLAS)."""
    kinds: dict[str, DeviceBackend] = {
        "CUDA": "cuda", "ROCm": "hip", "Vulkan": "vulkan", "MTL": "metal", "Metal": "metal", "RPC": "rpc",
    }  # fmt: skip
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), None)
