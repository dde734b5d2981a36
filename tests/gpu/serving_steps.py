"""Networks on a GPU: whether they are right, what breaks them, and how fast they are."""

import contextlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import torch

from poselift.artifacts.artifact import Artifact
from poselift.networks.autotune import Benchmark
from poselift.networks.network import DeviceLost
from poselift.networks.torch_cuda import CudaNetwork
from tests.gpu.context import PRECISIONS, Context, reference, shipped, sync_warnings, untrained, windows_of

# The CPU lifts so many windows of each batch for comparison.
_COMPARED = 2
_WITHIN_M = {"float32": 1e-4, "tf32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
_SAME_FORM_M = {"float32": 1e-5, "bfloat16": 1e-3, "float16": 1e-3}


def right(context: Context) -> None:
    """Compare with the CPU, with other people on each replay, and recorded with eager networks."""
    for name, artifact in context.lifters("pstmo-s-81", "pstmo-s-243", "mixste-27", "completion-27"):
        expected = reference(artifact)
        few = {person: expected.lift(*windows_of(artifact, _COMPARED, person)) for person in range(6)}
        for precision in PRECISIONS:
            if context.is_over:
                context.report("cut short at", f"{name} {precision}")
                return
            answers = {}
            for cuda_graphs in (False, True):
                network = context.network(artifact, precision, cuda_graphs=cuda_graphs)
                worst = 0.0
                for person, size in enumerate(context.sizes(2, 3, 16, 100, 1024, 2)):
                    with contextlib.suppress(MemoryError):
                        poses = network.lift(*windows_of(artifact, size, person))
                        answers[cuda_graphs, person] = poses
                        worst = max(worst, _difference_m(poses, few[person]))
                network.close()
                context.at_most(f"{name} {precision} {_form(cuda_graphs)}, m from the CPU", worst, _WITHIN_M[precision])
            if precision in _SAME_FORM_M:
                both = [(answers[False, p], answers[True, p]) for f, p in answers if f and (False, p) in answers]
                worst = max((_difference_m(*pair) for pair in both), default=0.0)
                context.at_most(f"{name} {precision}, m between eager and recorded", worst, _SAME_FORM_M[precision])


def batch_sizes(context: Context) -> None:
    """How far the pose of a window depends on the batch it is in: a live frame against a clip."""
    for name, artifact in context.lifters("pstmo-s-81"):
        sizes = context.sizes(1, 2, 16, 256, 1024)
        for precision in PRECISIONS:
            network = context.network(artifact, precision, cuda_graphs=precision == "tf32")
            whole = network.lift(*windows_of(artifact, sizes[-1], 1))
            worst = max(_difference_m(network.lift(*windows_of(artifact, size, 1)), whole) for size in sizes)
            step = float(np.abs(np.diff(whole[..., :3], axis=0)).mean()) if len(whole) > 1 else float("nan")
            network.close()
            if precision in ("float32", "tf32"):
                context.at_most(f"{name} {precision}, m between batch sizes", worst, 1e-4)
            else:
                context.report(f"{name} {precision}, m between batch sizes", worst)
            context.report(f"{name} {precision}, share of a mean step", worst / step if step else None)


def workspaces(context: Context) -> None:
    """Drop one of two recorded networks, fill the freed memory, and replay the other."""
    artifact = shipped()
    kept, dropped = (context.network(artifact, "float32", cuda_graphs=True) for _ in range(2))
    windows = [windows_of(artifact, size, 1) for size in context.sizes(1, 16)]
    expected = [reference(artifact).lift(*these) for these in windows]
    for network in (kept, dropped):
        for these in windows:
            network.lift(*these)
    streams = [context.gpu._handle(network._stream) for network in (kept, dropped)]
    context.report("streams", [hex(stream) for stream in streams], "different", ok=len(set(streams)) == 2)
    dropped.close()
    if context.device == "cuda":
        torch.cuda.empty_cache()
        filler = torch.full((1 << 29,), torch.nan, device="cuda")
        torch.cuda.synchronize()
        del filler
    worst = max(_difference_m(kept.lift(*these), right) for these, right in zip(windows, expected, strict=True))
    context.at_most("m from the CPU after another network was dropped", worst, 1e-4)


def memcheck(context: Context) -> None:
    """Look for accesses to memory that is not allocated, in a run of `workspaces` for single windows."""
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if context.device == "cpu" or sanitizer is None:
        reason = "there is no GPU" if context.device == "cpu" else "compute-sanitizer is not installed"
        context.report("skipped", reason)
        return
    command = [sanitizer, "--tool", "memcheck", "--error-exitcode", "9", sys.executable, "-m", "tests.gpu.prove"]
    command += ["--step=workspaces", "--tiny", "--device=cuda"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    context.report("exit code", run.returncode, "0", ok=run.returncode == 0)
    if run.returncode:
        context.report("its last lines", run.stdout.splitlines()[-8:])


def failures(context: Context) -> None:
    """Record beside traffic, run out of memory, and lose the device."""
    artifact = shipped()
    serving, other = (context.network(artifact, "float32", cuda_graphs=graphs) for graphs in (False, True))
    frames, index = windows_of(artifact, 4, 1)
    expected = reference(artifact).lift(frames, index)
    stop, differences = threading.Event(), [0.0]

    def traffic() -> None:
        while not stop.is_set():
            differences.append(_difference_m(serving.lift(frames, index), expected))

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        Benchmark.of(artifact.manifest).warm_all_sizes(other, 4 if context.tiny else 256)
    finally:
        stop.set()
        thread.join()
    context.report("lifts beside recordings", len(differences) - 1, "> 0", ok=len(differences) > 1)
    context.at_most("m from the CPU beside recordings", max(differences), 1e-4)
    context.report("records after traffic", other._uses_graphs, "True", ok=other._uses_graphs)
    if context.device == "cuda":
        _run_out_of_memory(context, other, artifact)
        _lose_device(context, serving, artifact)


def _run_out_of_memory(context: Context, network: CudaNetwork, artifact: Artifact) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (16 << 20)) / total)
    try:
        network.lift(*windows_of(artifact, 4096))
        context.report("4096 windows in little memory", "fit", "MemoryError", ok=False)
    except MemoryError:
        context.report("4096 windows in little memory", "MemoryError", "MemoryError", ok=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    frames, index = windows_of(artifact, 16, 2)
    worst = _difference_m(network.lift(frames, index), reference(artifact).lift(frames, index))
    context.at_most("m from the CPU after that", worst, 1e-4)
    context.report("records after that", network._uses_graphs, "True", ok=network._uses_graphs)


def _lose_device(context: Context, network: CudaNetwork, artifact: Artifact) -> None:
    frames, index = windows_of(artifact, 2)
    found = []
    for bad in (np.full_like(index, 1_000_000_000), index):
        try:
            network.lift(frames, bad)
            found.append("poses")
        except Exception as error:
            found.append(type(error).__name__)
    is_right = found == [DeviceLost.__name__] * 2
    context.report("an illegal index, and a lift after it", found, "DeviceLost twice", ok=is_right)


def waits(context: Context) -> None:
    """Count how often the host waits for the GPU in a lift."""
    for name, artifact in context.lifters("pstmo-s-81", "mixste-27", "completion-27"):
        for cuda_graphs in (False, True):
            network = context.network(artifact, "float32", cuda_graphs=cuda_graphs)
            these = windows_of(artifact, 4)
            network.lift(*these)
            with sync_warnings(context) as found:
                network.lift(*these)
            network.close()
            name_of = f"{name} {_form(cuda_graphs)}, waits in a lift"
            context.report(name_of, len(found), "1", ok=len(found) == 1 if context.device == "cuda" else None)


def speed(context: Context) -> None:
    """Median times of lifts, and the first time at a new batch size."""
    variants = [("float32", False), ("float32", True), ("tf32", True), ("bfloat16", False), ("bfloat16", True)]
    for name, artifact in context.lifters("pstmo-s-81", "pstmo-s-243"):
        sizes = context.sizes(1, 16, 64, 256, 1024) if name == "pstmo-s-81" else context.sizes(1, 1024)
        for precision, cuda_graphs in variants:
            network = context.network(artifact, precision, cuda_graphs=cuda_graphs)
            for size in reversed(sizes):
                if context.is_over:
                    context.report("cut short at", f"{name} {precision} {size}")
                    return
                these = windows_of(artifact, size)
                started = time.perf_counter()
                network.lift(*these)
                first_s = time.perf_counter() - started
                seconds = context.times_s(lambda these=these, network=network: network.lift(*these))  # type: ignore[misc]
                label = f"{name} {precision} {_form(cuda_graphs)} {size}"
                context.report(f"{label}: windows/s", size / seconds)
                context.report(f"{label}: ms, first ms", [round(1e3 * seconds, 3), round(1e3 * first_s, 1)])
            network.close()


def attention(context: Context) -> None:
    """First and second time of batch sizes in bfloat16, kernel by kernel, with attention by cuDNN and without."""
    artifact = untrained("pstmo-s-81", tiny=context.tiny)
    benchmark = Benchmark.of(artifact.manifest)
    sizes = context.sizes(1) if context.tiny else [33, 34, 35, 36]
    for by_cudnn in (False, True):
        network = context.network(artifact, "bfloat16", cuda_graphs=False)
        network.lift(*benchmark.windows(8))
        torch.backends.cuda.enable_cudnn_sdp(by_cudnn)
        try:
            taken = []
            for size in sizes:
                these = benchmark.windows(size)
                for _ in range(2):
                    started = time.perf_counter()
                    network.lift(*these)
                    taken.append(round(1e3 * (time.perf_counter() - started), 1))
        finally:
            torch.backends.cuda.enable_cudnn_sdp(False)
        network.close()
        label = "with cuDNN" if by_cudnn else "without"
        context.report(f"{label}: ms of {sizes} windows, first time", taken[::2])
        context.report(f"{label}: ms of them, second time", taken[1::2])


def _difference_m(poses: np.ndarray, others: np.ndarray) -> float:
    windows = min(len(poses), len(others))
    return float(np.abs(poses[:windows, ..., :3] - others[:windows, ..., :3]).max())


def _form(cuda_graphs: bool) -> str:
    return "recorded" if cuda_graphs else "eager"


def warm_up(context: Context) -> None:
    """Warm engines up as the server does: time, choice and memory."""
    import asyncio

    from poselift_service.inference.engine import engine_for

    from poselift.networks.cuda_device import memory_in_use

    def memory() -> list[int] | None:
        return [round(used / 1e6) for used in memory_in_use()] if context.device == "cuda" else None

    names = ("pstmo-s-81",) if context.tiny else ("pstmo-s-81", "pstmo-s-243")
    artifacts = [("shipped", shipped()), *((name, untrained(name, tiny=context.tiny)) for name in names)]
    for name, artifact in artifacts[1:] if context.tiny else artifacts:
        before, started = memory(), time.perf_counter()
        engine = engine_for(artifact, library="auto", device=context.device, threads=0, precision="auto")
        asyncio.run(engine.warm_up())
        context.at_most(f"{name}: seconds to warm up", time.perf_counter() - started, 30)
        context.report(f"{name}: chosen", f"{engine.variant}, graphs {engine.variant.cuda_graphs}")
        context.report(f"{name}: windows per batch", engine.batch_windows)
        warm = memory()
        engine.close()
        context.report(f"{name}: MB in use and reserved: before, warm, closed", [before, warm, memory()])
