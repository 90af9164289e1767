"""Ollama's models: named by manifests, kept as blobs under their sha256."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from r1tui.hub.local.walk import Complain, files_below, keep_silent
from r1tui.messages import decode_foreign
from r1tui.system.paths import expand_if_known

SYSTEM_FOLDER = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama's own service on Linux keeps them."""
MODEL_LAYER = "application/vnd.ollama.image.model"
MAX_MANIFEST_BYTES = 1 << 20
_DIGEST = re.compile(r"sha256:(?P<sha256>[0-9a-f]{64})")
_HUB_HOSTS = frozenset({"hf.co", "huggingface.co"})


class _Layer(msgspec.Struct, frozen=True):
    digest: str
    size: int
    media_type: str = msgspec.field(name="mediaType", default="")


class _Manifest(msgspec.Struct, frozen=True):
    layers: list[_Layer]


@dataclass(frozen=True)
class OllamaModel:
    """One tag, with its weights as one GGUF file."""

    host: str
    repo: str
    """OWNER/NAME there."""
    tag: str
    blob: Path
    size_bytes: int
    sha256: str
    """As the manifest and the blob's name say; Ollama has checked it."""

    @property
    def from_hub(self) -> bool:
        """Whether it is the very file of a repository on Hugging Face, its tag the quantisation."""
        return self.host in _HUB_HOSTS


def ollama_folders(env: Mapping[str, str], home: Path) -> list[Path]:
    """Where Ollama keeps models for this user and for its service."""
    given = [expand_if_known(env["OLLAMA_MODELS"])] if env.get("OLLAMA_MODELS") else []
    return [*given, home / ".ollama/models", SYSTEM_FOLDER]


def ollama_models(root: Path, complain: Complain = keep_silent) -> list[OllamaModel]:
    """The models in one of Ollama's folders whose weights are whole."""
    found = []
    try:
        names = sorted(path.name for path in root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        complain(root, error.strerror or str(error))
        return []
    for folder in (root / name for name in names if name.startswith("manifest")):  # newer ones have two versions
        for manifest in files_below(folder, complain):
            parts = manifest.relative_to(folder).parts  # HOST/OWNER/NAME/TAG
            if len(parts) != 4:
                continue
            layer = _weights(manifest, complain)
            if layer is None:
                continue
            sha256 = layer.digest.removeprefix("sha256:")
            blob = root / "blobs" / f"sha256-{sha256}"
            try:
                whole = blob.is_file() and blob.stat().st_size == layer.size
            except OSError:
                whole = False
            if whole:
                host, owner, name, tag = parts
                found.append(OllamaModel(host, f"{owner}/{name}", tag, blob, layer.size, sha256))
    return found


def _weights(manifest: Path, complain: Complain) -> _Layer | None:
    """The one layer with the weights; None for a manifest that is none, or whose model is in several pieces."""
    try:
        with manifest.open("rb") as file:
            raw = file.read(MAX_MANIFEST_BYTES)
        layers = decode_foreign(raw, _Manifest).layers
    except OSError as error:
        complain(manifest, error.strerror or str(error))
        return None
    except msgspec.DecodeError:
        complain(manifest, "no manifest of Ollama's")
        return None
    weights = [layer for layer in layers if layer.media_type == MODEL_LAYER]
    if any(not _DIGEST.fullmatch(layer.digest) for layer in weights):
        complain(manifest, "its digest is no sha256")
        return None
    return weights[0] if len(weights) == 1 else None
