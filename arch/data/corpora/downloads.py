"""Fetching a file once, whole or not at all.

A file under its own name is complete and checked. An unfinished one lies beside it as `NAME.part`
and is resumed (HTTP Range) by the next attempt, in this process or a later one. Nothing here knows
about corpora, and only the standard library is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

from arch.data.cache import cache_directory as cache_directory

BLOCK = 1 << 20
# Some hosts answer 403 to urllib's own name.
AGENT = "Mozilla/5.0 (compatible; arch-variants)"


class DownloadError(OSError):
    """A file that could not be had: one line with the address, the cause, and what is kept."""


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, path: Path, *, sha256: str, attempts: int = 3, timeout: float = 5.0) -> Path:
    """Fetches `url` to `path`, unless that is there; returns `path`.

    Args:
      sha256: hexadecimal digest of the whole file.
      attempts: connections to make before giving up; each goes on where the last one broke off.
      timeout: seconds without a byte, or to connect, before an attempt fails.

    Raises:
      DownloadError: the host cannot be reached, refuses, stops short (the `.part` is kept and
        resumed the next time), or serves other bytes than `sha256` says (the `.part` is deleted).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with _lock(path.with_name(path.name + ".lock")):
        if path.exists():
            return path
        print(f"fetching {url}", file=sys.stderr)
        failure: Exception | str = "no attempt was allowed"
        for attempt in range(1, attempts + 1):
            resumed = part.exists()
            try:
                _transfer(url, part, timeout)
                _check(part, sha256)
                os.replace(part, path)
                return path
            except urllib.error.HTTPError as error:
                error.close()
                failure = f"the server says {error.code} {error.reason}"
                break
            except _WrongBytes as error:
                failure = error
                part.unlink()
                if not resumed:  # What another version of the file left may be to blame: once more.
                    break
            except (OSError, http.client.HTTPException) as error:
                failure = getattr(error, "reason", "") or error
                if attempt == 2 and not part.exists():  # Nobody answers: not worth a third wait.
                    break
    kept = f"; {part.stat().st_size} bytes are kept, to be resumed" if part.exists() else ""
    raise DownloadError(f"{url}: {failure}{kept}")


def unzip(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    """Unpacks the members with these base names into `folder`, each whole or not at all.

    Raises:
      DownloadError: the archive is damaged, or a member is not in it.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            inside = {info.filename.rsplit("/", 1)[-1]: info for info in file.infolist()}
            for name in members:
                if name not in inside:
                    raise DownloadError(f"{archive}: no {name} in it; it has {sorted(inside)}")
                partial = folder / f"{name}.{os.getpid()}.part"
                with file.open(inside[name]) as source, open(partial, "wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
                os.replace(partial, folder / name)
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{archive}: {error}") from None


class _WrongBytes(Exception):
    pass


def _transfer(url: str, part: Path, timeout: float) -> None:
    """Append the rest of `url` to `part`; OSError if fewer bytes came than were announced."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        return  # Nothing is left to send: what is here is whole, or wrong, as its digest will tell.
    with response:
        start, total = _extent(response, have)
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            while block := response.read(BLOCK):
                file.write(block)
            got = file.tell()
    if total and got != total:
        raise OSError(f"the transfer broke off at {got} of {total} bytes")


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int]:
    """Where the body starts in the file, and the file's size (0 where the server does not say)."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and found and int(found[1]) == have:
        return have, 0 if found[2] == "*" else int(found[2])
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        raise OSError(f"asked for bytes from {have}, was sent {found[0] if found else 'others'}")
    return 0, int(response.headers.get("Content-Length") or 0)


def _check(part: Path, expected: str) -> None:
    found = sha256(part)
    if found != expected:
        raise _WrongBytes(f"not the published file: sha256 {found}, expected {expected}")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time; the others wait, and then find the file there."""
    try:
        import fcntl
    except ImportError:  # Windows: atomic renames still keep every finished file whole.
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
