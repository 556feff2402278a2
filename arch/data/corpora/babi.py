"""bAbI (Weston et al. 2015): stories of facts, with questions of one-word answers in between.

A file has a line a fact, `3 Mary moved to the hall.`, or a question, `4 Where is Mary? \thall\t3`:
the number counts the lines of a story and 1 begins the next one; behind the tabs stand the answer
and the numbers of the facts it rests on. `load((1, 2))` reads the files

    ARCH_DATA_DIR/babi/qa1_…_train.txt, …_test.txt       1,000 questions each, size '1k'
    ARCH_DATA_DIR/babi-10k/qa1_…_train.txt, …_test.txt   10,000 to train on, size '10k'

which are the folders en and en-10k of tasks_1-20_v1-2. Words are lower-cased (task 15 asks of
`gertrude`, whom its facts call `Gertrude`) and without the full stop and the question mark, where
tensor2tensor keeps both; an answer of several words, `milk,football`, is one token.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from arch.data.corpora.reading import CorpusError, read_bytes

TASKS = tuple(range(1, 21))
FOLDERS = {"1k": ("babi", "en"), "10k": ("babi-10k", "en-10k")}  # ours, and its name as published
ARCHIVE = "http://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz"
PADDING, UNKNOWN = 0, 1  # ids that are no word of the training files

Words = tuple[str, ...]


class Question(NamedTuple):
    """A question with the facts of its story that stand before it."""

    facts: tuple[Words, ...]
    words: Words
    answer: str
    support: tuple[int, ...]  # places in `facts` that the answer rests on, from 0
    task: int
    story: int  # its number in the file, from 0


@dataclass(frozen=True)
class Questions:
    """The questions of the tasks asked for, task after task, and the sha256 of their files."""

    train: tuple[Question, ...]
    test: tuple[Question, ...]
    sha256: str


class Examples(NamedTuple):
    """Questions as arrays: the facts kept, then the question, then padding.

    A row of zeros is no question: its `real` is 0.
    """

    sentences: Int[np.ndarray, "n sentences words"]  # ids, PADDING where no word is
    length: Int[np.ndarray, " n"]  # facts kept + 1
    answer: Int[np.ndarray, " n"]
    task: Int[np.ndarray, " n"]
    support: Int[np.ndarray, " n"]  # number of facts that the answer rests on
    real: Float[np.ndarray, " n"]  # 1


def load(tasks: Sequence[int], size: str = "1k") -> Questions:
    """The training and test questions of these tasks.

    Raises:
      CorpusError: ARCH_DATA_DIR unset, a file missing, or a line that is not as described above.
    """
    folder, digest, splits = _folder(size), hashlib.sha256(), {}
    for split in ("train", "test"):
        questions: list[Question] = []
        for task in tasks:
            path = _find(folder, task, split, FOLDERS[size][1])
            data = read_bytes(path)
            digest.update(f"{task} {split} {len(data)}\n".encode() + data)
            questions += parse(data, task, str(path))
        splits[split] = tuple(questions)
    return Questions(splits["train"], splits["test"], digest.hexdigest())


def _folder(size: str) -> Path:
    name, published = FOLDERS[size]
    own = os.environ.get("ARCH_DATA_DIR")
    folder = Path(own or "").expanduser() / name
    if not own or not folder.is_dir():
        raise CorpusError(
            f"{name}: not in ARCH_DATA_DIR ({own or 'unset'}); put the files of {published} from "
            f"{ARCHIVE} into ARCH_DATA_DIR/{name}"
        )
    return folder


def _find(folder: Path, task: int, split: str, published: str) -> Path:
    """The one file of a task and split."""
    pattern = f"qa{task}_*_{split}.txt"
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        there = f"{len(found)} files" if found else "no file"
        raise CorpusError(
            f"{folder}: {there} {pattern} for task {task}; expected one, of {published} from "
            f"{ARCHIVE}"
        )
    return found[0]


@functools.lru_cache(maxsize=8)
def parse(data: bytes, task: int, source: str) -> tuple[Question, ...]:
    """The questions of a file; those of the last few files are kept.

    Raises:
      CorpusError: a line that is not as described above, named with `source`.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{source}: not UTF-8 text (byte {error.start})") from None
    questions: list[Question] = []
    facts: dict[int, tuple[int, Words]] = {}  # line of the story → which fact, its words
    story, previous = -1, 0
    for line_number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{source}:{line_number}"
        head, _, rest = line.strip().partition(" ")
        number = int(head) if head.isdecimal() else 0
        if number == 1:
            facts, story = {}, story + 1
        elif number < 2 or number != previous + 1:
            raise CorpusError(
                f"{where}: {head!r} where {f'{previous + 1} or ' * (previous > 0)}1 is expected, "
                "the number of the line in its story"
            )
        previous = number
        sentence, *more = rest.split("\t")
        words = _words(sentence)
        if not words:
            raise CorpusError(f"{where}: a line without words")
        if not more:
            facts[number] = (len(facts), words)
            continue
        answer, support = _answer(more, facts, where)
        kept = tuple(fact for _, fact in facts.values())
        questions.append(Question(kept, words, answer, support, task, story))
    if not questions:
        raise CorpusError(f"{source}: no question in it")
    return tuple(questions)


def _answer(parts: list[str], facts: Mapping, where: str) -> tuple[str, tuple[int, ...]]:
    """What stands behind a question: the answer and the facts it rests on."""
    answer = parts[0].strip().lower()
    if len(parts) != 2 or not answer:
        raise CorpusError(
            f"{where}: {len(parts)} fields behind the question where two are expected, "
            "the answer and its supporting facts"
        )
    support = []
    for number in parts[1].split():
        if not number.isdecimal() or int(number) not in facts:
            raise CorpusError(
                f"{where}: supporting fact {number!r} is no fact before it in the story"
            )
        support.append(facts[int(number)][0])
    return answer, tuple(support)


def _words(sentence: str) -> Words:
    return tuple(w for w in (word.strip(".,?!") for word in sentence.lower().split()) if w)


def hold_out(
    questions: Iterable[Question], share: float
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """(the rest, the questions of the last `share` of each task's stories, at least one story).

    Whole stories, since the questions of one story share their facts.

    Raises:
      CorpusError: nothing would be left of a task.
    """
    questions = tuple(questions)
    stories = {q.task: q.story + 1 for q in questions}  # in order, so the last one stays
    first = {task: n - max(1, round(share * n)) for task, n in stories.items()}
    for task, n in stories.items():
        if first[task] < 1:
            raise CorpusError(f"task {task} has {n} stories: none is left to train on")
    rest = tuple(q for q in questions if q.story < first[q.task])
    return rest, tuple(q for q in questions if q.story >= first[q.task])


def vocabulary(questions: Iterable[Question]) -> dict[str, int]:
    """Word → id, in the order of the alphabet, of facts, questions and answers; <unk> stands for
    words that these questions do not have."""
    words: set[str] = set()
    for question in questions:
        words.update((question.answer, *question.words), *question.facts)
    return {"<unk>": UNKNOWN} | {word: id for id, word in enumerate(sorted(words), UNKNOWN + 1)}


def extent(questions: Iterable[Question], facts: int) -> tuple[int, int]:
    """(most sentences, most words of a sentence) where the last `facts` facts are kept."""
    sentences = words = 0
    for question in questions:
        kept = question.facts[-facts:]
        sentences = max(sentences, len(kept) + 1)
        words = max(words, len(question.words), *map(len, kept))
    return sentences, words


def encode(
    questions: Sequence[Question], ids: Mapping[str, int], facts: int, sentences: int, words: int
) -> Examples:
    """Arrays of (questions, sentences, words), the last `facts` facts of each question kept."""
    kind = np.uint16 if len(ids) + 1 < 1 << 16 else np.int32
    table = np.full((len(questions), sentences, words), PADDING, kind)
    for row, question in zip(table, questions, strict=True):
        for place, sentence in zip(row, (*question.facts[-facts:], question.words), strict=False):
            place[: len(sentence)] = [ids.get(word, UNKNOWN) for word in sentence]
    return Examples(
        sentences=table,
        length=np.array([min(len(q.facts), facts) + 1 for q in questions], np.int32),
        answer=np.array([ids.get(q.answer, UNKNOWN) for q in questions], np.int32),
        task=np.array([q.task for q in questions], np.int32),
        support=np.array([len(q.support) for q in questions], np.int32),
        real=np.ones(len(questions), np.float32),
    )
