"""The parts that pixels are told apart into."""

PARTS = ("background", "skin", "lips", "inner_mouth", "teeth", "eyes", "hair", "neck", "torso")
"""What a pixel of a label picture shows, by number. Skin is that of face and ears with brows, beard and glasses, the
tongue belongs to the inner mouth, and the torso is the rest of the body: clothes, and hands wherever they are."""
NUMBER = {name: number for number, name in enumerate(PARTS)}
