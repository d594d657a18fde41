"""The stages from a video to a capture: what each does, by what key it is taken over, and where its files are made."""
