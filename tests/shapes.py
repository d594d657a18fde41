"""The checker of the shapes and types in our signatures, installed in tests only (see conftest.py)."""

from beartype import BeartypeConf, beartype

# As pyright does, it takes an int where a float is asked for (PEP 484).
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
