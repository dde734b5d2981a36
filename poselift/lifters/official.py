"""Official P-STMO checkpoints, into our modules and back.

A checkpoint must fit tensor by tensor: sizes are read from it, the network they describe is laid out, and whatever is
missing, left over or of another shape is named. Files are read as tensors only; a pickle that wants more is refused.

Our modules do without the official tensors that nothing reads: norms that are never called, rows of positions that are
sliced away. Importing drops them, exporting writes them as a fresh official network has them (ones and zeros).

Source: official code at commit aea43d0, `run.py` for the files and `model/` for the tensors that nothing reads.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import torch
from torch import Tensor, nn

from poselift.errors import InvalidArtifact, InvalidCheckpoint
from poselift.lifters.blocks import TAPS
from poselift.lifters.pstmo import STMO, MaskedPoseModel, RefineModule, STMOConfig

Source = Mapping[str, Tensor] | str | os.PathLike[str]
"""A state dict, or a file that holds one."""

_PREFIX = "module."  # left by DataParallel
_HEADS = 8  # in every official network; no tensor shows it
_MOST_NAMED = 5


def import_pstmo(source: Source, refine: Source | None = None) -> tuple[STMO, RefineModule | None]:
    """Read an official stage II checkpoint, and the one of its refine module if there is one.

    Returns:
        The lifter and the refine module, float32, in eval mode.
    Raises:
        InvalidCheckpoint: no file of tensors, or tensors that are no such network; the ones at fault are named.
    """
    origin, tensors = _read(source)
    config = _config(tensors, origin, joints_out=_size(tensors, origin, "fcn.1.weight", 0) // 3)
    with torch.device("meta"):
        expected = export_pstmo(STMO(config))
    _check_fit(tensors, expected, origin)
    lifter = STMO(config)
    _load(lifter, lifter_matches(config), tensors)
    return lifter.eval(), None if refine is None else _import_refine(refine)


def import_pretrained(source: Source) -> MaskedPoseModel:
    """Read an official stage I checkpoint (masked pose modelling).

    Returns:
        The model, float32, in eval mode.
    Raises:
        InvalidCheckpoint: as `import_pstmo`.
    """
    origin, tensors = _read(source)
    config = _config(tensors, origin, joints_out=STMOConfig.joints_out)
    with torch.device("meta"):
        expected = export_pretrained(MaskedPoseModel(config))
    _check_fit(tensors, expected, origin)
    model = MaskedPoseModel(config)
    _load(model, pretraining_matches(config), tensors)
    return model.eval()


def export_pstmo(lifter: STMO) -> dict[str, Tensor]:
    """Write a lifter as the state dict an official stage II network loads (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the lifter has parts the official network lacks.
    """
    if lifter.config.mask_token or lifter.config.person_centred:
        raise InvalidCheckpoint("An official network knows neither missing joints nor person-centred input.")
    official = _to_official(lifter, lifter_matches(lifter.config))
    norms = {"Transformer": lifter.config.channels, "Transformer_reduce": lifter.config.channels}
    return official | _unused_norms(norms)


def official_parameters(config: STMOConfig) -> int:
    """Parameters of the official network of these sizes, with those that never change its output."""
    with torch.device("meta"):
        official = export_pstmo(STMO(config))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return sum(value.numel() for name, value in official.items() if not name.endswith(buffers))


def export_pretrained(model: MaskedPoseModel) -> dict[str, Tensor]:
    """Write a stage I model as the state dict an official one loads (without the `module.` prefix).

    Raises:
        InvalidCheckpoint: the model has parts the official network lacks.
    """
    if model.config.person_centred:
        raise InvalidCheckpoint("An official network does not know person-centred input.")
    official = _to_official(model, pretraining_matches(model.config))
    norms = {"Transformer": model.config.channels, "Transformer_dec": model.config.channels // 2}
    return official | _unused_norms(norms)


def _unused_norms(channels: Mapping[str, int]) -> dict[str, Tensor]:
    gains = {f"{owner}.model.norm.a_2": torch.ones(width) for owner, width in channels.items()}
    shifts = {f"{owner}.model.norm.b_2": torch.zeros(width) for owner, width in channels.items()}
    return gains | shifts


def _import_refine(source: Source) -> RefineModule:
    origin, tensors = _read(source)
    joints = _size(tensors, origin, "post_refine.3.weight", 0) // 2
    with torch.device("meta"):
        expected = RefineModule(max(joints, 1)).state_dict()
    names = {"post_refine.0": "widen", "post_refine.3": "narrow"}
    matches = [match for theirs, ours in names.items() for match in _product_matches(ours, theirs, Form.SAME)]
    _check_fit(tensors, {match.official[0]: expected[match.ours] for match in matches}, origin)
    refine = RefineModule(joints)
    _load(refine, matches, tensors)
    return refine.eval()


def _read(source: Source) -> tuple[str, dict[str, Tensor]]:
    """Where the tensors came from, in words, and the tensors, without `module.`."""
    content: object
    if isinstance(source, str | os.PathLike):
        origin, content = f"The checkpoint {Path(source)}", _read_file(Path(source))
    else:
        origin, content = "The checkpoint", source
    if not isinstance(content, Mapping) or not content:
        raise InvalidCheckpoint(f"{origin} holds no named tensors.")
    tensors = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InvalidCheckpoint(f"{origin} is no plain state dict: its entry {str(name)[:80]!r} is not a tensor.")
        tensors[name.removeprefix(_PREFIX)] = tensor
    return origin, tensors


def _read_file(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InvalidCheckpoint(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a broken or hostile pickle fails in more ways than can be listed
        raise InvalidCheckpoint(f"The checkpoint {path} is not a PyTorch file of tensors alone.") from error


def _config(tensors: Mapping[str, Tensor], origin: str, joints_out: int) -> STMOConfig:
    layers = {match[1] for name in tensors if (match := re.match(r"Transformer\.model\.layers\.(\d+)\.", name))}
    try:
        return STMOConfig(
            frames=_size(tensors, origin, "Transformer.pos_embedding", 1),
            channels=_size(tensors, origin, "encoder.fc_2.weight", 0),
            hidden=_size(tensors, origin, "Transformer.model.layers.0.feed_forward.w_1.weight", 0),
            layers=len(layers),
            heads=_HEADS,
            joints_in=_size(tensors, origin, "encoder.fc_1.weight", 1) // 2,
            joints_out=joints_out,
        )
    except InvalidArtifact as error:
        raise InvalidCheckpoint(f"{origin} is no P-STMO network: {error.message}") from error


def _size(tensors: Mapping[str, Tensor], origin: str, name: str, axis: int) -> int:
    if name not in tensors:
        raise InvalidCheckpoint(f"{origin} lacks the tensor {name}.")
    shape = tensors[name].shape
    if len(shape) <= axis:
        raise InvalidCheckpoint(f"{origin} does not fit: {name} is {list(shape)}.")
    return shape[axis]


def _check_fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], origin: str) -> None:
    faults = []
    if missing := expected.keys() - tensors.keys():
        faults.append(f"it lacks {_listed(missing)}")
    if unknown := tensors.keys() - expected.keys():
        faults.append(f"it has the unknown {_listed(unknown)}")
    misshapen = {
        f"{name} {list(tensors[name].shape)} (needed: {list(tensor.shape)})"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    }
    if misshapen:
        faults.append(f"of another shape is {_listed(misshapen)}")
    if faults:
        raise InvalidCheckpoint(f"{origin} does not fit: {'; '.join(faults)}.")
    not_finite = {name for name, tensor in tensors.items() if not tensor.isfinite().all()}
    if not_finite:
        raise InvalidCheckpoint(f"{origin} holds values that are not finite in {_listed(not_finite)}.")


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _MOST_NAMED
    return ", ".join(ordered[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


class Form(Enum):
    """How an official tensor lies in memory beside ours."""

    SAME = auto()
    KERNEL_1 = auto()  # [out, in, 1] for our [out, in]
    TAPS = auto()  # [out, in, 3] for our tap-major [out, 3 * in]
    ROWS = auto()  # [1, N, C] for our [rows in use, C]; the first rows are the ones in use
    LEADING = auto()  # [1, 1, C] for our [C]
    STACKED = auto()  # query, key and value apart, for our one tensor


@dataclass(frozen=True)
class Match:
    """One of our tensors, and the official one (or three) it is made of."""

    ours: str
    official: tuple[str, ...]
    form: Form = Form.SAME


def lifter_matches(config: STMOConfig) -> list[Match]:
    """Every tensor of `STMO(config)` that an official stage II network holds too."""
    return [
        *_encoder_matches(config),
        *_aggregator_matches(config),
        *_head_matches("centre_head", "fcn"),
        *_head_matches("frames_head", "fcn_1"),
    ]


def pretraining_matches(config: STMOConfig) -> list[Match]:
    """Every tensor of `MaskedPoseModel(config)`."""
    matches = [
        *_encoder_matches(config),
        Match("embedding.mask_token", ("spatial_mask_token",), Form.LEADING),
        Match("encoded_norm.weight", ("encoder_LN.a_2",)),
        Match("encoded_norm.bias", ("encoder_LN.b_2",)),
        Match("to_decoder.weight", ("encoder_to_decoder.weight",)),
        Match("hidden_frame_token", ("mask_token",), Form.LEADING),
        Match("decoder_position", ("dec_pos_embedding",), Form.ROWS),
        *_head_matches("head", "fcn_dec"),
    ]
    for layer in range(config.layers - 1):
        matches += _transformer_matches(f"decoder.{layer}", f"Transformer_dec.model.layers.{layer}")
    return matches


def _encoder_matches(config: STMOConfig) -> Iterator[Match]:
    ours, official = "embedding.encoder", "encoder"
    products = {"widen": "fc_1", "inner_1": "layers.0.w1", "inner_2": "layers.0.w2", "narrow": "fc_2"}
    norms = {"widen_norm": "bn_1", "inner_norm_1": "layers.0.batch_norm1", "inner_norm_2": "layers.0.batch_norm2"}
    for mine, theirs in products.items():
        yield from _product_matches(f"{ours}.{mine}", f"{official}.{theirs}", Form.KERNEL_1)
    for mine, theirs in norms.items():
        yield from _batch_norm_matches(f"{ours}.{mine}", f"{official}.{theirs}")
    yield Match("temporal.position", ("Transformer.pos_embedding",), Form.ROWS)
    for layer in range(config.layers):
        yield from _transformer_matches(f"temporal.layers.{layer}", f"Transformer.model.layers.{layer}")


def _aggregator_matches(config: STMOConfig) -> Iterator[Match]:
    for number in range(3):
        official = f"Transformer_reduce.model.pos_embedding_{number + 1}"
        yield Match(f"aggregator.positions.{number}", (official,), Form.ROWS)
    for layer in range(len(config.strides)):
        ours, official = f"aggregator.layers.{layer}", f"Transformer_reduce.model.layers.{layer}"
        yield from _attention_matches(ours, official)
        yield from _product_matches(f"{ours}.widen", f"{official}.feed_forward.w_1", Form.KERNEL_1)
        yield from _product_matches(f"{ours}.narrow", f"{official}.feed_forward.w_2", Form.TAPS)


def _transformer_matches(ours: str, official: str) -> Iterator[Match]:
    yield from _attention_matches(ours, official)
    yield from _product_matches(f"{ours}.widen", f"{official}.feed_forward.w_1", Form.SAME)
    yield from _product_matches(f"{ours}.narrow", f"{official}.feed_forward.w_2", Form.SAME)


def _attention_matches(ours: str, official: str) -> Iterator[Match]:
    linears = f"{official}.self_attn.linears"
    for kind in ("weight", "bias"):
        stacked = tuple(f"{linears}.{index}.{kind}" for index in range(3))
        yield Match(f"{ours}.attention.query_key_value.{kind}", stacked, Form.STACKED)
        yield Match(f"{ours}.attention.out.{kind}", (f"{linears}.3.{kind}",))
    for index, norm in enumerate(("attention_norm", "network_norm")):
        yield Match(f"{ours}.{norm}.weight", (f"{official}.sublayer.{index}.norm.a_2",))
        yield Match(f"{ours}.{norm}.bias", (f"{official}.sublayer.{index}.norm.b_2",))


def _head_matches(ours: str, official: str) -> Iterator[Match]:
    yield from _batch_norm_matches(f"{ours}.norm", f"{official}.0")
    yield from _product_matches(f"{ours}.out", f"{official}.1", Form.KERNEL_1)


def _product_matches(ours: str, official: str, weight_form: Form) -> Iterator[Match]:
    yield Match(f"{ours}.weight", (f"{official}.weight",), weight_form)
    yield Match(f"{ours}.bias", (f"{official}.bias",))


def _batch_norm_matches(ours: str, official: str) -> Iterator[Match]:
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield Match(f"{ours}.{name}", (f"{official}.{name}",))


def to_ours(match: Match, official: Mapping[str, Tensor], ours: Tensor) -> Tensor:
    """Lay official tensors (weights, or their gradients) out as our tensor `ours` is."""
    first = official[match.official[0]]
    match match.form:
        case Form.SAME:
            return first
        case Form.KERNEL_1:
            return first.squeeze(-1)
        case Form.TAPS:
            return first.transpose(1, 2).flatten(1)
        case Form.ROWS:
            return first[0, : len(ours)]
        case Form.LEADING:
            return first[0, 0]
        case Form.STACKED:
            return torch.cat([official[name] for name in match.official])


def _load(module: nn.Module, matches: Iterable[Match], official: Mapping[str, Tensor]) -> None:
    ours = module.state_dict()
    module.load_state_dict({match.ours: to_ours(match, official, ours[match.ours]) for match in matches})


def _to_official(module: STMO | MaskedPoseModel, matches: Iterable[Match]) -> dict[str, Tensor]:
    ours = module.state_dict()
    official: dict[str, Tensor] = {}
    for match in matches:
        parts = _parts(match, ours[match.ours], module.config.frames)
        official.update(zip(match.official, parts, strict=True))
    return official


def _parts(match: Match, ours: Tensor, frames: int) -> tuple[Tensor, ...]:
    match match.form:
        case Form.SAME:
            return (ours.clone(),)
        case Form.KERNEL_1:
            return (ours.unsqueeze(-1).clone(),)
        case Form.TAPS:
            return (ours.view(len(ours), TAPS, -1).transpose(1, 2).contiguous(),)
        case Form.ROWS:
            unused = ours.new_zeros(frames - len(ours), ours.shape[1])
            return (torch.cat((ours, unused)).unsqueeze(0),)
        case Form.LEADING:
            return (ours[None, None].clone(),)
        case Form.STACKED:
            return tuple(part.clone() for part in ours.chunk(3))
