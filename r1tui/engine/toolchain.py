"""The CUDA compiler out of NVIDIA's own PyPI wheels, pinned by sha256 and put together as one toolkit folder."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from r1tui.engine.system import Toolkit
from r1tui.errors import R1tuiError
from r1tui.remedies import Run
from r1tui.system.children import Cancel, check, run_quietly
from r1tui.system.files import make_folder
from r1tui.system.locks import locked
from r1tui.system.packages import fetch_package, unpack
from r1tui.system.paths import Paths


@dataclass(frozen=True)
class Pin:
    """One version of a package; `sha256` has one for each platform (Linux on x86_64 and on aarch64)."""

    version: str
    sha256: tuple[str, ...]


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
UNPACKED = Path("nvidia/cu13")  # where the wheels' files lie, all together
MARKER = ".r1tui-complete"


def toolkit_folder(paths: Paths) -> Path:
    """The toolkit's folder, there or not yet."""
    return paths.cache / "cuda" / "{}.{}".format(*CUDA)


def bundled_toolkit(paths: Paths) -> Toolkit | None:
    """The toolkit from PyPI if it is here whole."""
    folder = toolkit_folder(paths)
    nvcc = folder / UNPACKED / "bin" / "nvcc"
    return Toolkit(nvcc, CUDA, bundled=True) if (folder / MARKER).is_file() else None


def fetch_toolkit(
    paths: Paths, cc: Path, *, line: Callable[[str], None], waiting: Callable[[int], None], cancel: Cancel | None
) -> Toolkit:
    """The toolkit from PyPI, fetched and put together if it is not here yet. Raises R1tuiError, CancelledError.

    Everything is made in a folder beside the final one and renamed when whole. `cc` links the stub of the driver.
    """
    final = toolkit_folder(paths)
    lock = final.with_name(final.name + ".lock")
    with locked(lock, "The CUDA toolkit's folder", waiting, lambda: check(cancel, "Downloading the CUDA toolkit")):
        if (found := bundled_toolkit(paths)) is not None:
            return found
        partial = final.with_name(final.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        wheels = [
            fetch_package(name, pin.version, paths.downloads, line, sha256=pin.sha256, cancel=cancel)
            for name, pin in CUDA_WHEELS.items()
        ]
        for wheel in wheels:
            line(f"Unpacking {wheel.name}")
            unpack(wheel, partial, cancel=cancel)
        complete(partial / UNPACKED)
        make_driver_stub(partial / UNPACKED, cc, line, cancel)
        (partial / MARKER).write_text("".join(f"{name}=={pin.version}\n" for name, pin in CUDA_WHEELS.items()))
        partial.rename(final)
        for wheel in wheels:
            wheel.unlink(missing_ok=True)
        return Toolkit(final / UNPACKED / "bin" / "nvcc", CUDA, bundled=True)


def complete(root: Path) -> None:
    """Give the unpacked wheels the shape of an installed toolkit: unversioned library names, `lib64`."""
    library = root / "lib"
    if not (root / "bin" / "nvcc").is_file() or not library.is_dir():
        raise R1tuiError(
            "The CUDA wheels from the package index contain no nvcc.",
            "Check the package index that pip uses, and try again.",
            Run("pip config list", "names it"),
        )
    for versioned in sorted(library.glob("*.so.*")):
        plain = library / (versioned.name.partition(".so.")[0] + ".so")
        if not plain.exists():
            plain.symlink_to(versioned.name)
    if not (root / "lib64").exists():
        (root / "lib64").symlink_to("lib")


def make_driver_stub(root: Path, cc: Path, line: Callable[[str], None], cancel: Cancel | None) -> None:
    """Link `lib/stubs/libcuda.so`, which stands for the driver's library at link time; the driver brings its own."""
    header = root / "include" / "cuda.h"
    stubs = root / "lib" / "stubs"
    make_folder(stubs)
    source = stubs / "libcuda.c"
    source.write_text(stub_source(header.read_text("utf-8", "replace")))
    options = ["-x", "c", "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]
    argv: list[str | Path] = [cc, *options, stubs / "libcuda.so", source]
    status, said = run_quietly(argv, what="Linking the driver's stub", cancel=cancel)
    if status != 0:
        for text in said:
            line(text)
        raise R1tuiError("The stub of the NVIDIA driver library could not be linked.", "\n".join(said[:3]))


def stub_source(header: str) -> str:
    """C source that defines every function that cuda.h names; each answers CUDA_ERROR_STUB_LIBRARY.

    Compiled as C++ the names stay as they are too: mangled ones link with nothing that asks for `cuDeviceGet`.
    """
    names = set(re.findall(r"\b(cu[A-Z]\w*)\s*\(", header))
    names |= {name for pair in re.findall(r"#define\s+(cu[A-Z]\w*)\s+(\w+)", header) for name in pair}
    names |= set(re.findall(r"__CUDA_API_\w+\((cu[A-Z]\w*)\)", header))
    suffixes = ("", "_v2", "_v3", "_v4", "_ptsz", "_ptds", "_v2_ptsz", "_v2_ptds")
    every = sorted({name + suffix for name in names for suffix in suffixes if name.startswith("cu")})
    functions = "".join(f"int {name}(void) {{ return 34; }}\n" for name in every)
    return f'#ifdef __cplusplus\nextern "C" {{\n#endif\n{functions}#ifdef __cplusplus\n}}\n#endif\n'
