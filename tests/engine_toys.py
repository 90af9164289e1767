"""Small sources that build in seconds and answer like a llama-server, for the tests of the build."""

import os
from pathlib import Path

from r1tui.engine.source import MARKER
from r1tui.system.paths import Paths

SERVER = r"""
#include <cstdio>
#include <cstring>
int part(int);
int main(int argc, char ** argv) {
    if (argc == 2 && !strcmp(argv[1], "--version")) { printf("version: 1 (toy%d)\n", part(1)); return 0; }
    if (argc == 2 && !strcmp(argv[1], "--help")) {
        printf("-m,    --model FNAME   the model\n--list-devices         the devices\n");
        return 0;
    }
    if (argc == 2 && !strcmp(argv[1], "--list-devices")) { printf("Available devices:\n  (none)\n"); return 0; }
    return 1;
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(toy CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(parts OBJECT part.cpp part2.cpp part3.cpp)
add_custom_command(
    OUTPUT gate.cpp
    COMMAND cat ${CMAKE_SOURCE_DIR}/gate > gate.cpp
    DEPENDS $<TARGET_OBJECTS:parts>)
add_executable(llama-server main.cpp gate.cpp $<TARGET_OBJECTS:parts>)
add_executable(llama-bench bench.cpp)
"""


def toy_source(folder: Path) -> Path:
    """The source of a llama-server that knows --version, --help and --list-devices.

    One of its steps reads the file `gate`, after three compiled parts: a FIFO there holds the build up.
    """
    (folder / "ggml").mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text(CMAKE)
    (folder / "main.cpp").write_text(SERVER)
    (folder / "part.cpp").write_text("int part(int x) { return x; }\n")
    (folder / "part2.cpp").write_text("int part2(int x) { return x; }\n")
    (folder / "part3.cpp").write_text("int part3(int x) { return x; }\n")
    (folder / "bench.cpp").write_text("int main() { return 0; }\n")
    (folder / "gate").write_text("")
    return folder


def fetched_release(paths: Paths, ref: str = "b1") -> Path:
    """The toy as the source of a release that has been fetched."""
    folder = toy_source(paths.sources / f"{ref}-git")
    (folder / MARKER).write_text("toy\n")
    return folder


def close_gate(source: Path) -> Path:
    """Replace the gate by a FIFO: the build waits there until somebody has opened it for writing and closed it."""
    gate = source / "gate"
    gate.unlink()
    os.mkfifo(gate)
    return gate


def open_gate(gate: Path) -> None:
    """Make it a file again."""
    gate.unlink()
    gate.write_text("")
