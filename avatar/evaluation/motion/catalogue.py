"""What the scores of a card are called together and what they mean, for who reads its page."""

from __future__ import annotations

from collections.abc import Iterable

CATALOGUE: dict[str, dict[str, str]] = {
    "Lips": {
        "lip_vertex_error_mm": "the lip vertex that is furthest off, mean over frames",
        "lip_vertex_error_mm2": "the same squared, as FaceFormer has it",
        "lip_mean_error_mm": "mean over all lip vertices",
        "face_error_mm": "root mean square over the skin, lips count four times",
        "aperture_error_mm": "opening of the mouth, mean absolute error",
        "aperture_r": "correlation of the opening with the truth's",
        "aperture_speed_r": "correlation of its change from frame to frame",
        "aperture_slope": "least-squares slope over the truth's; 1 is right",
        "aperture_ratio": "deviation of the opening over the truth's; less than 1 mumbles",
        "closure_f1": "frames with closed lips in speech, matched within 2 frames",
        "closure_precision": "share of the driver's closed frames near a true one",
        "closure_recall": "share of the true closed frames near one of the driver's",
        "closure_depth_error_mm": "least opening around each true closure against the truth's",
    },
    "In time": {
        "lag_frames": "lips after the true lips",
        "sound_lag_frames": "lips after the sound, by the changes of loudness and opening",
        "sync_distance": "of lips and sound by a linear probe; as the truth's is right, still lips lie lower too",
        "sync_confidence": "least distance under the median of all offsets; 0: no sound fits; as the truth's is right",
        "sync_offset_frames": "where the distance is least; lips late is positive",
        "beat_alignment": "head beats near stressed sounds, minus what the same sound elsewhere gives",
    },
    "Silence": {
        "silence_motion": "energy of lip motion in silence over that in speech",
        "closing_seconds": "from the end of speech to lips within 0.5 mm of rest",
        "opening_seconds": "from the onset of speech to lips that open; before it is negative",
        "head_silence_ratio": "speed of the head in silence over that in speech; as the truth's is right",
        "silence_zeros_open": "share of frames with open lips in ten seconds of digital silence",
        "silence_zeros_motion": "energy of lip motion there over that in speech",
        "silence_noise_open": "the same in a room's noise",
        "silence_noise_motion": "the same in a room's noise",
    },
    "Manner": {
        "upper_dynamics_mm": "FDD: deviations of the upper face over time against the truth's; 0 is right",
        "upper_speed_dynamics_mm_s": "the same of its speeds",
        "upper_autocorrelation_error": "of its course at 1 to 5 frames",
        "upper_motion_mm": "how far the upper face moves; as the truth's is right",
        "upper_jerk": "third difference over first; as the truth's is right",
        "jaw_dynamics_mm": "deviations of the jaw against the truth's",
        "jaw_speed_dynamics_mm_s": "the same of its speeds",
        "lip_jitter_ratio": "third difference of the lips over the truth's; more trembles",
        "lip_energy_over_10hz": "fast movement of the lips over the truth's; less than 1 is smoothed",
    },
    "Eyes": {
        "blinks_per_minute": "as the truth's is right",
        "blink_seconds": "median length",
        "blink_gap_distance_s": "Wasserstein-1 of times between blinks to the truth's",
        "blink_completeness": "deepest closure of a blink over rest",
        "saccades_per_minute": "as the truth's is right",
        "fixation_seconds": "how long the eyes rest",
        "gaze_gain": "share of the head's turns that the eyes make up for (vestibulo-ocular reflex)",
        "gaze_from_ahead_deg": "mean angle between gaze and straight ahead",
    },
    "Head": {
        "head_yaw_deg": "deviation; as the truth's is right",
        "head_pitch_deg": "",
        "head_roll_deg": "",
        "head_yaw_ratio": "deviation over the truth's",
        "head_pitch_ratio": "",
        "head_roll_ratio": "",
        "head_dynamics_deg": "PDD: deviations of the three angles against the truth's; 0 is right",
        "head_speed_dynamics_deg_s": "the same of their speeds",
        "head_autocorrelation_error": "of its course at 1 to 5 frames",
        "head_speed_deg_s": "mean; as the truth's is right",
        "head_speed_distance": "Wasserstein-1 of speeds to the truth's",
        "head_jerk": "third difference over first; as the truth's is right",
        "head_jitter_ratio": "third difference over the truth's; more trembles",
        "head_energy_over_5hz": "fast movement over the truth's; less than 1 is smoothed",
        "head_drift_deg": "mean pose of the last minute against the first's",
    },
    "Distributions": {
        "frechet_expression_1s": "Fréchet distance of windows of one second: lips, upper face",
        "frechet_expression_2s": "of two seconds",
        "frechet_pose_1s": "of the head", "frechet_pose_2s": "",
        "frechet_speed_1s": "of all speeds", "frechet_speed_2s": "",
        "frechet_sound_1s": "of lips and upper face together with loudness and pitch", "frechet_sound_2s": "",
        "support_distance_ratio": "distance to the nearest training frame over the truth's",
        "beyond_range_share": "share of numbers beyond the training's range",
        "diversity_lips": "variance between seeds over that in time; low is right",
        "diversity_rest": "of all else; high is right",
        "diversity_ratio": "rest over lips",
    },
}  # fmt: skip


def groups(names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Scores that a card has, with what they mean, by group; those that nobody has described come last."""
    left = list(names)
    found = {
        group: [(name, text) for name, text in scores.items() if name in left] for group, scores in CATALOGUE.items()
    }
    known = {name for scores in CATALOGUE.values() for name in scores}
    found["Others"] = [(name, "") for name in left if name not in known]
    return {group: scores for group, scores in found.items() if scores}
