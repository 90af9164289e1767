"""From what llama-server wrote and how it ended to a cause and a remedy; the real one fails here where it can."""

import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.remedies import in_commands
from r1tui.server.diagnosis import Diagnosis, diagnose, left_on_cpu, level
from tests.conftest import TinyModel
from tests.provoked import without_library

Fails = Callable[..., Diagnosis]


@pytest.fixture
def fails(llama_server: Path, tiny_r1: TinyModel, tmp_path: Path) -> Fails:
    """The diagnosis of a real llama-server that is started so that it fails."""

    def run(*arguments: str, model: Path | None = None, limit_kib: int | None = None) -> Diagnosis:
        command = [
            str(llama_server),
            "--model",
            str(model or tiny_r1()),
            "--host",
            str(tmp_path / "x.sock"),
            *arguments,
        ]
        if limit_kib is not None:
            command = ["/bin/sh", "-c", f'ulimit -v {limit_kib}; exec "$@"', "sh", *command]
        ended = subprocess.run(
            [*command, "--verbosity", "4"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
        )
        assert ended.returncode != 0
        return diagnose(ended.stdout.decode(errors="replace").splitlines(), ended.returncode)

    return run


def test_a_missing_model(fails: Fails, tmp_path: Path) -> None:
    found = fails(model=tmp_path / "nowhere.gguf")
    assert found.cause == f"{tmp_path}/nowhere.gguf does not exist."
    assert "r1tui download" in in_commands(found.remedies)
    assert any("No such file or directory" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("length", "cause"), [(0, "not a GGUF file"), (2000, "incomplete or damaged"), (8_000_000, "incomplete or damaged")]
)
def test_a_model_that_was_cut(fails: Fails, tiny_r1: TinyModel, tmp_path: Path, length: int, cause: str) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_r1().read_bytes()[:length])
    found = fails(model=cut)
    assert cause in found.cause
    assert "r1tui download" in in_commands(found.remedies)


def test_a_missing_shard(fails: Fails, tiny_r1: TinyModel, tmp_path: Path) -> None:
    first = tiny_r1(shard_tensors=40)
    alone = tmp_path / first.name
    alone.write_bytes(first.read_bytes())
    found = fails(model=alone)
    assert "-00002-of-" in found.cause
    assert "does not exist" in found.cause


def test_something_else_than_a_model(fails: Fails, tmp_path: Path) -> None:
    page = tmp_path / "page.gguf"
    page.write_text("<html>404</html>" * 100)
    assert "not a GGUF file" in fails(model=page).cause


def test_cache_types_that_the_model_does_not_take(fails: Fails) -> None:
    found = fails("--cache-type-k", "q4_0")
    assert found.cause == "This model needs one type for both caches; K is q4_0 and V is f16."
    assert "plan.cache_type_v" in in_commands(found.remedies)


def test_an_argument_that_it_does_not_know(fails: Fails) -> None:
    assert fails("--no-mmap").cause == "llama-server does not know the argument --no-mmap."


def test_a_value_that_it_does_not_take(fails: Fails) -> None:
    found = fails("--cache-type-k", "q9")
    assert found.cause == "llama-server does not accept the value of --cache-type-k: Unsupported cache type: q9."


def test_a_device_that_is_not_there(fails: Fails) -> None:
    assert "invalid device: CUDA7" in fails("--device", "CUDA7").cause


def test_a_port_that_is_taken(fails: Fails) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = fails("--host", "127.0.0.1", "--port", str(port))
    assert found.cause == f"Port {port} on 127.0.0.1 is in use by another program."
    assert "server.tcp" in in_commands(found.remedies)


def test_a_socket_that_is_left_over(fails: Fails, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "x.sock"))
        found = fails()
    assert f"cannot listen on {tmp_path}/x.sock" in found.cause
    assert "r1tui stop" in in_commands(found.remedies)


def test_too_little_memory_on_the_host(fails: Fails) -> None:
    found = fails("--ctx-size", "8000000", "--fit", "off", limit_kib=3_000_000)
    assert found.cause == "This machine has too little free memory for this plan."
    assert "plan.ctx_size" in in_commands(found.remedies)


def test_an_rpc_worker_that_is_not_there(fails: Fails) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        worker = f"127.0.0.1:{free.getsockname()[1]}"
    assert fails("--rpc", worker).cause == f"The RPC worker {worker} does not answer."


def test_a_template_that_it_cannot_use(fails: Fails, tmp_path: Path) -> None:
    template = tmp_path / "bad.jinja"
    template.write_text("{{ bad")
    found = fails("--jinja", "--chat-template-file", str(template))
    assert found.cause == "llama-server cannot use the chat template."
    assert found.kind == "lasting"


def test_the_remedy_names_the_variant_that_can_be_fetched_again() -> None:
    lines = ["0.00.000.001 E gguf_init: failed to read key-value pairs"]
    assert "`r1tui download r1-iq1_s --verify`" in in_commands(diagnose(lines, 1, variant="r1-iq1_s").remedies)
    assert "`r1tui download VARIANT --verify`" in in_commands(diagnose(lines, 1).remedies)


def test_a_quantised_v_cache_without_flash_attention(fails: Fails) -> None:
    found = fails("--cache-type-k", "q4_0", "--cache-type-v", "q4_0", "--flash-attn", "off")
    assert "needs flash attention" in found.cause


def test_weights_that_are_no_numbers(fails: Fails, tiny_r1: TinyModel, tmp_path: Path) -> None:
    data = bytearray(tiny_r1().read_bytes())
    data[-2_000_000:-1_000_000] = b"\xff" * 1_000_000
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(data)
    found = fails("--check-tensors", model=damaged)
    assert "damaged" in found.cause
    assert "r1tui download" in in_commands(found.remedies)


def test_an_architecture_that_it_does_not_know(fails: Fails, tiny_r1: TinyModel, tmp_path: Path) -> None:
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(tiny_r1().read_bytes().replace(b"deepseek2", b"deepseekX"))
    assert fails(model=strange).cause == "This llama-server does not know the architecture `deepseekX`."


def test_a_library_that_is_missing(llama_server: Path, tmp_path: Path) -> None:
    broken = without_library(llama_server, tmp_path / "llama-server")
    ended = subprocess.run([broken], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    found = diagnose(ended.stdout.decode().splitlines(), ended.returncode)
    assert found.cause == "llama-server cannot start without libstdcxx.so.6, which is not on this machine."
    assert found.kind == "lasting"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "0.00.1 E CUDA error: no kernel image is available for execution on the device",
            "The NVIDIA driver and this build's CUDA do not match: no kernel image is available.",
        ),
        (
            "CUDA driver version is insufficient for CUDA runtime version",
            "The NVIDIA driver and this build's CUDA do not match: CUDA driver version is insufficient.",
        ),
        (
            "0.00.1 E CUDA error: device kernel image is invalid",
            "The NVIDIA driver and this build's CUDA do not match: device kernel image is invalid.",
        ),
        (
            "0.00.1 E CUDA error: uncorrectable ECC error encountered",
            "A GPU reported a VRAM error that it cannot correct (ECC).",
        ),
    ],
)
def test_what_only_a_card_provokes(line: str, cause: str) -> None:
    found = diagnose([line], 127)
    assert (found.cause, found.kind) == (cause, "lasting")


def test_a_kill_by_the_kernel_for_memory_is_told_from_a_kill_by_a_person() -> None:
    by_kernel = diagnose(["0.00.000.001 E failed to allocate nothing"], -signal.SIGKILL, oom_killed=True)
    assert by_kernel.cause == "The system killed llama-server because memory ran out."
    assert by_kernel.kind == "memory"
    assert diagnose([], -signal.SIGKILL).kind == "passing"


def test_a_gpu_that_was_not_used_is_told() -> None:
    lines = ["0.00.001.000 I hello", "0.00.002.000 E ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device"]
    why = left_on_cpu(lines)
    assert why is not None
    assert why.cause == "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device."
    assert "r1tui doctor" in why.remedy
    assert left_on_cpu(lines[:1]) is None


NOT_READY = "0.00.044.862 E ggml_cuda_init: failed to initialize CUDA: system not yet initialized"
MISMATCH = (
    "0.00.044.862 E ggml_cuda_init: failed to initialize CUDA: "
    "system has unsupported display driver / cuda driver combination"
)


@pytest.mark.parametrize(
    ("line", "cause", "remedy"),
    [
        (NOT_READY, "CUDA is not ready", "`sudo systemctl enable --now nvidia-fabricmanager`"),
        (MISMATCH, "have different versions", "restart the machine"),
    ],
)
def test_a_driver_that_is_not_ready_or_not_of_one_version(line: str, cause: str, remedy: str) -> None:
    no_device = 'error while handling argument "--device": invalid device: CUDA0'
    found = diagnose([line, no_device], 1)
    assert (cause in found.cause, found.kind, found.evidence[0]) == (True, "lasting", line)
    assert remedy in in_commands(found.remedies)
    running = left_on_cpu([line])
    assert running is not None
    assert (running.cause, running.remedies) == (found.cause, found.remedies)


def test_a_server_that_ran_on_the_cpu_did_not_end_for_want_of_a_gpu() -> None:
    found = diagnose([NOT_READY, "0.09.000.000 I srv llama_server: model loaded"], -signal.SIGSEGV)
    assert (found.cause, found.kind) == ("llama-server was ended by SIGSEGV.", "passing")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0.00.001.000 E bad", "error"),
        ("0.00.001.000 I no error here", "other"),
        ("0.00.001.000 W hm", "warning"),
        ("warning: hm", "warning"),
        ("error: bad", "error"),
        ("", "other"),
    ],
)
def test_how_bad_a_line_is(line: str, said: str) -> None:
    assert level(line) == said


CUDA_OUT = [
    "0.01.000.000 I llama_context: constructing",
    "0.01.000.001 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 2438.00 MiB on device 0: "
    "cudaMalloc failed: out of memory",
    "0.01.000.002 E ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 2556428288",
]


def test_too_little_memory_on_a_gpu() -> None:
    found = diagnose([*CUDA_OUT, "0.01.000.003 E srv load_model: failed to load model, 'r1.gguf'"], 1)
    assert found.cause == "A GPU has too little free VRAM for this plan."
    assert "plan.n_cpu_moe" in in_commands(found.remedies)
    assert CUDA_OUT[1] in found.evidence
    assert found.gpu == "0"
    assert diagnose(["ggml_gallocr_reserve_n: failed to allocate RPC1 buffer of size 25"], 1).gpu == "RPC1"
    assert diagnose(["std::bad_alloc"], 1).gpu == ""


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: the resource allocation failed",
        "CUDA error: the library was not initialized",
        "CUDA error: out of memory",
        "ROCm error: CUBLAS_STATUS_ALLOC_FAILED",
        "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    ],
)
def test_memory_of_a_gpu_that_runs_out_in_the_middle_of_an_answer(said: str) -> None:
    lines = [
        "0.01.000.000 I srv llama_server: model loaded",
        f"4.01.000.001 E {said}",
        "4.01.000.002 E   current device: 0, in function cublas_handle at ggml-cuda/common.cuh:1534",
        "4.01.000.003 E   cublasCreate_v2(&cublas_handles[device][curr_stream_no])",
        "ggml-cuda.cu:109: CUDA error",
    ]
    found = diagnose(lines, -signal.SIGABRT)
    assert (found.kind, found.cause) == ("gpu_memory", "A GPU has too little free VRAM for this plan.")
    assert lines[1] in found.evidence
    assert found.gpu == "0"


def test_memory_that_sufficed_without_pipeline_parallelism_is_not_the_cause() -> None:
    recovered = [
        *CUDA_OUT,
        "0.01.000.003 W llama_context: compute buffer allocation failed, retrying without pipeline parallelism",
        "0.01.100.000 I srv llama_server: model loaded",
        "0.02.000.000 E something: went wrong entirely",
    ]
    found = diagnose(recovered, 1)
    assert (
        found.cause
        == "llama-server ended by itself with exit status 1. Its first error: something: went wrong entirely"
    )
    assert "VRAM" in diagnose([*recovered, *CUDA_OUT], 1).cause


@pytest.mark.parametrize(
    ("exit_status", "cause"),
    [
        (-signal.SIGILL, "built for another CPU"),
        (-signal.SIGKILL, "most likely by a person, or by the system"),
        (-signal.SIGTERM, "ended by SIGTERM"),
        (-signal.SIGSEGV, "ended by SIGSEGV"),
        (-99, "ended by signal 99"),
        (0, "ended by itself with exit status 0"),
        (None, "unknown reason"),
    ],
)
def test_the_exit_status_tells_when_the_log_does_not(exit_status: int | None, cause: str) -> None:
    found = diagnose(["0.00.000.001 I all is well"], exit_status)
    assert cause in found.cause
    assert in_commands(found.remedies)


def test_an_unknown_failure_shows_the_lines_around_the_first_error() -> None:
    lines = [f"0.00.000.{number:03} I step {number}" for number in range(50)]
    lines += ["0.01.000.000 E the thing that matters", *(f"#{number} frame" for number in range(30))]
    found = diagnose(lines, -signal.SIGABRT)
    assert found.cause == "llama-server was ended by SIGABRT. Its first error: the thing that matters"
    assert found.evidence[:3] == ("0.00.000.049 I step 49", "0.01.000.000 E the thing that matters", "#0 frame")


@given(st.lists(st.text(max_size=200) | st.just("\x1b[31mE error: out of memory\x1b[0m"), max_size=20), st.integers())
def test_any_log_has_a_diagnosis_without_control_characters(lines: list[str], exit_status: int) -> None:
    found = diagnose(lines, exit_status)
    assert found.cause
    assert in_commands(found.remedies)
    assert "\x1b" not in "".join((found.cause, *found.evidence))
