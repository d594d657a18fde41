"""The process that holds libespeak-ng: see its speak_lib.h for the calls and the layout of an event."""

from __future__ import annotations

import array
import ctypes
import sys

from avatar.motion.voices.serving import Answer, serve

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _DO_NOT_EXIT = 2, 0x0001, 0x0002, 0x8000
_RATE, _PITCH = 1, 3
_POSITION_CHARACTER, _UTF8 = 1, 1
_PHONEME = 7


_STOPS = ("p", "t", "k")
_ZERO = array.array("h", [0])
_BURST_SECONDS, _SHORTEST_STOP_SECONDS, _LONGEST_STOP_SECONDS = 0.01, 0.01, 0.15


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("name", ctypes.c_byte * 8),
    )  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Reader:
    def __init__(self, library: str, data: str, voice: str, rate: str, pitch: str) -> None:
        self.calls = ctypes.CDLL(library)
        options = _PHONEME_EVENTS | _IPA | _DO_NOT_EXIT
        self.rate = self.calls.espeak_Initialize(_SYNCHRONOUS, 0, data.encode() or None, options)
        if self.rate <= 0:
            raise ValueError("libespeak-ng finds no data of its own")
        names = (voice.replace("_", "-").lower(), voice.replace("_", "-").split("-")[0].lower())
        self.known = any(self.calls.espeak_SetVoiceByName(name.encode()) == 0 for name in names)
        self.voice = voice
        self.calls.espeak_SetParameter(_RATE, int(rate), 0)
        self.calls.espeak_SetParameter(_PITCH, int(pitch), 0)
        self.callback = _CALLBACK(self._hear)  # kept alive: the library only has its address
        self.calls.espeak_SetSynthCallback(self.callback)

    def speak(self, text: str) -> Answer:
        if not self.known:
            raise ValueError(f"no voice {self.voice!r}; espeak-ng --voices lists them")
        self.samples, self.starts = bytearray(), []
        coded = text.encode()
        size = ctypes.c_size_t(len(coded) + 1)
        self.calls.espeak_Synth(coded, size, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)
        return Answer(self.rate, bytes(self.samples), labels(self.samples, self.starts, self.rate))

    def _hear(self, wave, count: int, events) -> int:
        if wave and count:
            self.samples += ctypes.string_at(wave, 2 * count)
        place = 0
        while events[place].type:
            event = events[place]
            if event.type == _PHONEME:
                name = bytes(event.name).split(b"\0")[0].decode("utf-8", "ignore")
                self.starts.append((name, event.audio_position / 1000))
            place += 1
        return 0


def labels(samples: bytearray, starts: list[tuple[str, float]], rate: int) -> list[tuple[str, float, float]]:
    """Phones with start and end from their events, which for stops mark the burst.

    The closure before it is digital silence, and what follows the burst is breath through an open mouth: a stop begins
    with its silence and ends with its burst.
    """
    sound = array.array("h", bytes(samples))
    ends = [start for _, start in starts[1:]] + [len(sound) / rate]
    rows: list[tuple[str, float, float]] = []
    burst = 0.0
    for (name, told), end in zip(starts, ends, strict=True):
        start, event = told, min(round(told * rate), len(sound))
        begin = event
        while name and sound[begin - 1 : begin] == _ZERO and event - begin < _LONGEST_STOP_SECONDS * rate:
            begin -= 1
        held = (event - begin) / rate
        if rows and rows[-1][0] in _STOPS:
            rows[-1] = (*rows[-1][:2], burst)
            start = burst
        elif rows and rows[-1][0] and _SHORTEST_STOP_SECONDS < held < start - rows[-1][1]:
            start -= held
            rows[-1] = (*rows[-1][:2], start)
        burst = min(event / rate + _BURST_SECONDS, end)
        rows.append((name, start, end))
    return rows


if __name__ == "__main__":
    serve(_Reader(*sys.argv[1:]).speak)
