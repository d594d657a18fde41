"""What is found in a clip's pictures before any tracking: the face, the person's mask, and the room behind."""
