"""Two people talk: who has the word, and what the one who listens does by rule."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from avatar.cli import execute, main
from avatar.cli.talk import Drive
from avatar.head.arkit import ARKIT_INDEX
from avatar.motion.attitudes import ATTITUDE_NAMES
from avatar.motion.audio import RATE
from avatar.motion.backchannels import back_channels, with_back_channels
from avatar.motion.controls.direction_text import parse_directions
from avatar.motion.controls.directions import refuse_conflicts
from avatar.motion.controls.rest import Rest
from avatar.motion.eyes import head_degrees
from avatar.motion.prior.checkpoint import Prior
from avatar.motion.rules import drive
from avatar.motion.takes import Take
from avatar.motion.turns import BOTH, IDLE, LISTENING, SPEAKING, STATES, Turns, states_of
from avatar.types import MOTION_FIELDS, Motion
from preprocess.studio.speakers import conversation


@pytest.fixture(scope="module")
def talk() -> tuple[Take, Take]:
    return conversation(2, 8, 60, text_seed=3)


@pytest.fixture(scope="module")
def turns(talk: tuple[Take, Take]) -> Turns:
    return Turns.of(talk[0].samples_16k, talk[1].samples_16k)


@pytest.fixture(scope="module")
def alone(talk: tuple[Take, Take]) -> Motion:
    return drive(talk[0].samples_16k, seed=0)


def sounds(*spans: tuple[float, float], seconds: float = 12.0) -> np.ndarray:
    out = np.zeros(round(100 * seconds), bool)
    for start, end in spans:
        out[round(100 * start) : round(100 * end)] = True
    return out


def same(one: Motion, two: Motion) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in MOTION_FIELDS)


@pytest.mark.parametrize(
    "own, partner, at",
    [
        pytest.param([(1, 4)], [(5, 9)], {0.5: IDLE, 2: SPEAKING, 4.3: IDLE, 7: LISTENING, 11: IDLE}, id="turns"),
        pytest.param([(1, 4)], [(4.5, 9)], {4.2: SPEAKING, 4.6: LISTENING}, id="a gap is of the turn before"),
        pytest.param([], [(1, 4), (4.8, 9)], {4.4: LISTENING}, id="a pause is listened through"),
        pytest.param([(4.0, 4.4)], [(1, 9)], {4.2: LISTENING}, id="a remark takes no turn"),
        pytest.param([(10, 10.4)], [(1, 9)], {10.2: SPEAKING}, id="a short word alone is one"),
        pytest.param([(1, 6)], [(5, 9)], {4.5: SPEAKING, 5.5: BOTH, 6.5: LISTENING}, id="an interruption"),
        pytest.param([], [], {0: IDLE, 11.9: IDLE}, id="silence"),
    ],
)
def test_states(own, partner, at):
    states = states_of(sounds(*own), sounds(*partner))
    assert {second: states[round(100 * second)] for second in at} == at


def test_states_of_a_conversation_are_those_of_its_words(talk, turns):
    """Of the phones, which nobody tells the listener."""
    seconds = talk[0].motion.timestamps_seconds
    words = [sounds(*((p.start_seconds, p.end_seconds) for p in t.phones if p.name != "pau"), seconds=60) for t in talk]
    truth = states_of(*words)[np.rint(100 * seconds).astype(int)]
    assert (turns.at(seconds) == truth).mean() > 0.93
    assert sum(turns.shares.values()) == pytest.approx(1, abs=0.002) and list(turns.shares) == list(STATES)
    mirrored = Turns.of(talk[1].samples_16k, talk[0].samples_16k)
    np.testing.assert_array_equal(mirrored.state == LISTENING, turns.state == SPEAKING)


@pytest.mark.parametrize("attitude", ATTITUDE_NAMES)
def test_no_plan_contradicts_itself(talk, turns, attitude):
    mirrored = Turns.of(talk[1].samples_16k, talk[0].samples_16k)
    for seed in range(5):
        for side in (turns, mirrored):
            planned = back_channels(side, attitude, seed)
            refuse_conflicts(planned)
            assert len(planned) > 5 and all(d.end_seconds > d.start_seconds for d in planned)


def test_answers_come_to_pauses_while_listening(turns):
    pauses = turns.partner.pauses_seconds[:, 0]
    nods = [d for seed in range(20) for d in back_channels(turns, "neutral", seed) if d.name == "nod"]
    after = np.array([np.min(np.abs(d.start_seconds - pauses - 0.28)) for d in nods])
    assert len(nods) > 60 and (after < 0.15).mean() > 0.4
    states = [turns.before(d.start_seconds) for d in nods]
    assert not {SPEAKING, BOTH} & set(states) and np.mean(np.array(states) == LISTENING) > 0.8


def test_what_comes_later_changes_nothing_before(talk):
    """A reaction follows from the seed and the moment that it answers."""
    whole = Turns.of(*(t.samples_16k for t in talk))
    for end in (20.0, 41.0):
        cut = Turns.of(*(t.samples_16k[: round(end * RATE)] for t in talk))
        early = [[d for d in back_channels(t, "agreeing", 4) if d.name == "nod"] for t in (whole, cut)]
        until = end - 4  # the voice's activity is judged from the seconds around it
        first, second = ([(d.start_seconds, d.strength) for d in part if d.end_seconds < until] for part in early)
        assert first == second and first
    assert back_channels(whole, "agreeing", 4) == back_channels(whole, "agreeing", 4)
    assert back_channels(whole, "agreeing", 4) != back_channels(whole, "agreeing", 5)


def reactions(alone: Motion, turns: Turns) -> dict[str, dict[str, float]]:
    """What each attitude adds while listening, over what the motion does by itself."""
    listens = turns.at(alone.timestamps_seconds) == LISTENING
    out = {}
    for name in ATTITUDE_NAMES:
        parts = [with_back_channels(alone, turns, name, seed=seed, rest=Rest()) for seed in range(4)]
        added = np.concatenate([(head_degrees(m) - head_degrees(alone))[listens] for m in parts])
        face = np.concatenate([(m.expression - alone.expression)[listens] for m in parts])
        planned = [d for seed in range(4) for d in back_channels(turns, name, seed)]
        count = Counter(d.name for d in planned)
        aside = [d for d in planned if d.name == "look away" and turns.before(d.end_seconds) == LISTENING]
        out[name] = {
            "nods": count["nod"], "shakes": count["shake head"],
            "seconds_aside": sum(d.end_seconds - d.start_seconds for d in aside),
            "roll": added[:, 2].mean(), "smile": face[:, ARKIT_INDEX["mouthSmileLeft"]].mean(),
            "brows_down": face[:, ARKIT_INDEX["browDownLeft"]].mean(),
        }  # fmt: skip
    return out


def test_attitudes_differ(alone, turns):
    did = reactions(alone, turns)
    assert did["agreeing"]["nods"] > 1.2 * did["neutral"]["nods"] > 4 * did["bored"]["nods"]
    assert did["doubtful"]["shakes"] > 10 > did["neutral"]["shakes"] == did["agreeing"]["shakes"] == 0
    assert did["amused"]["smile"] > 0.3 > did["agreeing"]["smile"] > did["neutral"]["smile"] > did["bored"]["smile"]
    assert did["doubtful"]["brows_down"] > 0.25 and abs(did["neutral"]["brows_down"]) < 0.02
    assert did["doubtful"]["roll"] > 2 and did["bored"]["roll"] < -2
    assert did["bored"]["seconds_aside"] > 2.5 * did["neutral"]["seconds_aside"] > 0


def test_lips_rest_and_speech_stays_while_the_other_speaks(alone, turns):
    reacting = with_back_channels(alone, turns, "neutral", seed=1, rest=Rest())
    speaks = turns.at(alone.timestamps_seconds) == SPEAKING
    deep = speaks & np.roll(speaks, 60) & np.roll(speaks, -5)  # the last smile and nod are over
    jaw = ARKIT_INDEX["jawOpen"]
    np.testing.assert_array_equal(reacting.expression[:, jaw], alone.expression[:, jaw])
    assert deep.any()
    for name in MOTION_FIELDS:
        np.testing.assert_array_equal(getattr(reacting, name)[deep], getattr(alone, name)[deep])


def test_being_interrupted_raises_the_brows(alone, talk):
    """The other one breaks in after 2 s of our turn and goes on."""
    own = talk[0].samples_16k[round(11.3 * RATE) : round(15.3 * RATE)]
    other = talk[1].samples_16k[round(16 * RATE) : round(19 * RATE)]
    own, other = np.pad(own, (0, 2 * RATE)), np.pad(other, (3 * RATE, 0))
    turns, motion = Turns.of(own, other), drive(own, seed=0)
    (breaks_in, _), *_ = turns.spans(BOTH)
    reacting = with_back_channels(motion, turns, "neutral", seed=0, rest=Rest())
    added = (reacting.expression - motion.expression)[:, ARKIT_INDEX["browInnerUp"]]
    raised = added[round(25 * breaks_in) : round(25 * (breaks_in + 1))].max()
    assert raised > 0.25 and added[: round(25 * breaks_in)].max() == 0


def test_directions_go_first(alone, turns):
    planned = [d for d in back_channels(turns, "agreeing", 0) if d.name == "nod"][0]
    asked = parse_directions(f"{planned.start_seconds:.2f} shake head")
    free, heeding = (
        with_back_channels(alone, turns, "agreeing", seed=0, rest=Rest(), asked=a) for a in ((), asked)
    )  # fmt: skip
    during = slice(round(25 * planned.start_seconds) + 2, round(25 * planned.end_seconds) - 2)
    assert np.ptp(head_degrees(free)[during, 1] - head_degrees(alone)[during, 1]) > 2
    assert np.ptp(head_degrees(heeding)[during, 1] - head_degrees(alone)[during, 1]) < 1


@pytest.fixture(scope="module")
def files(talk, tmp_path_factory) -> dict[str, Path]:
    """8 s of both sides as they come from two microphones."""
    folder, span = tmp_path_factory.mktemp("sounds"), slice(15 * RATE, 23 * RATE)
    for name, take in zip(("mine", "theirs"), talk, strict=True):
        wavfile.write(folder / f"{name}.wav", RATE, (take.samples_16k[span] * 32767).astype(np.int16))
    return {name: folder / f"{name}.wav" for name in ("mine", "theirs")}


def driven(tiny_avatar, files, output: Path, capsys, **options) -> tuple[int, dict, str]:
    """Exit code, JSON and notes of a drive."""
    command = Drive(
        avatar=tiny_avatar.path, audio=files["mine"], output=output, size=32, json=True, max_seconds=0.4, **options
    )
    code = execute(command)
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_clip_says_who_spoke_and_what_answered(tiny_avatar, files, tmp_path, capsys):
    code, said, _ = driven(tiny_avatar, files, tmp_path / "a.mp4", capsys, partner=files["theirs"])
    assert code == 0 and said["partner"] == "theirs.wav", said
    assert said["back_channels"] == {"by": "rules", "attitude": "neutral"}
    assert said["turns"]["listening"] > 0.3 and said["turns"]["speaking"] > 0.3
    record = json.loads((tmp_path / "a.mp4.provenance.json").read_text(encoding="utf-8"))
    assert record["source"] == "mine.wav, listening to theirs.wav, rule-based back-channels (neutral)"
    code, said, _ = driven(tiny_avatar, files, tmp_path / "b.mp4", capsys)
    assert code == 0 and "turns" not in said and "back_channels" not in said


def test_a_prior_answers_if_it_has_learned_to(tiny_avatar, small_prior: Prior, files, tmp_path, capsys):
    deaf, listening = tmp_path / "deaf.prior", tmp_path / "listening.prior"
    small_prior.save(deaf)
    replace(small_prior, about=small_prior.about | {"partner_seconds": 60.0}).save(listening)
    cases = {
        "deaf": ({"prior": deaf}, {"by": "rules", "attitude": "neutral"}, True),
        "asked": ({"prior": listening, "attitude": "amused"}, {"by": "rules", "attitude": "amused"}, False),
        "l0": ({"prior": listening, "rung": "l0"}, {"by": "rules", "attitude": "neutral"}, True),
        "learned": ({"prior": listening}, {"by": "prior", "attitude": None}, False),
        "live": ({"prior": listening, "stream": True}, {"by": "prior", "attitude": None}, False),
    }
    for name, (options, answers, noted) in cases.items():
        output = tmp_path / f"{name}.mp4"
        code, said, notes = driven(tiny_avatar, files, output, capsys, partner=files["theirs"], **options)
        assert code == 0 and said["back_channels"] == answers, said
        assert ("not trained with a partner" in notes) == noted
        source = json.loads(Path(f"{output}.provenance.json").read_text(encoding="utf-8"))["source"]
        assert ("rule-based back-channels" in source) == (answers["by"] == "rules")
        assert ("back-channels by the prior" in source) == (answers["by"] == "prior")


def test_a_partner_of_another_length_is_told(tiny_avatar, files, tmp_path, capsys):
    rate, sound = wavfile.read(files["theirs"])
    for name, part, told in (
        ("short", sound[: 3 * rate], "5.0 s shorter"),
        ("long", np.tile(sound, 2), "8.0 s longer"),
    ):
        wavfile.write(tmp_path / f"{name}.wav", rate, part)
        code, said, notes = driven(
            tiny_avatar, files, tmp_path / f"{name}.mp4", capsys, partner=tmp_path / f"{name}.wav"
        )
        assert code == 0 and told in notes, notes
    code, said, _ = driven(tiny_avatar, files, tmp_path / "x.mp4", capsys, partner=tmp_path / "none.wav")
    assert code == 2 and "does not exist" in said["error"]


@pytest.mark.parametrize(
    "options, told",
    [(("--attitude", "bored"), "give their sound with --partner"), (("--attitude", "cross"), "invalid choice")],
)
def test_mistakes_are_told_before_any_work(tmp_path, capfd, options, told):
    with pytest.raises(SystemExit) as ended:
        main(["drive", "none.avatar", "--audio", "none.wav", "-o", str(tmp_path / "x.mp4"), *options])
    assert ended.value.code == 2 and told in capfd.readouterr().err
