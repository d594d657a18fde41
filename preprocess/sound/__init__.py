"""The sound of a clip: cut to its pictures, stored with its features and encodings, measured against the lips."""
