"""The tests that train, run as other processors would run them: ``make test-portable``.

Every library that adds numbers up (PyTorch's kernels, oneDNN, MKL, the OpenBLAS of NumPy and SciPy,
NumPy's own loops) is held to an older instruction set. Sums are then rounded otherwise, and
networks learn something else: what passes here is what must hold on any machine. Where the
processor has no such sets (Arm), only the number of threads differs. What a processor with AVX2 and
no more would run as itself is left to ``make test``.

    python tests/portable.py [tests, and options of pytest, instead of those below]
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time

import torch

# oneDNN's limit also decides whether training asks for bfloat16: see `training.has_bfloat16`.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # on Intel's processors
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
SSE = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
}
# What says the same on any processor: signals, processes, and what a sweep is made of.
SAME_ANYWHERE = (
    *("kill", "one_process_finishes", "two_processes_and_a_server"),
    *("what_cannot_be_read", "no_thread_outlives", "gradients_of_rows"),
    *("trials_can_be_added", "a_grid_without_a_space"),
)
OTHERS = ("-k", " and ".join(f"not {name}" for name in SAME_ANYWHERE))
TRAINING = (
    *(f"tests/{room}" for room in ("nn", "training", "embeddings", "identifiers", "tokenizers")),
    *(f"tests/{room}" for room in ("decoding", "recommenders", "evaluation", "studies")),
    *("tests/runs/test_reuse.py", "tests/reports/test_html.py"),
    *("tests/serving/test_engine.py", "tests/serving/editing/test_editor.py"),
    *("tests/serving/test_bulk.py", "tests/serving/http/test_app.py"),
    *OTHERS,
)
# Two threads take turns on small tensors, and take their time.
THREADS = (
    *("tests/recommenders/rqt/test_model.py", "tests/recommenders/tiger/test_model.py"),
    *("tests/tokenizers/test_letter.py", "tests/embeddings/test_collaborative.py"),
    *("tests/training/test_threads.py", "tests/evaluation/test_protocol.py"),
    *("tests/serving/test_engine.py", "tests/serving/editing/test_editor.py"),
    *OTHERS,
)
CORES = 2  # that processes and their threads share
MACHINES = (
    ("AVX2, no bfloat16, 1 thread", AVX2, 1, TRAINING),
    ("SSE, no bfloat16, 2 threads", SSE, 2, THREADS),
)


def main() -> int:
    """Run each machine's tests; the exit status of the first that fails."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    for name, limits, threads, tests in MACHINES:
        limits = limits if is_x86 else {}
        if limits is AVX2 and tests is TRAINING and _is_avx2_alone() and not sys.argv[1:]:
            print(f"== {name}: this processor, as make test runs it", flush=True)
            continue
        shown = " ".join(f"{key}={value!r}" for key, value in limits.items())
        print(f"== {name}: OMP_NUM_THREADS={threads} {shown}", flush=True)
        environment = {**os.environ, **limits, "OMP_NUM_THREADS": str(threads)}
        environment["OMP_WAIT_POLICY"] = "PASSIVE"  # a thread that waits leaves its core to others
        processes = str(CORES // threads)
        pytest = [sys.executable, "-m", "pytest", "-n", processes, "--dist", "worksteal"]
        started = time.monotonic()
        status = subprocess.run([*pytest, *(sys.argv[1:] or tests)], env=environment).returncode
        print(f"== {name}: {time.monotonic() - started:.0f} s", flush=True)
        if status:
            return status
    return 0


def _is_avx2_alone() -> bool:
    """Whether the processor has no more than AVX2, and so no bfloat16."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


if __name__ == "__main__":
    sys.exit(main())
