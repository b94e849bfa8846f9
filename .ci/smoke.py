"""Checks an installed wheel as a user gets it: without extras, away from the repository.

Run it from an empty directory: `python -I smoke.py`.
"""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import router

wheel = distribution("pluggable-router")
site = Path(str(wheel.locate_file("")))
files = {Path(str(file)) for file in wheel.files or ()}

loaded = {name.partition(".")[0] for name in sys.modules}
costly = loaded & {"aiohttp", "click", "providers", "requests", "rich", "urllib3", "xllamacpp"}
assert not costly, f"`import router` imported {costly}"
assert site in Path(router.__file__).parents, f"router came from {router.__file__}"
assert router.__version__ == wheel.version

for package in ("router", "providers"):
    assert Path(package, "py.typed") in files, f"{package}/py.typed is not in the wheel"
folders = {file.parts[0] for file in files if file.parts[0] != ".."}
metadata = f"pluggable_router-{wheel.version}.dist-info"
assert folders == {"router", "providers", metadata}, f"the wheel installs {folders}"

names = {entry.name for entry in wheel.entry_points if entry.group == "router.plugins"}
assert {"h2o", "local", "openai"} <= names, f"the wheel has the entry points {names}"

with router.Router(strict=True) as r:
    serving = {model.provider for model in r.models()}
    assert {"h2o", "local"} <= serving, f"models of {serving} alone are listed"
    found = {plugin.name: plugin.status for plugin in r.plugins}
    assert found == dict.fromkeys(names, "loaded"), f"the plugins are {found}"

command = Path(sys.executable).with_name("router")
listing = subprocess.run([command, "models"], check=True, capture_output=True, text=True).stdout
assert "falcon-7b" in listing, f"`router models` printed: {listing}"

print(f"{wheel.name} {wheel.version}: {len(names)} plugins found, `router models` answers")
