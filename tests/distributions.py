"""Distributions as an installer leaves them, for plugins that a test writes itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def install(
    folder: Path,
    name: str,
    *,
    modules: Mapping[str, str] | None = None,
    plugins: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
    version: str = "1.0",
    editable: Path | None = None,
) -> Path:
    """Write a distribution into a folder, which is to be on `sys.path` then.

    Args:
        folder: Where to.
        name: The distribution's name.
        modules: Sources by module name.
        plugins: Entry points of the group `router.plugins`.
        requires: Its requirements, as its metadata has them.
        version: Its version.
        editable: Where its packages really are.

    Returns:
        The folder.
    """
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (metadata / "METADATA").write_text("\n".join(lines) + "\n")
    entries = [f"{key} = {value}" for key, value in (plugins or {}).items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[router.plugins]", *entries]) + "\n")
    if editable is not None:
        source = {"url": editable.as_uri(), "dir_info": {"editable": True}}
        (metadata / "direct_url.json").write_text(json.dumps(source))
    return folder
