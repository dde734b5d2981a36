"""What the documents say of the shipped model, taken from its label, manifest, card and poses.

Whoever publishes another version moves the label `stable`, and runs `python docs/generate.py`; `docs/draw_sample.py`,
`docs/draw_accuracy.py` and `docs/draw_world.py` draw the pictures.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

from torch import nn

from poselift import lifting, load_artifact
from poselift.artifacts.artifact import Artifact
from poselift.formats.readers.keypoint_file import read_keypoints
from poselift.lifters.systems import configure, served_cost
from tests.shipped_model import NAME, SHIPPED_MODEL

SAMPLE = Path(__file__).parents[1] / "service" / "poselift_service" / "web" / "sample.json"
TABLE_BEGIN = "<!-- Begin of the table of docs/generate.py; `make check` compares. -->\n"
TABLE_END = "<!-- End of the table. -->"

# Of the last version that gave one pose for a window; the shipped one is shown beside it. Its card is in the history.
VERSION_4 = {
    "exact 2D": "51.3",
    "detector-like 2D": "61.3",
    "P-MPJPE, exact; detector-like": "38.0; 42.9",
    "live, detector-like 2D, lookahead 0; 5; 15": "67.0; 63.9; 62.4",
    "Gaussian noise of 0.03 on exact 2D": "62.3",
    "exact 2D, 20 %; 40 % of joints missing at random": "51.5; 52.5",
    "exact 2D, without one arm or leg": "67 to 72",
    "hard motion held out, exact; detector-like": "72.6; 81.9",
    "velocity error, mm per frame, exact; detector-like": "3.5; 5.5",
}
# Another processor rounds otherwise.
_SAME_M = 1e-4

Row = dict[str, str]


@cache
def shipped() -> Artifact:
    """The version that the bare name means."""
    return load_artifact(SHIPPED_MODEL)


def name_version(text: str) -> str:
    """Replace the version in paths and references of the shipped model."""
    version = shipped().manifest.version
    text = re.sub(rf"models/{NAME}/\d+", f"models/{NAME}/{version}", text)
    text = re.sub(rf"{NAME}@\d+ is intact", f"{NAME}@{version} is intact", text)
    return re.sub(r'\{"stable": \d+\}', f'{{"stable": {version}}}', text)


def readme(text: str) -> str:
    """README.md with the answer about the sample, and what the card says of accuracy."""
    manifest = shipped().manifest
    text = re.sub(
        rf'"name": "{NAME}", "version": \d+, "digest": "\w+"',
        f'"name": "{NAME}", "version": {manifest.version}, "digest": "{manifest.weights_sha256[:16]}"',
        text,
    )
    (track,) = read_keypoints(SAMPLE).tracks
    lifted = lifting.lift(shipped(), track.sequence)
    text = _with_numbers(text, r' "poses": \[\[(.*), \.\.\.\], \.\.\.\],\n', lifted.joints[0, :3].tolist())
    assert lifted.expected_error_m is not None
    expected_m = lifted.expected_error_m[0, :3].tolist()
    text = _with_numbers(text, r' "expected_error_m": \[(\[.*), \.\.\.\], \.\.\.\],\n', expected_m, opening="[")
    scores, live = _tables()["Scores, test split"], _tables()["Lookahead"]
    exact, detected = (float(scores[f"MPJPE, {kind}"][_served(scores)]) for kind in ("exact", "detector-like"))
    text = _replaced(
        text,
        r"- Accuracy of the shipped model: .*\n",
        f"- Accuracy of the shipped model: {exact:.0f} mm MPJPE with exact keypoints, {detected:.0f} mm with "
        f"detector-like ones; {float(live['0 frames']['MPJPE']):.0f} mm live without lookahead.\n",
    )
    return _replaced(
        text, r"- Size: .* M parameters, \d+ MB of weights", f"- Size: {_parameters()}, {_weights_mb()} MB of weights"
    )


def models(text: str) -> str:
    """docs/models.md with the version and the size of the shipped model."""
    manifest = shipped().manifest
    cost = served_cost(manifest.system, configure(manifest.system, manifest.network))
    text = re.sub(r"[\d.]+ M parameters(?=, trained)", _parameters(), name_version(text))
    text = re.sub(r"[\d.]+ MFLOP(?= per pose of a clip)", f"{cost.clip_pose / 1e6:.1f} MFLOP", text)
    return re.sub(r"(?<=computed, costs )\d+ MFLOP", f"{cost.live_frame / 1e6:.0f} MFLOP", text)


def own_recipe(text: str) -> str:
    """The recipe that goes on from the shipped model, with its network."""
    before, head, rest = text.partition("[network]")
    network, end, rest = rest.partition("\n[data]")
    for key, value in shipped().manifest.network.items():
        network = re.sub(rf"^{key} = .*$", f"{key} = {json.dumps(value)}", network, flags=re.MULTILINE)
    return name_version(before + head + network + end + rest)


def _parameters() -> str:
    module = cast(nn.Module, shipped().lifter)
    return f"{sum(tensor.numel() for tensor in module.parameters()) / 1e6:.1f} M parameters"


def _weights_mb() -> str:
    return f"{(SHIPPED_MODEL / 'model.safetensors').stat().st_size / 1e6:.0f}"


def accuracy(text: str) -> str:
    """docs/accuracy.md with the errors of the shipped model."""
    version = shipped().manifest.version
    rows = [
        f"| MPJPE in mm | version {version} | version 4 | flat figure of true size | mean pose |",
        "|---|---|---|---|---|",
        *(f"| {name} | {now} | {VERSION_4[name]} | {flat} | {mean} |" for name, now, flat, mean in _errors()),
    ]
    return name_version(with_table(text, "\n".join(rows)))


def _errors() -> Iterator[tuple[str, str, str, str]]:
    """Rows of the card: what was measured, of this version, of a flat figure, and of the mean pose."""
    tables = _tables()
    scores, live, missing = tables["Scores, test split"], tables["Lookahead"], tables["Missing joints"]
    served = _served(scores)

    def score(*rows: str, by: str) -> str:
        return "; ".join(f"{float(scores[row][by]):.1f}" for row in rows)

    for name, *rows in (
        ("exact 2D", "MPJPE, exact"),
        ("detector-like 2D", "MPJPE, detector-like"),
        ("P-MPJPE, exact; detector-like", "P-MPJPE, exact", "P-MPJPE, detector-like"),
    ):
        yield name, score(*rows, by=served), score(*rows, by="flat figure"), score(*rows, by="mean pose")
    by_lookahead = "; ".join(live[f"{frames} frames"]["MPJPE"] for frames in (0, 5, 15))
    yield "live, detector-like 2D, lookahead 0; 5; 15", by_lookahead, "", ""
    noisy = tables["Errors of the keypoints"]["Gaussian, 0.03"]["MPJPE"]
    yield "Gaussian noise of 0.03 on exact 2D", noisy, "", ""
    some = "; ".join(missing[share]["MPJPE"] for share in ("20 %", "40 %"))
    yield "exact 2D, 20 %; 40 % of joints missing at random", some, "", ""
    limbs = [float(missing[f"{side} {limb}"]["MPJPE"]) for side in ("left", "right") for limb in ("arm", "leg")]
    yield "exact 2D, without one arm or leg", f"{min(limbs):.0f} to {max(limbs):.0f}", "", ""
    if hard := _held_out_mm():
        yield "hard motion held out, exact; detector-like", "; ".join(f"{mpjpe_mm:.1f}" for mpjpe_mm in hard), "", ""
    velocities = ("velocity, exact", "velocity, detector-like")
    name = "velocity error, mm per frame, exact; detector-like"
    yield name, score(*velocities, by=served), score(*velocities, by="flat figure"), score(*velocities, by="mean pose")


def _held_out_mm() -> list[float]:
    """MPJPE of the people held out of training, exact and detector-like, as the manifest has it."""
    scores = shipped().manifest.scores
    return [score["mpjpe_mm"] for score in scores if score.get("held_out") and score["poses"] == "blended"]


def streaming(text: str) -> str:
    """docs/streaming.md with the errors by lookahead."""
    live = _tables()["Lookahead"]
    delays = {"0": "none", "5": "0.1 s", "15": "0.3 s, what is recommended"}
    manifest = shipped().manifest
    window_s = int(manifest.network["frames"]) * manifest.temporal_stride / manifest.frame_rate_hz
    rows = [
        "| lookahead at 50 fps | delay | MPJPE of the shipped model, detector-like keypoints |",
        "|---|---|---|",
        *(f"| {frames} | {delay} | {live[f'{frames} frames']['MPJPE']} mm |" for frames, delay in delays.items()),
        f"| full | {window_s / 2:.1f} to {window_s:.1f} s, in blocks | {live['full']['MPJPE']} mm |",
    ]
    return with_table(text, "\n".join(rows))


def cost_and_errors() -> dict[str, Any]:
    """The shipped model as a row of docs/accuracy_over_cost.toml."""
    manifest = shipped().manifest
    cost = served_cost(manifest.system, configure(manifest.system, manifest.network))
    scores, live = _tables()["Scores, test split"], _tables()["Lookahead"]
    errors = {kind: float(scores[f"MPJPE, {kind}"][_served(scores)]) for kind in ("exact", "detector-like")}
    return {
        "name": f"version {manifest.version}",
        "clip": {"mflop": cost.clip_pose / 1e6, "exact": errors["exact"], "detector": errors["detector-like"]},
        "live": {
            "mflop": cost.live_frame / 1e6,
            **{f"lookahead_{frames}": float(live[f"{frames} frames"]["MPJPE"]) for frames in (0, 5)},
        },
    }


PAGES: dict[str, Callable[[str], str]] = {
    "README.md": readme,
    "docs/accuracy.md": accuracy,
    "docs/models.md": models,
    "docs/streaming.md": streaming,
    "poselift/__init__.py": name_version,
    "training/recipes/own.toml": own_recipe,
}


@cache
def _tables() -> dict[str, dict[str, Row]]:
    """The first table of each section of the card, by heading, row and column."""
    card = (SHIPPED_MODEL / "card.md").read_text(encoding="utf-8")
    tables = {}
    for section in card.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        if found := re.search(r"(?:^\|.*\n)+", text, re.MULTILINE):
            (_, *columns), _, *rows = (_cells(line) for line in found[0].splitlines())
            tables[heading] = {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows}
    return tables


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]


def _served(scores: dict[str, Row]) -> str:
    """The column of the poses that `POST /lift` gives."""
    return "blended" if "blended" in scores["MPJPE, exact"] else "plain"


def with_table(text: str, table: str) -> str:
    """Replace what stands between the marks of a generated table."""
    before, _, rest = text.partition(TABLE_BEGIN)
    return f"{before}{TABLE_BEGIN}\n{table}\n\n{TABLE_END}{rest.partition(TABLE_END)[2]}"


def _with_numbers(text: str, pattern: str, numbers: list[float] | list[list[float]], opening: str = "") -> str:
    """Replace the numbers in the group of a pattern, unless those that are there are the same but for rounding."""
    found = re.search(pattern, text)
    assert found is not None, f"README.md has nothing like {pattern}"
    shown, now = f"[{found[1].removeprefix(opening)}]", [_rounded(number) for number in numbers]
    if _is_close(json.loads(shown), now):
        return text
    return text[: found.start(1)] + opening + json.dumps(now)[1:-1] + text[found.end(1) :]


def _rounded(number: float | list[float]) -> float | list[float]:
    return [round(part, 5) for part in number] if isinstance(number, list) else round(number, 5)


def _is_close(shown: object, now: object) -> bool:
    if isinstance(shown, list) and isinstance(now, list):
        return len(shown) == len(now) and all(map(_is_close, shown, now))
    return isinstance(shown, float) and isinstance(now, float) and math.isclose(shown, now, abs_tol=_SAME_M)


def _replaced(text: str, pattern: str, line: str) -> str:
    text, times = re.subn(pattern, lambda _: line, text)
    assert times == 1, f"README.md has {times} lines like {pattern}"
    return text
