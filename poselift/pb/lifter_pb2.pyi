from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LiftRequest(_message.Message):
    __slots__ = ("keypoints", "tracks", "skeleton", "image_size", "fps", "timestamps_s", "model", "mirrored_average", "targets", "person_choice", "coordinates", "strict", "camera", "person", "world")
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    SKELETON_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_S_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_AVERAGE_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    PERSON_CHOICE_FIELD_NUMBER: _ClassVar[int]
    COORDINATES_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    PERSON_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    keypoints: _containers.RepeatedScalarFieldContainer[float]
    tracks: _containers.RepeatedCompositeFieldContainer[Track]
    skeleton: str
    image_size: ImageSize
    fps: float
    timestamps_s: _containers.RepeatedScalarFieldContainer[float]
    model: str
    mirrored_average: bool
    targets: _containers.RepeatedScalarFieldContainer[int]
    person_choice: str
    coordinates: str
    strict: bool
    camera: Camera
    person: Person
    world: WorldOptions
    def __init__(self, keypoints: _Optional[_Iterable[float]] = ..., tracks: _Optional[_Iterable[_Union[Track, _Mapping]]] = ..., skeleton: _Optional[str] = ..., image_size: _Optional[_Union[ImageSize, _Mapping]] = ..., fps: _Optional[float] = ..., timestamps_s: _Optional[_Iterable[float]] = ..., model: _Optional[str] = ..., mirrored_average: _Optional[bool] = ..., targets: _Optional[_Iterable[int]] = ..., person_choice: _Optional[str] = ..., coordinates: _Optional[str] = ..., strict: _Optional[bool] = ..., camera: _Optional[_Union[Camera, _Mapping]] = ..., person: _Optional[_Union[Person, _Mapping]] = ..., world: _Optional[_Union[WorldOptions, _Mapping]] = ...) -> None: ...

class WorldOptions(_message.Message):
    __slots__ = ("up_axis", "foot_lock", "rotations", "angles")
    UP_AXIS_FIELD_NUMBER: _ClassVar[int]
    FOOT_LOCK_FIELD_NUMBER: _ClassVar[int]
    ROTATIONS_FIELD_NUMBER: _ClassVar[int]
    ANGLES_FIELD_NUMBER: _ClassVar[int]
    up_axis: str
    foot_lock: str
    rotations: bool
    angles: bool
    def __init__(self, up_axis: _Optional[str] = ..., foot_lock: _Optional[str] = ..., rotations: _Optional[bool] = ..., angles: _Optional[bool] = ...) -> None: ...

class Camera(_message.Message):
    __slots__ = ("focal_px", "fov_deg", "principal_point_px", "distortion", "fisheye", "gravity", "pitch_deg", "roll_deg")
    FOCAL_PX_FIELD_NUMBER: _ClassVar[int]
    FOV_DEG_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_POINT_PX_FIELD_NUMBER: _ClassVar[int]
    DISTORTION_FIELD_NUMBER: _ClassVar[int]
    FISHEYE_FIELD_NUMBER: _ClassVar[int]
    GRAVITY_FIELD_NUMBER: _ClassVar[int]
    PITCH_DEG_FIELD_NUMBER: _ClassVar[int]
    ROLL_DEG_FIELD_NUMBER: _ClassVar[int]
    focal_px: float
    fov_deg: float
    principal_point_px: _containers.RepeatedScalarFieldContainer[float]
    distortion: _containers.RepeatedScalarFieldContainer[float]
    fisheye: bool
    gravity: _containers.RepeatedScalarFieldContainer[float]
    pitch_deg: float
    roll_deg: float
    def __init__(self, focal_px: _Optional[float] = ..., fov_deg: _Optional[float] = ..., principal_point_px: _Optional[_Iterable[float]] = ..., distortion: _Optional[_Iterable[float]] = ..., fisheye: _Optional[bool] = ..., gravity: _Optional[_Iterable[float]] = ..., pitch_deg: _Optional[float] = ..., roll_deg: _Optional[float] = ...) -> None: ...

class Person(_message.Message):
    __slots__ = ("height_m",)
    HEIGHT_M_FIELD_NUMBER: _ClassVar[int]
    height_m: float
    def __init__(self, height_m: _Optional[float] = ...) -> None: ...

class Track(_message.Message):
    __slots__ = ("track_id", "keypoints", "person")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    PERSON_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    keypoints: _containers.RepeatedScalarFieldContainer[float]
    person: Person
    def __init__(self, track_id: _Optional[str] = ..., keypoints: _Optional[_Iterable[float]] = ..., person: _Optional[_Union[Person, _Mapping]] = ...) -> None: ...

class ImageSize(_message.Message):
    __slots__ = ("width_px", "height_px")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("poses", "tracks", "skeleton", "fps", "timestamps_s", "model", "mirrored_average", "targets")
    POSES_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    SKELETON_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_S_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_AVERAGE_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    poses: _containers.RepeatedScalarFieldContainer[float]
    tracks: _containers.RepeatedCompositeFieldContainer[PoseTrack]
    skeleton: str
    fps: float
    timestamps_s: _containers.RepeatedScalarFieldContainer[float]
    model: str
    mirrored_average: bool
    targets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, poses: _Optional[_Iterable[float]] = ..., tracks: _Optional[_Iterable[_Union[PoseTrack, _Mapping]]] = ..., skeleton: _Optional[str] = ..., fps: _Optional[float] = ..., timestamps_s: _Optional[_Iterable[float]] = ..., model: _Optional[str] = ..., mirrored_average: _Optional[bool] = ..., targets: _Optional[_Iterable[int]] = ...) -> None: ...

class PoseTrack(_message.Message):
    __slots__ = ("track_id", "poses")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    POSES_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    poses: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, track_id: _Optional[str] = ..., poses: _Optional[_Iterable[float]] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("model", "skeleton", "joint_names", "unit", "axes", "joints", "imputed", "tracks", "timing_ms", "warnings")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SKELETON_FIELD_NUMBER: _ClassVar[int]
    JOINT_NAMES_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    IMPUTED_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    TIMING_MS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    model: ModelReference
    skeleton: str
    joint_names: _containers.RepeatedScalarFieldContainer[str]
    unit: str
    axes: str
    joints: _containers.RepeatedScalarFieldContainer[float]
    imputed: bytes
    tracks: _containers.RepeatedCompositeFieldContainer[LiftedTrack]
    timing_ms: TimingMs
    warnings: _containers.RepeatedCompositeFieldContainer[InputWarning]
    def __init__(self, model: _Optional[_Union[ModelReference, _Mapping]] = ..., skeleton: _Optional[str] = ..., joint_names: _Optional[_Iterable[str]] = ..., unit: _Optional[str] = ..., axes: _Optional[str] = ..., joints: _Optional[_Iterable[float]] = ..., imputed: _Optional[bytes] = ..., tracks: _Optional[_Iterable[_Union[LiftedTrack, _Mapping]]] = ..., timing_ms: _Optional[_Union[TimingMs, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[InputWarning, _Mapping]]] = ...) -> None: ...

class LiftResponse(_message.Message):
    __slots__ = ("model", "skeleton", "joint_names", "unit", "axes", "joints", "imputed", "tracks", "timing_ms", "expected_error_m", "warnings", "world")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SKELETON_FIELD_NUMBER: _ClassVar[int]
    JOINT_NAMES_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    IMPUTED_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    TIMING_MS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ERROR_M_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    model: ModelReference
    skeleton: str
    joint_names: _containers.RepeatedScalarFieldContainer[str]
    unit: str
    axes: str
    joints: _containers.RepeatedScalarFieldContainer[float]
    imputed: bytes
    tracks: _containers.RepeatedCompositeFieldContainer[LiftedTrack]
    timing_ms: TimingMs
    expected_error_m: _containers.RepeatedScalarFieldContainer[float]
    warnings: _containers.RepeatedCompositeFieldContainer[InputWarning]
    world: World
    def __init__(self, model: _Optional[_Union[ModelReference, _Mapping]] = ..., skeleton: _Optional[str] = ..., joint_names: _Optional[_Iterable[str]] = ..., unit: _Optional[str] = ..., axes: _Optional[str] = ..., joints: _Optional[_Iterable[float]] = ..., imputed: _Optional[bytes] = ..., tracks: _Optional[_Iterable[_Union[LiftedTrack, _Mapping]]] = ..., timing_ms: _Optional[_Union[TimingMs, _Mapping]] = ..., expected_error_m: _Optional[_Iterable[float]] = ..., warnings: _Optional[_Iterable[_Union[InputWarning, _Mapping]]] = ..., world: _Optional[_Union[World, _Mapping]] = ...) -> None: ...

class World(_message.Message):
    __slots__ = ("axes", "unit", "joints", "root", "contacts", "scale", "height_m", "gravity", "camera", "rotations", "angles")
    AXES_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    CONTACTS_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_M_FIELD_NUMBER: _ClassVar[int]
    GRAVITY_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    ROTATIONS_FIELD_NUMBER: _ClassVar[int]
    ANGLES_FIELD_NUMBER: _ClassVar[int]
    axes: str
    unit: str
    joints: _containers.RepeatedScalarFieldContainer[float]
    root: _containers.RepeatedScalarFieldContainer[float]
    contacts: _containers.RepeatedScalarFieldContainer[float]
    scale: float
    height_m: float
    gravity: Gravity
    camera: FocalLength
    rotations: _containers.RepeatedScalarFieldContainer[float]
    angles: _containers.RepeatedCompositeFieldContainer[JointAngle]
    def __init__(self, axes: _Optional[str] = ..., unit: _Optional[str] = ..., joints: _Optional[_Iterable[float]] = ..., root: _Optional[_Iterable[float]] = ..., contacts: _Optional[_Iterable[float]] = ..., scale: _Optional[float] = ..., height_m: _Optional[float] = ..., gravity: _Optional[_Union[Gravity, _Mapping]] = ..., camera: _Optional[_Union[FocalLength, _Mapping]] = ..., rotations: _Optional[_Iterable[float]] = ..., angles: _Optional[_Iterable[_Union[JointAngle, _Mapping]]] = ...) -> None: ...

class Gravity(_message.Message):
    __slots__ = ("direction", "uncertainty_deg", "given", "network")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_DEG_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    direction: _containers.RepeatedScalarFieldContainer[float]
    uncertainty_deg: float
    given: bool
    network: NetworkGravity
    def __init__(self, direction: _Optional[_Iterable[float]] = ..., uncertainty_deg: _Optional[float] = ..., given: _Optional[bool] = ..., network: _Optional[_Union[NetworkGravity, _Mapping]] = ...) -> None: ...

class NetworkGravity(_message.Message):
    __slots__ = ("direction", "uncertainty_deg")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_DEG_FIELD_NUMBER: _ClassVar[int]
    direction: _containers.RepeatedScalarFieldContainer[float]
    uncertainty_deg: float
    def __init__(self, direction: _Optional[_Iterable[float]] = ..., uncertainty_deg: _Optional[float] = ...) -> None: ...

class FocalLength(_message.Message):
    __slots__ = ("focal_px", "given")
    FOCAL_PX_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    focal_px: float
    given: bool
    def __init__(self, focal_px: _Optional[float] = ..., given: _Optional[bool] = ...) -> None: ...

class JointAngle(_message.Message):
    __slots__ = ("name", "degrees")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEGREES_FIELD_NUMBER: _ClassVar[int]
    name: str
    degrees: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., degrees: _Optional[_Iterable[float]] = ...) -> None: ...

class RefineRequest(_message.Message):
    __slots__ = ("request", "answer")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    request: LiftRequest
    answer: LiftResponse
    def __init__(self, request: _Optional[_Union[LiftRequest, _Mapping]] = ..., answer: _Optional[_Union[LiftResponse, _Mapping]] = ...) -> None: ...

class RefineResponse(_message.Message):
    __slots__ = ("world", "tracks", "timing_ms")
    WORLD_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    TIMING_MS_FIELD_NUMBER: _ClassVar[int]
    world: World
    tracks: _containers.RepeatedCompositeFieldContainer[RefinedTrack]
    timing_ms: TimingMs
    def __init__(self, world: _Optional[_Union[World, _Mapping]] = ..., tracks: _Optional[_Iterable[_Union[RefinedTrack, _Mapping]]] = ..., timing_ms: _Optional[_Union[TimingMs, _Mapping]] = ...) -> None: ...

class RefinedTrack(_message.Message):
    __slots__ = ("track_id", "world")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    world: World
    def __init__(self, track_id: _Optional[str] = ..., world: _Optional[_Union[World, _Mapping]] = ...) -> None: ...

class InputWarning(_message.Message):
    __slots__ = ("code", "message", "path")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    path: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class LiftedTrack(_message.Message):
    __slots__ = ("track_id", "joints", "imputed", "expected_error_m", "world")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    IMPUTED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ERROR_M_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    joints: _containers.RepeatedScalarFieldContainer[float]
    imputed: bytes
    expected_error_m: _containers.RepeatedScalarFieldContainer[float]
    world: World
    def __init__(self, track_id: _Optional[str] = ..., joints: _Optional[_Iterable[float]] = ..., imputed: _Optional[bytes] = ..., expected_error_m: _Optional[_Iterable[float]] = ..., world: _Optional[_Union[World, _Mapping]] = ...) -> None: ...

class ModelReference(_message.Message):
    __slots__ = ("name", "version", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    digest: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class TimingMs(_message.Message):
    __slots__ = ("queue", "inference", "total")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    queue: float
    inference: float
    total: float
    def __init__(self, queue: _Optional[float] = ..., inference: _Optional[float] = ..., total: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("reference", "labels", "is_default", "system", "input_skeleton", "output_skeleton", "receptive_field", "receptive_field_s", "score_threshold", "attribution", "data", "scores", "task", "expected_error")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    INPUT_SKELETON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SKELETON_FIELD_NUMBER: _ClassVar[int]
    RECEPTIVE_FIELD_FIELD_NUMBER: _ClassVar[int]
    RECEPTIVE_FIELD_S_FIELD_NUMBER: _ClassVar[int]
    SCORE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ERROR_FIELD_NUMBER: _ClassVar[int]
    reference: ModelReference
    labels: _containers.RepeatedScalarFieldContainer[str]
    is_default: bool
    system: str
    input_skeleton: str
    output_skeleton: str
    receptive_field: int
    receptive_field_s: float
    score_threshold: float
    attribution: str
    data: _containers.RepeatedCompositeFieldContainer[DataSource]
    scores: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    task: str
    expected_error: bool
    def __init__(self, reference: _Optional[_Union[ModelReference, _Mapping]] = ..., labels: _Optional[_Iterable[str]] = ..., is_default: _Optional[bool] = ..., system: _Optional[str] = ..., input_skeleton: _Optional[str] = ..., output_skeleton: _Optional[str] = ..., receptive_field: _Optional[int] = ..., receptive_field_s: _Optional[float] = ..., score_threshold: _Optional[float] = ..., attribution: _Optional[str] = ..., data: _Optional[_Iterable[_Union[DataSource, _Mapping]]] = ..., scores: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ..., task: _Optional[str] = ..., expected_error: _Optional[bool] = ...) -> None: ...

class DataSource(_message.Message):
    __slots__ = ("source", "licence")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    source: str
    licence: str
    def __init__(self, source: _Optional[str] = ..., licence: _Optional[str] = ...) -> None: ...

class CreateSessionRequest(_message.Message):
    __slots__ = ("skeleton", "image_size", "fps", "model", "lookahead", "coordinates", "strict", "full_lookahead", "camera", "person", "world")
    SKELETON_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    COORDINATES_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    FULL_LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    PERSON_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    skeleton: str
    image_size: ImageSize
    fps: float
    model: str
    lookahead: int
    coordinates: str
    strict: bool
    full_lookahead: bool
    camera: Camera
    person: Person
    world: WorldOptions
    def __init__(self, skeleton: _Optional[str] = ..., image_size: _Optional[_Union[ImageSize, _Mapping]] = ..., fps: _Optional[float] = ..., model: _Optional[str] = ..., lookahead: _Optional[int] = ..., coordinates: _Optional[str] = ..., strict: _Optional[bool] = ..., full_lookahead: _Optional[bool] = ..., camera: _Optional[_Union[Camera, _Mapping]] = ..., person: _Optional[_Union[Person, _Mapping]] = ..., world: _Optional[_Union[WorldOptions, _Mapping]] = ...) -> None: ...

class CreateSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: Session
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ...) -> None: ...

class GetSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class GetSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: Session
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ...) -> None: ...

class DeleteSessionRequest(_message.Message):
    __slots__ = ("session_id", "next_frame_index")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    next_frame_index: int
    def __init__(self, session_id: _Optional[str] = ..., next_frame_index: _Optional[int] = ...) -> None: ...

class DeleteSessionResponse(_message.Message):
    __slots__ = ("frames", "next_frame_index", "timing_ms", "warnings", "world")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    TIMING_MS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[LiftedFrame]
    next_frame_index: int
    timing_ms: TimingMs
    warnings: _containers.RepeatedCompositeFieldContainer[InputWarning]
    world: World
    def __init__(self, frames: _Optional[_Iterable[_Union[LiftedFrame, _Mapping]]] = ..., next_frame_index: _Optional[int] = ..., timing_ms: _Optional[_Union[TimingMs, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[InputWarning, _Mapping]]] = ..., world: _Optional[_Union[World, _Mapping]] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("session_id", "model", "skeleton", "image_size", "fps", "lookahead", "next_frame_index", "expires_in_s", "joint_names", "output_skeleton", "unit", "axes", "full_lookahead", "full_lookahead_s", "is_full_lookahead")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SKELETON_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    NEXT_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    JOINT_NAMES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SKELETON_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    FULL_LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    FULL_LOOKAHEAD_S_FIELD_NUMBER: _ClassVar[int]
    IS_FULL_LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    model: ModelReference
    skeleton: str
    image_size: ImageSize
    fps: float
    lookahead: int
    next_frame_index: int
    expires_in_s: float
    joint_names: _containers.RepeatedScalarFieldContainer[str]
    output_skeleton: str
    unit: str
    axes: str
    full_lookahead: int
    full_lookahead_s: float
    is_full_lookahead: bool
    def __init__(self, session_id: _Optional[str] = ..., model: _Optional[_Union[ModelReference, _Mapping]] = ..., skeleton: _Optional[str] = ..., image_size: _Optional[_Union[ImageSize, _Mapping]] = ..., fps: _Optional[float] = ..., lookahead: _Optional[int] = ..., next_frame_index: _Optional[int] = ..., expires_in_s: _Optional[float] = ..., joint_names: _Optional[_Iterable[str]] = ..., output_skeleton: _Optional[str] = ..., unit: _Optional[str] = ..., axes: _Optional[str] = ..., full_lookahead: _Optional[int] = ..., full_lookahead_s: _Optional[float] = ..., is_full_lookahead: _Optional[bool] = ...) -> None: ...

class LiftStreamRequest(_message.Message):
    __slots__ = ("session_id", "frames", "end", "next_frame_index")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    NEXT_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    end: bool
    next_frame_index: int
    def __init__(self, session_id: _Optional[str] = ..., frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ..., end: _Optional[bool] = ..., next_frame_index: _Optional[int] = ...) -> None: ...

class LiftStreamsRequest(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[LiftStreamRequest]
    def __init__(self, sessions: _Optional[_Iterable[_Union[LiftStreamRequest, _Mapping]]] = ...) -> None: ...

class LiftStreamsResponse(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[LiftStreamResponse]
    def __init__(self, sessions: _Optional[_Iterable[_Union[LiftStreamResponse, _Mapping]]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("frame_index", "keypoints", "time_s")
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    frame_index: int
    keypoints: _containers.RepeatedScalarFieldContainer[float]
    time_s: float
    def __init__(self, frame_index: _Optional[int] = ..., keypoints: _Optional[_Iterable[float]] = ..., time_s: _Optional[float] = ...) -> None: ...

class LiftStreamResponse(_message.Message):
    __slots__ = ("frames", "next_frame_index", "timing_ms", "warnings", "session_id", "world")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    TIMING_MS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[LiftedFrame]
    next_frame_index: int
    timing_ms: TimingMs
    warnings: _containers.RepeatedCompositeFieldContainer[InputWarning]
    session_id: str
    world: World
    def __init__(self, frames: _Optional[_Iterable[_Union[LiftedFrame, _Mapping]]] = ..., next_frame_index: _Optional[int] = ..., timing_ms: _Optional[_Union[TimingMs, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[InputWarning, _Mapping]]] = ..., session_id: _Optional[str] = ..., world: _Optional[_Union[World, _Mapping]] = ...) -> None: ...

class LiftedFrame(_message.Message):
    __slots__ = ("frame_index", "lookahead", "joints", "imputed", "expected_error_m", "world")
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    IMPUTED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ERROR_M_FIELD_NUMBER: _ClassVar[int]
    WORLD_FIELD_NUMBER: _ClassVar[int]
    frame_index: int
    lookahead: int
    joints: _containers.RepeatedScalarFieldContainer[float]
    imputed: bytes
    expected_error_m: _containers.RepeatedScalarFieldContainer[float]
    world: World
    def __init__(self, frame_index: _Optional[int] = ..., lookahead: _Optional[int] = ..., joints: _Optional[_Iterable[float]] = ..., imputed: _Optional[bytes] = ..., expected_error_m: _Optional[_Iterable[float]] = ..., world: _Optional[_Union[World, _Mapping]] = ...) -> None: ...
