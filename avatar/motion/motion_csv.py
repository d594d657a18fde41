"""Motion files as tables: our own, which a spreadsheet can edit, and the one that the Live Link Face app records.

Own table: one row per frame and one column per number, all of them, each with the digits that give the same float32
back. Columns: `timestamp_seconds`, the 52 ARKit actions, `neck_x` ... `right_eye_z` (axis-angle, radians), `quat_w` ...
`quat_z` (world <- head), `translation_x` ... (metres), `torso_x`, `torso_y`, `torso_roll`.

Live Link Face: `Timecode` (HH:MM:SS:FF.fff), `BlendShapeCount`, the 52 actions in ARKit's own order, and nine angles of
head and eyes in radians. It has no position, no shoulders and no joints of ours. The app does not document the signs of
its head angles; here yaw is positive towards the subject's left, pitch downwards, roll towards the subject's right
shoulder (right-handed about the head's +Y, +X and +Z). Eye angles are written, and not read: they repeat `EyeLook...`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avatar.errors import BadInput, FormatMismatch
from avatar.files import atomic_path
from avatar.head.arkit import ARKIT_INDEX, ARKIT_NAMES, GAZE_DEGREES
from avatar.tracks import JOINTS, MOTION_FIELDS, Motion

Table = tuple[list[str], list[list[str]]]

_OWN_COLUMNS = (
    "timestamp_seconds", *ARKIT_NAMES, *(f"{joint}_{axis}" for joint in JOINTS for axis in "xyz"),
    *(f"quat_{axis}" for axis in "wxyz"), *(f"translation_{axis}" for axis in "xyz"),
    "torso_x", "torso_y", "torso_roll",
)  # fmt: skip
_WIDTHS = (1, len(ARKIT_NAMES), 3 * len(JOINTS), 4, 3, 3)

_EYE = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
_SIDES = ("Left", "Right")
_LIVE_LINK_ACTIONS = (
    *(f"Eye{what}{side}" for side in _SIDES for what in _EYE), "JawForward", "JawRight", "JawLeft", "JawOpen",
    "MouthClose", "MouthFunnel", "MouthPucker", "MouthRight", "MouthLeft",
    *(f"Mouth{what}{side}" for what in ("Smile", "Frown", "Dimple", "Stretch") for side in _SIDES),
    "MouthRollLower", "MouthRollUpper", "MouthShrugLower", "MouthShrugUpper",
    *(f"Mouth{what}{side}" for what in ("Press", "LowerDown", "UpperUp") for side in _SIDES),
    "BrowDownLeft", "BrowDownRight", "BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight", "CheekPuff",
    "CheekSquintLeft", "CheekSquintRight", "NoseSneerLeft", "NoseSneerRight", "TongueOut",
)  # fmt: skip
_LIVE_LINK_ANGLES = tuple(
    f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)
_BY_LOWER_NAME = {name.lower(): index for name, index in ARKIT_INDEX.items()}
_RATES = (24, 25, 30, 60)
_APP_RATE = 60
_DISTANCE_METRES = 0.6
"""Where a head without a position is put before the camera."""
_FEWEST_ACTIONS = 10


def write_csv(path: Path, motion: Motion) -> None:
    """Write a motion as our own table, to the last digit.

    Raises:
        BadInput: the file can't be written.
    """
    numbers = [getattr(motion, name).reshape(len(motion), -1) for name in MOTION_FIELDS]
    _write(path, _OWN_COLUMNS, ([str(x) for block in row for x in block] for row in zip(*numbers, strict=True)))


def write_live_link(path: Path, motion: Motion) -> None:
    """Write a motion as a Live Link Face table (61 values); what it can't hold is lost, see the module.

    Raises:
        BadInput: the file can't be written.
    """
    actions = motion.expression[:, [_BY_LOWER_NAME[name.lower()] for name in _LIVE_LINK_ACTIONS]]
    values = np.concatenate([actions, _head_angles(motion), *(_eye_angles(motion, side) for side in _SIDES)], 1)
    count = str(values.shape[1])
    rows = zip(motion.timestamps_seconds, values, strict=True)
    lines = ([_timecode(t - motion.timestamps_seconds[0]), count, *(f"{x:.8g}" for x in row)] for t, row in rows)
    _write(path, ("Timecode", "BlendShapeCount", *_LIVE_LINK_ACTIONS, *_LIVE_LINK_ANGLES), lines)


def read_csv(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a motion (`MOTION_FIELDS`) in a table of either kind.

    Raises:
        BadInput: there is no such file.
        FormatMismatch: it is of neither kind, or something in it is no number; names the row.
    """
    names, rows = _table(path)
    if names[:1] == ["timestamp_seconds"]:
        return _own(path, names, rows)
    if names[:1] and names[0].lower() == "timecode":
        return _live_link(path, names, rows)
    raise FormatMismatch(
        f"{path} is no motion",
        expected="a table whose first column is timestamp_seconds (visavis) or Timecode (Live Link Face)",
        got=", ".join(names[:3]) or "an empty file",
    )


def _write(path: Path, names: tuple[str, ...], rows) -> None:
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


def _table(path: Path) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets and the app put a mark at the front
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except OSError as error:
        raise BadInput(f"cannot read the motion {path}", got=error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatMismatch(f"{path} is no table", expected="comma-separated text", got=str(error)) from error
    return ([cell.strip() for cell in lines[0]], lines[1:]) if lines else ([], [])


def _numbers(path: Path, rows: list[list[str]], columns: list[int]) -> Float[np.ndarray, "t c"]:
    values = np.empty((len(rows), len(columns)))
    for number, row in enumerate(rows):
        try:
            values[number] = [float(row[column]) for column in columns]
        except (ValueError, IndexError) as error:
            got = str(error) if isinstance(error, ValueError) else f"{len(row)} cells"
            raise FormatMismatch(
                f"{path}: frame {number + 1} is not all numbers", got=got, fix="mend that row"
            ) from error
    return values


def _own(path: Path, names: list[str], rows: list[list[str]]) -> dict[str, np.ndarray]:
    missing = [name for name in _OWN_COLUMNS if name not in names]
    if missing:
        raise FormatMismatch(f"{path} lacks columns", expected=", ".join(missing), got=f"{len(names)} columns")
    values = _numbers(path, rows, [names.index(name) for name in _OWN_COLUMNS])
    blocks = np.split(values, np.cumsum(_WIDTHS)[:-1], axis=1)
    arrays = dict(zip(MOTION_FIELDS, blocks, strict=True))
    return arrays | {
        "timestamps_seconds": arrays["timestamps_seconds"][:, 0],
        "joints": arrays["joints"].reshape(-1, len(JOINTS), 3),
    }


def _live_link(path: Path, names: list[str], rows: list[list[str]]) -> dict[str, np.ndarray]:
    known = {
        column: _BY_LOWER_NAME[name.lower()] for column, name in enumerate(names) if name.lower() in _BY_LOWER_NAME
    }
    if len(known) < _FEWEST_ACTIONS:
        got = f"{len(known)} of them"
        raise FormatMismatch(f"{path} holds no ARKit actions", expected="columns named EyeBlinkLeft ...", got=got)
    times = _times(path, [row[0] for row in rows])
    rises = np.diff(times, prepend=-1.0) > 0  # the app repeats a timecode when it drops a frame
    rows, times = [row for row, keep in zip(rows, rises, strict=True) if keep], times[rises]
    expression = np.zeros((len(rows), len(ARKIT_NAMES)))
    expression[:, list(known.values())] = _numbers(path, rows, list(known))
    lower = [name.lower() for name in names]
    angles = [lower.index(name.lower()) for name in _LIVE_LINK_ANGLES[:3] if name.lower() in lower]
    head = _numbers(path, rows, angles) if len(angles) == 3 else np.zeros((len(rows), 3))
    return {
        "timestamps_seconds": times,
        "expression": expression,
        "joints": np.zeros((len(rows), len(JOINTS), 3)),
        "quats_wxyz": _quats(head),
        "translation": np.tile([0.0, 0.0, _DISTANCE_METRES], (len(rows), 1)),
        "torso": np.zeros((len(rows), 3)),
    }


def _timecode(seconds: float) -> str:
    frames, part = divmod(round(seconds * _APP_RATE * 1000), 1000)
    whole, frame = divmod(frames, _APP_RATE)
    return f"{whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{frame:02d}.{part:03d}"


def _times(path: Path, codes: list[str]) -> Float[np.ndarray, " t"]:
    """Seconds since the first row; the rate that frame numbers count in is found where a second ends."""
    try:
        parts = np.array([[float(x) for x in code.replace(";", ":").split(":")] for code in codes]).reshape(-1, 4)
    except ValueError as error:
        raise FormatMismatch(
            f"{path} has an odd Timecode", expected="HH:MM:SS:FF.fff in every row", got=str(error)
        ) from error
    seconds, frames = parts[:, :3] @ (3600.0, 60.0, 1.0), parts[:, 3]
    ends = len(seconds) and seconds[-1] != seconds[0]
    rate = next((r for r in _RATES if ends and frames.max() < r), _APP_RATE)
    times = seconds + frames / rate
    times = times + 86400 * np.cumsum(np.diff(times, prepend=times[:1]) < -43200)  # past midnight
    return times - times[:1]


def _head_angles(motion: Motion) -> Float[np.ndarray, "t 3"]:
    from scipy.spatial.transform import Rotation

    turned = _facing_camera() * Rotation.from_quat(motion.quats_wxyz[:, [1, 2, 3, 0]])
    return turned.as_euler("YXZ")


def _quats(angles: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 4"]:
    from scipy.spatial.transform import Rotation

    return (_facing_camera() * Rotation.from_euler("YXZ", angles)).as_quat()[:, [3, 0, 1, 2]]


def _facing_camera():
    """Between the camera's OpenCV axes and a head that looks into it: half a turn about x, its own inverse."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("x", np.pi)


def _eye_angles(motion: Motion, side: str) -> Float[np.ndarray, "t 3"]:
    """Yaw, pitch and roll of one eye from its four actions and its joint."""

    def action(way: str) -> np.ndarray:
        return motion.expression[:, ARKIT_INDEX[f"eyeLook{way}{side}"]] * np.radians(GAZE_DEGREES[way])

    outwards = 1 if side == "Left" else -1
    yaw, pitch = outwards * (action("Out") - action("In")), action("Down") - action("Up")
    joint = motion.joints[:, JOINTS.index(f"{side.lower()}_eye")]
    return np.stack([yaw + joint[:, 1], pitch + joint[:, 0], joint[:, 2]], 1)
