"""The machine, its libraries, and how fast its arithmetic and its memory are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from tests.gpu.context import REPOSITORY, Context


def facts(context: Context) -> None:
    """Report the card, the versions, and switches that change numbers."""
    if nvidia_smi := shutil.which("nvidia-smi"):
        query = ["--query-gpu=name,driver_version,memory.total,clocks.max.sm,mig.mode.current", "--format=csv,noheader"]
        run = subprocess.run([nvidia_smi, *query], capture_output=True, text=True, timeout=20, check=False)
        context.report("card", run.stdout.strip())
    context.report("torch", f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    header = Path(torch.__file__).parent / "include" / "ATen" / "cuda" / "CUDAContextLight.h"
    frees = header.is_file() and "clearCublasWorkspacesForStream" in header.read_text()
    context.report("graphs free the workspaces of their stream", frees)
    context.report("precision of products before", str(torch.backends.cuda.matmul.fp32_precision))
    forced = {name: value for name, value in os.environ.items() if "TF32" in name or name.startswith("CUBLAS")}
    context.report("switches in the environment", forced, "none", ok=not forced)
    if context.device == "cuda":
        _ceilings(context)


def _ceilings(context: Context) -> None:
    size = 256 if context.tiny else 8192
    for name, dtype, products in (
        ("bfloat16", torch.bfloat16, "ieee"),
        ("tf32", torch.float32, "tf32"),
        ("float32", torch.float32, "ieee"),
    ):
        left, right = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
        torch.backends.cuda.matmul.fp32_precision = products
        seconds = context.times_s(lambda left=left, right=right: left @ right, runs=5)  # type: ignore[misc]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        context.report(f"TFLOP/s of products in {name}", 2e-12 * size**3 / seconds)
    large = torch.empty(1 << (20 if context.tiny else 30), dtype=torch.uint8, device="cuda")
    seconds = context.times_s(lambda: large.clone(), runs=5)
    context.report("TB/s of copies", 2e-12 * large.nbytes / seconds)


def tests(context: Context) -> None:
    """Run the tests that need a GPU."""
    if context.device == "cpu":
        context.report("pytest -m gpu", "not run without a GPU")
        return
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-W",
        "default",
        "-p",
        "no:cacheprovider",
        *_gpu_tests(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    last = (run.stdout.strip() or run.stderr.strip()).splitlines()[-1:]
    context.report("pytest -m gpu", " ".join(last), "passes", ok=run.returncode == 0)
    for line in run.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            context.report("failed", line, "none", ok=False)


def _gpu_tests() -> list[str]:
    """The files with tests that need a GPU; collecting all others would take a minute."""
    files = sorted((REPOSITORY / "tests" / "unit").rglob("test_*.py"))
    return [str(file) for file in files if "mark.gpu" in file.read_text(encoding="utf-8")]
