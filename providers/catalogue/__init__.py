"""What is known of the services' models: windows, limits, features, prices. Only data.

The files are made by `tools/compile_catalogue.py` before a release, each with its date, and read
when they are first needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import msgspec
from msgspec import Struct

from router import Model


class Catalogue(Struct, frozen=True):
    """The models of one provider, as they were known on a day (`YYYY-MM-DD`)."""

    date: str
    models: tuple[Model, ...]


def read(provider: str) -> Catalogue:
    """The catalogue of a provider; an empty one where none is shipped."""
    resource = files(__name__) / f"{provider}.json"
    if not resource.is_file():
        return Catalogue(date="", models=())
    return msgspec.json.decode(resource.read_bytes(), type=Catalogue)


def known_models(provider: str) -> Mapping[str, Model]:
    """The models of a provider's catalogue, by id."""
    return {model.id: model for model in read(provider).models}
