"""What acts on any motion, whatever made it: dials, directions, emotions, several drivers at once, lasting edits."""
