#!/usr/bin/env bash
# Builds llama.cpp for CUDA here, by r1tui's own recipe, and packs all that a bare machine with a card needs into .gpu/:
# the engine, the wheels that tests.gpu imports, and the source cut to what it takes. Then: run.sh, there.
#
#   tests/gpu/prepare.sh            about 40 minutes on 2 cores the first time
#
# ARCH      90-real (H100, H200); 90 keeps the PTX too, for the section jit
# PYTHON    3.12, the version over there
# WITHOUT   packages that are over there already: "numpy"
# WORK      a home of its own for r1tui: .gpu/home
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$PWD/.venv/bin/python
work=$(realpath -m "${WORK:-.gpu/home}")
export R1TUI_HOME=$work PYTHONPATH=$PWD
mkdir -p "$work/config" .gpu/wheels
cat > "$work/config/config.yaml" <<Y
engine:
  backend: cuda
  cuda_toolkit: pypi
  source: pypi
  cmake_args: ["-DCMAKE_CUDA_ARCHITECTURES=${ARCH:-90-real}", "-DGGML_NATIVE=OFF"]  # another processor runs it
Y
server=$(nice "$python" -m r1tui build | tail -1)

packed=$(mktemp -d)
trap 'rm -rf "$packed"' EXIT
for tool in llama-server llama-fit-params; do strip -o "$packed/$tool" "$(dirname "$server")/$tool"; done
# One dictionary over both: their CUDA code is the same.
tar cf - -C "$packed" . | xz --lzma2=preset=6,dict=192MiB > .gpu/engine.tar.xz

source=$(find "$work/cache/sources" -mindepth 1 -maxdepth 1 -type d | head -1)
parts=()
for part in CMakeLists.txt cmake common ggml include src tools vendor licenses; do
    [ ! -e "$source/$part" ] || parts+=("$part")
done
tar cf - -C "$source" --exclude='ggml/src/ggml-[!cr]*' --exclude='ggml/src/ggml-cann' --exclude='*.gguf' \
    --exclude='tools/*/*.png' "${parts[@]}" | xz -6 -T2 > .gpu/source.tar.xz

platforms=()
for platform in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014; do
    platforms+=(--platform "${platform}_$(uname -m)")
done
# shellcheck disable=SC2086
"$python" -m tests.gpu.needs ${WITHOUT:-} > .gpu/requirements.txt
"$python" -m pip download --quiet --no-deps --only-binary :all: --python-version "${PYTHON:-3.12}" \
    --implementation cp "${platforms[@]}" --dest .gpu/wheels --requirement .gpu/requirements.txt
du -shc .gpu/*.xz .gpu/wheels
