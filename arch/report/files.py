"""Writing a file, or a folder, whole or not at all: for results here, for the folders of runs, and
for saved models."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Writes `content` beside `path`, then renames it there: a reader sees the old file or the new.

    The file's folder must exist. Raises OSError where the disk refuses; the old file then stands
    as it was, and nothing is left beside it.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep a group's colleagues out
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """An empty folder to write into, which at the end takes the place of `folder`, whole or not at
    all: where the block raises, or is killed, `folder` is as it was.

    overwrite: allow one that is there and not empty; it is kept beside, as `folder`.old1.

    Raises FileExistsError where one is there, and OSError where the disk refuses.
    """
    folder = folder.absolute()
    if is_taken(folder) and not overwrite:
        raise FileExistsError(f"{folder}: there already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield scratch
        for file in filter(Path.is_file, scratch.rglob("*")):
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
        os.chmod(scratch, 0o755)  # mkdtemp's 0700 would keep a group's colleagues out
        if is_taken(folder) and overwrite:
            put_aside(folder)
        os.rename(scratch, folder)  # which takes the place of an empty folder alone
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def is_taken(folder: Path) -> bool:
    """Whether there is something that a new folder would replace."""
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def put_aside(path: Path) -> None:
    """Keeps a file or folder beside, under a numbered name: NAME.old1."""
    n = 1
    while (old := path.with_name(f"{path.name}.old{n}")).exists():
        n += 1
    path.rename(old)
