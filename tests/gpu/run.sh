#!/usr/bin/env bash
# Measures on a bare machine with a card, in a copy of the checkout with the .gpu/ that prepare.sh made: a driver for
# CUDA 13 with its cuBLAS and runtime, and the Python that was prepared for. Everything is unpacked below $TMPDIR.
#
#   tests/gpu/run.sh OUT [arguments of python -m tests.gpu]
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1 && shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/engine" "$work/source" "$out"
tar xJf .gpu/engine.tar.xz -C "$work/engine" &
python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" .gpu/wheels/*.whl
wait

wanted=(-name libcublas.so.13 -o -name libcublasLt.so.13 -o -name libcudart.so.13 -o -name cublas_v2.h)
found=$(find / \( -path /proc -o -path /sys \) -prune -o \( "${wanted[@]}" \) -printf '%h\n' 2>/dev/null | sort -u) || true
libraries=$(paste -sd: <<< "$found")
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$libraries PYTHONPATH=$work/site:$PWD PYTHONUNBUFFERED=1

# A binary that does not start there (an older C library) is built there, for which nvcc, cmake and ninja must be there.
if ! "$work/engine/llama-server" --version; then
    ldd "$work/engine/llama-server" | grep -i 'not found' || true
    tar xJf .gpu/source.tar.xz -C "$work/source"
    cmake -S "$work/source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native -DGGML_CUDA_NCCL=OFF -DGGML_CCACHE=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
        -DCMAKE_CUDA_FLAGS="-I$(grep -m1 include <<< "$found")" > "$out/cmake.txt" 2>&1
    ninja -C "$work/build" llama-server llama-fit-params > "$out/ninja.txt" 2>&1
    cp "$work"/build/bin/llama-* "$work/engine/"
fi
python3 -m tests.gpu --engine "$work/engine" --out "$out" --work "$work/models" "$@"
