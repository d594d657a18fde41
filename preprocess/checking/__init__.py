"""The check of a clip: light, focus, turns of the head, mouth shapes, sound in step; and what to record instead.

`preprocess.quality` refuses what can't make an avatar at all; this says how good the rest is.
"""
