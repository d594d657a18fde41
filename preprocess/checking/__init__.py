"""The check of a clip: light, focus, turns of the head, mouth shapes, sound in step; and what to record instead.

The `gate` refuses what can't make an avatar at all; everything else here says how good the rest is.
"""
