"""Installed speech synthesisers behind one protocol (`base`): text in, sound and timed phones out (`speaking.say`).

`choice` finds them. Nothing is imported here, because the processes of the synthesisers have to start fast.
"""
