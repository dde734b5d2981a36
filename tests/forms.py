"""The forms of keypoints that are read: what the command, HTTP and gRPC do with each.

`tests/integration/test_forms.py` holds them to it, and `docs/generate.py` writes the table in docs/files.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """A form of file.

    Attributes:
        file: name in `tests/data/detectors`, or of what `tests/integration/test_forms.py` makes.
        skeleton: of what is read.
        needs: options that the command needs for it.
        people: how many are in it.
        is_body: whether the file is a body of POST /lift.
    """

    name: str
    file: str
    skeleton: str = "coco17"
    needs: str = "--fps --image-size"
    people: int = 1
    is_body: bool = False


FORMS = (
    Form("body of `POST /lift`", "request", needs="", is_body=True),
    Form("the same with `tracks`", "tracks", needs="", people=2, is_body=True),
    Form("the same with NaN for a missing joint", "nan.json", needs="", is_body=True),
    Form("the same with null for the numbers of a missing joint", "nulls.json", needs="", is_body=True),
    Form("the same with 0, 0 and a score for a missing joint", "zeros_with_scores.json", needs="", is_body=True),
    Form("the same with `[1080.0, 1920.0]` for the image size", "image_size_as_floats.json", needs="", is_body=True),
    Form("clip", "clip", needs=""),
    Form("OpenPose, BODY_25", "openpose", "body25"),
    Form("OpenPose, 18 joints", "openpose_coco18", "coco18"),
    Form("Pose2Sim, Sports2D (Halpe-26)", "pose2sim_halpe26", "halpe26"),
    Form("AlphaPose, tracked", "alphapose", people=2),
    Form("AlphaPose, `idx` 0 for everybody", "alphapose_all_idx_0.json", people=2),
    Form("COCO results, 0, 0, 1 for a missing joint", "coco_results_0_0_1.json"),
    Form("COCO annotations", "coco_annotations.json", needs="--fps"),
    Form("MMPose", "mmpose"),
    Form("MMPose, whole body", "mmpose_wholebody133.json", "wholebody133"),
    Form("Ultralytics, JSON", "ultralytics.json"),
    Form("Ultralytics, label files", "labels"),
    Form("detectors in browsers", "browser_poses.json"),
    Form("npz", "npz", needs=""),
    Form("npz, scores apart", "scores_apart.npz", needs="--fps --image-size --skeleton"),
    Form("npz, an axis of people", "people", needs="--fps --image-size", people=2),
    Form("npy", "npy", needs="--fps --image-size --skeleton"),
    Form("VideoPose3D", "videopose3d_custom.npz", needs="--fps"),
    Form("lifters' demos, `reconstruction`", "reconstruction.npz", "h36m17"),
    Form("PYSKL, MMAction2", "pickle", needs="--fps --skeleton"),
    Form("DeepLabCut, CSV", "deeplabcut"),
    Form("DeepLabCut, `.h5`", "deeplabcut_table.h5"),
    Form("SLEAP, `.h5`", "sleap"),
    Form("table, a column per number", "wide"),
    Form("table, a row per joint", "long"),
    Form("TRC in pixels", "trc", needs="--image-size"),
)


def table() -> str:
    """The forms and their verdicts, in Markdown."""
    lines = ["| form | `poselift lift` | the file as body of `POST /lift` | its keypoints over HTTP and gRPC |"]
    lines.append("|---|---|---|---|")
    for form in FORMS:
        options = f", with {' '.join(f'`{option}`' for option in form.needs.split())}" if form.needs else ""
        body = "lifted" if form.is_body else "422"
        lines.append(f"| {form.name} | lifted{options} | {body} | lifted as `{form.skeleton}` |")
    return "\n".join(lines)
