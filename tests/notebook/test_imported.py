"""Tokenizer files, and models in Hugging Face's format: evaluated, and made to speak."""

import dataclasses
import json
import random
import re
import shutil
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers as package
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import arch
from arch import config, variants
from arch.context import Context
from arch.data import dataset
from arch.data.batches import masking, segments
from arch.data.corpora import named as corpora
from arch.data.tokenizers import borders
from arch.data.tokenizers import imported as tokenizer_files
from arch.data.tokenizers import kinds as tokenizers
from arch.data.tokenizers.contract import LostTextError
from arch.huggingface import weights as huggingface
from arch.models.families import build
from arch.notebook.loaded import Loaded
from arch.registry import ConfigurationError, tasks
from arch.training import program as training
from arch.training.state import Swept
from tests import cli
from tests.draws import drawn
from tests.families import always

FIXTURES = Path(__file__).parents[1] / "fixtures" / "huggingface"
NAMES = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnop"
VOCABULARY = 50  # of the fixtures


# Tokenizers of the three families, as small as the fixtures


def wordpiece(special=NAMES) -> package.Tokenizer:
    """BERT's: 50 entries, the special ones not side by side."""
    entries = [*LETTERS, *("##" + letter for letter in LETTERS), ".", "the", "cat", "sat"]
    for place, name in zip((0, 11, 30, 38), special, strict=False):
        entries.insert(place, name)
    entries += ["[UNK]", *(f"[unused{i}]" for i in range(VOCABULARY))]
    vocabulary = {entry: i for i, entry in enumerate(entries[:VOCABULARY])}
    made = package.Tokenizer(package.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = package.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
    made.decoder = package.decoders.WordPiece()
    made.add_special_tokens([*special, "[UNK]"])
    around = [(name, vocabulary[name]) for name in ("[SEP]", "[CLS]") if name in special]
    if len(around) == 2:
        made.post_processor = package.processors.BertProcessing(*around)
    return made


def unigram() -> package.Tokenizer:
    """ALBERT's: its padding is <pad>, and [MASK] takes the space before it."""
    names = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    words = ["▁the", "▁cat", "▁sat", "▁", ".", *LETTERS, *(f"▁{letter}" for letter in LETTERS)]
    pieces = [*((name, 0.0) for name in names), *((word, -1.0 - len(word)) for word in words)]
    made = package.Tokenizer(package.models.Unigram(pieces, unk_id=1))
    made.normalizer = package.normalizers.Lowercase()
    made.pre_tokenizer = package.pre_tokenizers.Metaspace()
    made.decoder = package.decoders.Metaspace()
    made.add_special_tokens([*names[:-1], package.AddedToken("[MASK]", lstrip=True)])
    return made


def byte_level(size: int, whole: bool = True, prefix: bool = False) -> package.Tokenizer:
    """GPT-2's; whole: it has all 256 bytes."""
    made = package.Tokenizer(package.models.BPE())
    made.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = package.decoders.ByteLevel()
    alphabet = package.pre_tokenizers.ByteLevel.alphabet() if whole else []
    trainer = package.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator([text(3000, 0)], trainer)
    return made


TOKENIZERS = {
    "bert": wordpiece,
    "albert": unigram,
    "gpt2": lambda: byte_level(VOCABULARY, whole=False),
}


def text(characters: int, seed: int, end: str = "\n\n") -> str:
    """Documents of a few sentences, in the letters that the tokenizers have."""
    source, documents = random.Random(seed), []
    while sum(map(len, documents)) < characters:
        sentences = []
        for _ in range(source.randint(2, 5)):
            words = ("".join(source.choices(LETTERS, k=source.randint(1, 4))) for _ in range(4))
            sentences.append(f"the cat {' '.join(words)} sat.")
        documents.append(" ".join(sentences) + end)
    return "".join(documents)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """A corpus of three files of many documents."""
    folder = tmp_path_factory.mktemp("data")
    for seed, (split, size) in enumerate({"train": 3000, "valid": 900, "test": 500}.items()):
        (folder / f"{split}.txt").write_text(text(size, seed))
    return f"file:{folder}"


@pytest.fixture(scope="module")
def pairs(data, tmp_path_factory) -> str:
    """The same without a test split: pairs of each have a program to compile."""
    folder = tmp_path_factory.mktemp("pairs")
    for split in ("train", "valid"):
        shutil.copy(Path(data[5:], f"{split}.txt"), folder)
    return f"file:{folder}"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """bert, albert, gpt2: the fixtures with tokenizers."""
    folder = tmp_path_factory.mktemp("models")
    for name, make in TOKENIZERS.items():
        shutil.copytree(FIXTURES / name, folder / name)
        make().save(str(folder / name / "tokenizer.json"))
    return folder


def with_tokenizer(name: str, vocabulary: int, folder: Path) -> Path:
    """A fixture's copy with a tokenizer."""
    shutil.copytree(FIXTURES / name, folder / name)
    byte_level(vocabulary, whole=False).save(str(folder / name / "tokenizer.json"))
    return folder / name


@pytest.fixture(scope="module")
def reformer(tmp_path_factory) -> Path:
    """The fixture with a tokenizer."""
    return with_tokenizer("reformer", 40, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def jamba(tmp_path_factory) -> Path:
    """The fixture with a tokenizer."""
    return with_tokenizer("jamba", VOCABULARY, tmp_path_factory.mktemp("models"))


def read(made: package.Tokenizer) -> tokenizer_files.TokenizerFile:
    return tokenizer_files.TokenizerFile(made.to_str())


# The tokenizer


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_byte_level_is_lossless(written):
    tokenizer = read(byte_level(300))
    written = written.encode("utf-8", "replace").decode()
    assert tokenizer.lossless
    assert tokenizer.decode(tokenizer.encode(written)) == written


def test_byte_level_keeps_the_bytes_that_make_no_character():
    tokenizer = read(byte_level(300))
    written = b"caf\xe9 \xff\xfe <|endoftext|> \xc3".decode("utf-8", "surrogateescape")
    ids = tokenizer.encode(written)
    assert tokenizer.decode(ids) == written
    assert tokenizer._encoder.token_to_id("<|endoftext|>") in ids


def changed(made: package.Tokenizer, change) -> tokenizer_files.TokenizerFile:
    content = json.loads(made.to_str())
    change(content)
    return tokenizer_files.TokenizerFile(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["pre_tokenizer"].update(add_prefix_space=True),
        lambda c: c.update(normalizer={"type": "Lowercase"}),
        lambda c: c["added_tokens"][0].update(lstrip=True),
        lambda c: c.update(pre_tokenizer=None),
        lambda c: c["model"]["vocab"].update({"é à": 300}),
        lambda c: c["model"].update(end_of_word_suffix="</w>"),
    ],
)
def test_what_may_change_a_text_is_not_called_lossless(change):
    assert not changed(byte_level(280), change).lossless


def test_what_has_no_entry_for_every_byte_and_no_unk_is_not_lossless_and_refuses_what_it_lacks():
    tokenizer = read(TOKENIZERS["gpt2"]())
    assert (tokenizer.size, tokenizer.unit, tokenizer.lossless) == (50, "subword", False)
    with pytest.raises(LostTextError, match="no entry for '\N{REPLACEMENT CHARACTER}'"):
        tokenizer.encode("the cat\udce9 sat")


@pytest.mark.parametrize("name, size", [("bert", 50), ("albert", 42)])
def test_what_has_an_unknown_token_is_not_lossless_and_takes_any_text(name, size):
    tokenizer = read(TOKENIZERS[name]())
    assert (tokenizer.size, tokenizer.unit, tokenizer.lossless) == (size, "subword", False)
    escaped = tokenizer.encode("the cat\udce9 sat")
    assert escaped.dtype == np.int32 and len(escaped) > 2
    assert escaped.tolist() == tokenizer.encode("the cat� sat").tolist()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_long_text_in_pieces_has_the_tokens_of_the_whole(name, monkeypatch):
    made = TOKENIZERS[name]()
    tokenizer, written = read(made), text(2000, 5) + "a\n  b \n c"
    monkeypatch.setattr(tokenizer_files, "CHUNK", 16 * 20)
    assert len(list(tokenizers.chunks(written, 20, r" (?=\S)"))) > 50
    whole = made.encode(written, add_special_tokens=False).ids
    assert tokenizer.encode(written).tolist() == whole
    assert [ids.tolist() for ids in tokenizer.encode_all([written, "the cat"])][0] == whole


def test_truncation_padding_dropout_and_what_stands_around_are_left_out():
    made = wordpiece()
    wanted = made.encode("the cat sat.", add_special_tokens=False).ids
    assert len(made.encode("the cat sat.").ids) == len(wanted) + 2
    made.enable_truncation(2)
    made.enable_padding(length=9)
    assert read(made).encode("the cat sat.").tolist() == wanted
    dropping = changed(byte_level(300), lambda c: c["model"].update(dropout=0.9))
    assert dropping.encode("the cat sat.").tolist() == (byte_level(300).encode("the cat sat.").ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_all_of_it_is_in_its_json(name):
    first = read(TOKENIZERS[name]())
    again = tokenizers.from_json(json.loads(json.dumps(first.to_json())))
    written = text(200, 3)
    assert again.encode(written).tolist() == first.encode(written).tolist()
    assert (again.size, again.special, again.to_json()) == (
        first.size, first.special, first.to_json(),
    )  # fmt: skip


def test_special_tokens_are_those_that_the_vocabulary_has():
    assert read(wordpiece()).special == {"[PAD]": 0, "[CLS]": 11, "[SEP]": 30, "[MASK]": 38}
    assert read(unigram()).special == {"[PAD]": 0, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    assert read(byte_level(260)).special == {}
    assert tokenizers.Bytes().special is None
    unmarked = changed(wordpiece(), lambda c: c.update(added_tokens=[]))
    assert unmarked.encode("the [MASK] sat").tolist()[1] == 38


def test_what_has_no_entry_is_the_unknown_one():
    for made, unknown in ((wordpiece(), "[UNK]"), (unigram(), "<unk>")):
        tokenizer = read(made)
        assert tokenizer.unknown == made.token_to_id(unknown)
        assert tokenizer.unknown in tokenizer.encode("the cat ß")
    assert read(byte_level(300)).unknown == -1


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_words_and_sentences_are_told_from_the_entries(name):
    tokenizer = read(TOKENIZERS[name]())
    entries = borders.texts(tokenizer)
    ids = tokenizer.encode("the cat abc sat. the cat.")
    assert "".join(entries[i] for i in ids).strip() == "the cat abc sat. the cat."
    left, right = borders.seams(entries)
    goes_on = [bool(right[a] and left[b]) for a, b in zip(ids[:-1], ids[1:], strict=True)]
    pieces = [tokenizer._encoder.id_to_token(i) for i in ids[1:]]
    inside = {"bert": lambda p: p.startswith("##"), "albert": lambda p: p[0] in LETTERS}[name]
    assert goes_on == [inside(piece) for piece in pieces] and any(goes_on)
    sentences = borders.sentences(ids, np.array([0]), entries)
    assert sentences.tolist() == [0, [entries[i] for i in ids].index(".") + 1, len(ids)]


def test_tokens_and_sha256_go_by_the_content_and_not_by_the_path(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCH_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("first", "second"):
        wordpiece().save(str(tmp_path / f"{name}.json"))
    first, second = (dataset.load(data, f"file:{tmp_path}/{n}.json") for n in ("first", "second"))
    assert first.sha256 == second.sha256
    assert len(list((tmp_path / "cache/tokens").iterdir())) == 1
    made = wordpiece()
    made.normalizer = package.normalizers.BertNormalizer(lowercase=False)
    made.save(str(tmp_path / "first.json"))
    third = dataset.load(data, f"file:{tmp_path}/first.json")
    assert third.sha256 != first.sha256
    assert len(list((tmp_path / "cache/tokens").iterdir())) == 2
    same = config.make(task={"tokenizer": f"file:{tmp_path}/first.json", "corpus": data})
    assert len({config.identity(same, d.sha256) for d in (first, third)}) == 2
    assert dataset.load(data, "words").sha256 == corpora.load(data).sha256


# Batches with special tokens of the tokenizer's own


def masked_task(tokenizer: Path, corpus: str, **options):
    given = {"length": 20, "rate": 0.4, "evaluation_examples": 200, "sentence": "next", **options}
    return tasks.get("masked_language_model")(
        corpus=corpus, tokenizer=f"file:{tokenizer}/tokenizer.json", **given
    )


@pytest.mark.parametrize("name", always(["bert", "albert"], ("bert",)))
def test_special_tokens_stand_where_they_should_and_are_never_hidden(name, models, pairs):
    task = masked_task(models / name, pairs, whole_words=True, spans=2)
    special = segments.special(task.tokenizer)
    assert task.vocabulary == task.tokenizer.size == task.entries
    batch = task.evaluation_batch("valid", task.examples("valid"))
    original = batch.inputs.copy()
    rows = np.arange(len(original))[:, None]
    real = batch.weights > 0
    where = np.where(real, batch.positions, 0)
    before = original[rows, where]
    original[np.broadcast_to(rows, where.shape)[real], where[real]] = batch.targets[real]
    ends = (original == special.sep).sum(1)
    assert (original[:, 0] == special.cls).all() and (ends == 2).all()
    assert (batch.mask == (original != special.pad)).all()
    assert not np.isin(batch.targets[real], special).any()
    now, then = before[real], batch.targets[real]
    assert 0.75 < (now == special.mask).mean() < 0.85
    strange = now[(now != special.mask) & (now != then)]
    assert len(strange) > 20 and not np.isin(strange, special).any()
    assert len(np.unique(strange)) > 10 and strange.max() < task.tokenizer.size


def test_a_table_of_entries_draws_as_a_number_of_them_does():
    counts, zeros = masking.predictions(0.3, 0, 40), jnp.zeros(40, jnp.int32)
    ids = jax.random.randint(jax.random.key(0), (40,), 0, 12)
    found = [
        jax.jit(lambda x, e=entries: masking.mask(jax.random.key(1), x, zeros, counts, e, 11, 2))(
            ids
        )
        for entries in (10, np.arange(10, dtype=np.int32))
    ]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "kind", always(("language_model", "masked_language_model"), ("language_model",))
)
def test_any_model_trains_on_the_tokens_of_a_file(kind, models, data):
    model = variants.masked_encoder(1, 16, 2, "gelu", {"kind": "plain"}, head={"classes": 2})
    if kind == "language_model":
        model = variants.gpt2_like(1, 16, 2)
    task = {"kind": kind, "corpus": data, "length": 16}
    made = config.make(
        model=model,
        task={**task, "tokenizer": f"file:{models}/bert/tokenizer.json"},
        train={"steps": 2, "batch": 4},
    )
    task, built = training.build(made)
    assert task.vocabulary == VOCABULARY
    program = training.Program(made, task, built)
    state = program.init(np.array([0], np.int32))
    swept = Swept.of([(made, 0)])
    source = task.source()
    state, metrics = program.train(state, swept, source, 0, 2)
    assert int(state.step[0]) == 2
    assert np.isfinite(np.asarray(metrics["loss"])[0, :2]).all()


# Evaluation


def table(out: str) -> list[dict]:
    """The rows of a printed table."""
    lines = [line for line in out.splitlines() if line[:1] in "┃│"]
    rows = [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def evaluated(*argv) -> dict[str, dict]:
    """split → figures."""
    done = cli.run("evaluate", *map(str, argv))
    assert done.code == 0, done.err
    return {row["split"]: row for row in table(done.out)}


def log_p(logits) -> np.ndarray:
    """In NumPy."""
    x = np.asarray(logits, np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def logits_of(loaded):
    """A function: the logits of whole sequences."""
    of = jax.jit(lambda parameters, x: loaded.model.logits(parameters, x, Context()))
    return lambda ids: np.asarray(of(loaded.parameters, jnp.asarray(ids)))


def by_windows(loaded, ids, window: int, stride: int) -> tuple[float, float]:
    """(nats a token, accuracy) of a stream, one window after the other; each target counts once."""
    logits = logits_of(loaded)
    total, right, count, start = 0.0, 0, 0, 0
    while count < len(ids) - 1:
        piece = np.zeros(window, int)
        have = ids[start : start + window + 1]
        piece[: len(have) - 1] = have[:-1]
        found = log_p(logits(piece[None])[0])
        for place in range(window - stride if start else 0, len(have) - 1):
            total -= found[place, have[place + 1]]
            right += found[place].argmax() == have[place + 1]
            count += 1
        start += stride
    assert count == len(ids) - 1
    return total / count, right / count


@pytest.mark.parametrize("window, stride", always([(20, 20), (20, 5), (12, 12)], [(20, 5)]))
def test_the_loss_of_gpt2_is_that_of_its_logits_window_by_window(window, stride, models, data):
    flags = [f"--stride={stride}"] if stride != 20 else []
    flags += [f"--window={window}"] if window != 20 else []
    rows = evaluated(f"--run={models / 'gpt2'}", f"--corpus={data}", *flags)
    assert list(rows) == ["valid", "test"] and "seed" not in rows["test"]
    ids = TOKENIZERS["gpt2"]().encode(Path(data[5:], "test.txt").read_text()).ids
    loss, accuracy = by_windows(arch.load(models / "gpt2"), ids, window, stride)
    test = rows["test"]
    assert float(test["loss"]) == pytest.approx(loss, abs=1e-4)
    assert float(test["accuracy"]) == pytest.approx(accuracy, abs=1e-4)
    said = test["tokens"], test["window"], test["stride"], test["unit"]
    assert said == (str(len(ids) - 1), str(window), str(stride), "subword")


def test_a_reformer_is_evaluated_causally_and_that_is_said(reformer, data):
    loaded = arch.load(reformer, corpus=data)
    binding = loaded.config.model.sublayers.l
    assert (binding.attend_across_buckets, binding.remove_duplicates) == (False, True)
    assert (binding.before, binding.after, binding.buckets) == (1, 0, (2, 4))
    done = cli.run("evaluate", f"--run={reformer}", f"--corpus={data}")
    assert done.code == 0, done.err
    assert "LSH attention is computed causally" in loaded.note
    assert loaded.note in " ".join(done.out.split())
    rows = {row["split"]: row for row in table(done.out)}
    ids = loaded.tokenizer.encode(Path(data[5:], "test.txt").read_text())
    loss, accuracy = by_windows(loaded, ids, 48, 48)
    assert float(rows["test"]["loss"]) == pytest.approx(loss, abs=1e-4)
    assert float(rows["test"]["accuracy"]) == pytest.approx(accuracy, abs=1e-4)


def test_what_comes_later_changes_nothing_in_a_loaded_reformer(reformer):
    logits, ids = logits_of(arch.load(reformer)), np.random.default_rng(0).integers(0, 40, 48)
    changed = np.where(np.arange(48) < 30, ids, (ids + 1) % 40)
    before, after = logits(ids[None])[0], logits(changed[None])[0]
    np.testing.assert_array_equal(before[:30], after[:30])
    assert (before[30:] != after[30:]).any()


def test_an_encoder_of_reformer_fills_masks_as_its_checkpoint_computes_them(reformer, tmp_path):
    held = huggingface.read(reformer)
    model = {**held.model, "family": "encoder", "order": "(lf)2"}
    model["sublayers"] = {k: v for k, v in held.model["sublayers"].items() if k != "s"}
    built = build(config.make(model=model).model, VOCABULARY, 48)
    parameters = drawn(built)
    huggingface.write(tmp_path, model, parameters, VOCABULARY, 48)
    wordpiece().save(str(tmp_path / "tokenizer.json"))
    loaded = arch.load(tmp_path)
    assert loaded.config.model.sublayers.l.attend_across_buckets and not loaded.note
    assert loaded.config.task.kind == "masked_language_model"
    assert "[MASK]" not in loaded.generate("the [MASK] sat.")


@pytest.mark.parametrize(
    "name, relation", always((("bert", "next"), ("albert", "order")), (("albert", "order"),))
)
def test_masked_models_are_evaluated_on_tokens_and_on_pairs(name, relation, models, pairs):
    rows = evaluated(f"--run={models / name}", f"--corpus={pairs}")
    loaded = arch.load(models / name, corpus=pairs)
    assert loaded.config.task.sentence == relation and loaded.task.length == 20
    task, model = loaded.task, loaded.model
    batch = task.evaluation_batch("valid", task.examples("valid"))
    assert 0.4 < batch.label.mean() < 0.6
    context = Context(mask=jnp.asarray(batch.mask), segments=jnp.asarray(batch.segments))

    @jax.jit
    def both(parameters, ids):
        found = model.outputs(parameters, ids, context)
        return found["logits"], found["sentence_logits"]

    logits, sentence = both(loaded.parameters, jnp.asarray(batch.inputs))
    found = log_p(logits)[np.arange(len(batch.inputs))[:, None], batch.positions]
    real = batch.weights > 0
    hits = np.take_along_axis(found, batch.targets[..., None], -1)[..., 0]
    valid = rows["valid"]
    assert float(valid["loss"]) == pytest.approx(-hits[real].mean(), abs=1e-4)
    right = (found.argmax(-1) == batch.targets)[real]
    assert float(valid["accuracy"]) == pytest.approx(right.mean(), abs=1e-4)
    right = np.asarray(sentence).argmax(-1) == batch.label
    assert float(valid["sentence_accuracy"]) == pytest.approx(right.mean(), abs=1e-4)
    assert valid["unit"] == "hidden subword"


@pytest.mark.slow
def test_next_sentence_is_left_out_of_one_document_and_that_is_said(models, tmp_path):
    for split in ("train", "valid"):
        (tmp_path / f"{split}.txt").write_text(text(900, 1, end=" \n"))
    done = cli.run("evaluate", f"--run={models / 'bert'}", f"--corpus=file:{tmp_path}")
    assert done.code == 0, done.err
    assert "sentence_accuracy" not in done.out
    assert "next sentence is left out" in done.out and "has one document" in done.out
    order = evaluated(f"--run={models / 'albert'}", f"--corpus=file:{tmp_path}")
    assert 0 <= float(order["valid"]["sentence_accuracy"]) <= 1


def test_a_model_without_a_sentence_head_has_no_pairs_to_tell(models, tmp_path, pairs):
    folder = copied(models / "bert", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if "seq_relationship" not in k and "pooler" not in k},
        folder / "model.safetensors",
    )
    rewrite(folder / "config.json", architectures=["BertForMaskedLM"])
    loaded = arch.load(folder, corpus=pairs)
    assert loaded.config.task.sentence == "none"
    assert not loaded.task.evaluation_batch("valid", loaded.task.examples("valid")).label.any()


def test_text_too_short_to_train_on_is_long_enough_to_evaluate_on(models, tmp_path):
    for split in ("train", "valid"):
        (tmp_path / f"{split}.txt").write_text("the cat abc sat.\n")
    rows = evaluated(f"--run={models / 'gpt2'}", f"--corpus=file:{tmp_path}")
    assert 2 < int(rows["valid"]["tokens"]) < 20


def test_a_larger_table_than_the_tokenizer_needs_is_fine(models, tmp_path):
    folder = copied(models / "gpt2", tmp_path)
    byte_level(33, whole=False).save(str(folder / "tokenizer.json"))
    loaded = arch.load(folder)
    assert (loaded.tokenizer.size, loaded.model.vocabulary) == (33, VOCABULARY)
    assert loaded.tokenizer.decode([40, 3, 49]) == loaded.tokenizer.decode([3])


@pytest.mark.slow
def test_a_run_of_our_own_is_evaluated_on_another_corpus_in_its_own_tokens(tmp_path, data):
    folder = cli.write_small(tmp_path)
    done = cli.run(
        "run", "--config=small.py", "--cell=sf", "--seeds=1", "--name=own",
        "--config.task.tokenizer=bpe:300", cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.err
    path = cli.folder_of(folder / "runs/own", "sf").path
    run, other = arch.load(path), arch.load(path, corpus=data)
    assert run.tokenizer.to_json() == other.tokenizer.to_json()
    test = Path(data[5:], "test.txt").read_text()
    documents = re.split(r"(?<=\n\n)", test)[:-1]
    wanted = np.concatenate([run.tokenizer.encode(document) for document in documents])
    np.testing.assert_array_equal(other.task.dataset.splits["test"].ids, wanted)
    rows = evaluated(f"--run={path}", f"--corpus={data}")
    loss, _ = by_windows(run, wanted, 16, 16)
    assert float(rows["test"]["loss"]) == pytest.approx(loss, abs=1e-4)
    assert (rows["test"]["seed"], rows["test"]["tokens"]) == ("0", str(len(wanted) - 1))
    assert evaluated(f"--run={path}")["test"]["tokens"] != rows["test"]["tokens"]
    with pytest.raises(ConfigurationError, match="evaluated on its own data alone"):
        dataclasses.replace(run, task=types.SimpleNamespace(any_text=False, kind="babi")).on(data)


# Speaking


def generated(*argv) -> str:
    done = cli.run("generate", *map(str, argv))
    assert done.code == 0, done.err
    return done.out.removesuffix("\n")


@pytest.mark.parametrize(
    "name, length",
    always([("gpt2", 20), ("reformer", 48), ("jamba", 64)], [("gpt2", 20), ("jamba", 64)]),
)
def test_a_decoder_goes_on_as_if_all_were_computed_anew(name, length, models, reformer, jamba):
    folder = {"gpt2": models / "gpt2", "reformer": reformer, "jamba": jamba}[name]
    loaded = arch.load(folder)
    logits = logits_of(loaded)
    ids = loaded.tokenizer.encode("the cat").tolist()
    start = len(ids)
    while len(ids) < start + 6:
        padded = np.array([*ids, *[0] * (length - len(ids))])
        ids.append(int(logits(padded[None])[0, len(ids) - 1].argmax()))
    said = generated(f"--run={folder}", "--prompt=the cat", "--tokens=6", "--temperature=0")
    assert said == "the cat" + loaded.tokenizer.decode(ids[start:])


@pytest.mark.parametrize(
    "name, prompt, before",
    [
        ("bert", "The [MASK] sat on [MASK].", "the [MASK] sat o ##n [MASK] ."),
        ("albert", "The [MASK] sat [MASK] .", "▁the [MASK] ▁sat [MASK] ▁ ."),
    ],
)
def test_masks_are_filled_with_the_most_probable_tokens(name, prompt, before, models):
    loaded = arch.load(models / name)
    tokenizer = TOKENIZERS[name]()
    pieces = ["[CLS]", *before.split(" "), "[SEP]"]
    ids = np.array([tokenizer.token_to_id(piece) for piece in pieces])
    logits = logits_of(loaded)(ids[None])
    best = logits[0][:, : tokenizer.get_vocab_size()].argmax(-1)
    filled = np.where(ids == tokenizer.token_to_id("[MASK]"), best, ids)
    said = generated(f"--run={models / name}", f"--prompt={prompt}")
    assert said == tokenizer.decode(filled[1:-1], skip_special_tokens=False)
    assert "[MASK]" not in said


@pytest.mark.parametrize(
    "spec, prompt, pieces",
    [
        ("words", "the [MASK] sat. [MASK]", ["the", "[MASK]", "sat.", "[MASK]"]),
        ("bytes", "a[MASK]b", ["a", "[MASK]", "b"]),
    ],
)
def test_masks_of_our_own_models_are_filled_too(spec, prompt, pieces, data):
    made = config.make(
        model=variants.masked_encoder(1, 16, 2, "gelu", {"kind": "plain"}, head={"classes": 2}),
        task={"kind": "masked_language_model", "corpus": data, "tokenizer": spec, "length": 16},
    )
    task, model = training.build(made)
    loaded = Loaded(made, task, model, jax.jit(model.init)(jax.random.key(0)))
    size, tokenizer = task.entries, task.tokenizer
    numbers = {"[MASK]": size + segments.MASK}
    numbers |= {p: int(tokenizer.encode(p)[0]) for p in pieces if p != "[MASK]"}
    middle = [numbers[piece] for piece in pieces]
    ids = np.array([size + segments.CLS, *middle, size + segments.SEP])
    logits = logits_of(loaded)(ids[None])[0]
    best = logits[:, :size].argmax(-1)
    filled = np.where(ids == numbers["[MASK]"], best, ids)
    assert loaded.generate(prompt) == tokenizer.decode(filled[1:-1])


def test_no_corpus_is_read_to_speak_or_to_look_inside(models, monkeypatch):
    def read(name):
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(corpora, "load", read)
    loaded = arch.load(models / "gpt2")
    assert len(loaded.generate("the cat", tokens=3)) > 0
    assert list(loaded.capture("the cat", ["attention.weights"])["attention.weights"]) == [0, 2, 4]
    assert "sat" in arch.load(models / "bert").generate("the [MASK] sat.")


# Bad inputs


def copied(model: Path, to: Path) -> Path:
    return Path(shutil.copytree(model, to / model.name))


def rewrite(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(*argv) -> str:
    """The one line of a command that ends with 2."""
    done = cli.run(*map(str, argv))
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1, done.err
    return done.err


def another_family(folder):
    shutil.copy(FIXTURES / "gpt2" / "model.safetensors", folder)


def missing_shard(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": dict.fromkeys(tensors, "model-00001-of-00002.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def large_tokenizer(folder):
    byte_level(300).save(str(folder / "tokenizer.json"))


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def damaged_tokenizer(folder):
    file = folder / "tokenizer.json"
    file.write_text(file.read_text()[:-200])


def not_a_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")


def tokenizer_in_latin(folder):
    (folder / "tokenizer.json").write_bytes(b"caf\xe9")


def no_mask(folder):
    wordpiece(special=NAMES[:3]).save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("command", [["evaluate"], ["generate", "--prompt=the [MASK]"]])
@pytest.mark.parametrize(
    "harm, says",
    [
        (another_family, ("not a checkpoint of bert", "looks like one of gpt2")),
        (lambda f: rewrite(f / "config.json", model_type="t5"), ("'t5'", "bert, albert, gpt2")),
        (missing_shard, ("model-00001-of-00002.safetensors: missing", "names this shard")),
        (
            lambda f: rewrite(f / "config.json", hidden_act="mish"),
            ("hidden_act='mish'", "known are gelu"),
        ),
        (lambda f: rewrite(f / "config.json", vocab_size=51), ("(51, 16), found (50, 16)",)),
        (
            large_tokenizer,
            ("tokenizer.json: the tokenizer has 300 entries", "vocabulary is 50", "allowed are"),
        ),
        (no_tokenizer, ("bert: has no tokenizer.json", "AutoTokenizer.from_pretrained('")),
        (damaged_tokenizer, ("tokenizer.json: not a tokenizer (", "save_pretrained('DIR')")),
        (not_a_tokenizer, ("tokenizer.json: not a tokenizer (Model missing",)),
        (tokenizer_in_latin, ("tokenizer.json: not a tokenizer (", "utf-8")),
        (no_mask, ("task.tokenizer='file:", "has no [MASK]; expected are [PAD], [CLS]")),
    ],
)
def test_a_directory_that_cannot_be_loaded(command, harm, says, models, tmp_path):
    folder = copied(models / "bert", tmp_path)
    harm(folder)
    line = refused(command[0], f"--run={folder}", *command[1:])
    assert all(text in line for text in says), line


@pytest.mark.parametrize(
    "name, argv, says",
    [
        ("gpt2", ("evaluate", "--window=21"), "evaluate.window=21: learned positions end at"),
        ("gpt2", ("evaluate", "--window=8", "--stride=9"), "evaluate.stride=9: allowed is 1 to"),
        ("bert", ("evaluate", "--window=8"), "evaluate.window=8: pairs have task.length=20"),
        ("gpt2", ("evaluate", "--corpus=stdlb"), "did you mean 'stdlib'?"),
        ("gpt2", ("evaluate", "--corpus=file:absent.txt"), "absent.txt: no such file"),
        ("bert", ("evaluate", "--corpus=file:absent.txt"), "absent.txt: no such file"),
        ("gpt2", ("generate", "--prompt=the cat", "--tokens=19"), "has learned 20"),
        ("gpt2", ("generate", "--prompt="), "expected either --prompt=TEXT or --prompts=FILE"),
        ("gpt2", ("generate", "--prompt=a", "--seed=1"), "seed=1: an imported model has seed 0"),
        (
            "gpt2",
            ("generate", "--prompt=the cat", "--beams=51"),
            "beams=51: allowed is 0 (no search)",
        ),
        ("bert", ("generate", "--prompt=the [MASK]", "--beams=2"), "leave out beams=2"),
        ("bert", ("generate", "--prompt=the [MASK]", "--stop=a"), "leave out stop=('a',)"),
        ("bert", ("generate", "--prompt=the [MASK]", "--min-p=0.1"), "leave out min_p=0.1"),
        ("bert", ("generate", "--prompt=the cat."), "the prompt 'the cat.' has no [MASK]"),
        (
            "albert",
            ("generate", f"--prompt=[MASK]{' cat' * 20}"),
            "needs 23 positions with [CLS] and [SEP]; the model has 20",
        ),
        ("bert", ("verify",), "an imported model has no checkpoints of its training"),
        ("absent", ("evaluate",), "absent: no run is here"),
        ("absent", ("generate", "--prompt=a"), "absent: no run is here"),
    ],
)
def test_what_cannot_be_done_with_a_model(name, argv, says, models, data):
    corpus = [f"--corpus={data}"] if argv[0] == "evaluate" and "--corpus" not in argv[-1] else []
    line = refused(argv[0], f"--run={models / name}", *argv[1:], *corpus)
    assert says in line, line


def test_a_config_of_neither_is_neither(tmp_path):
    (tmp_path / "config.json").write_text('{"width": 3}')
    line = refused("evaluate", f"--run={tmp_path}")
    assert "neither a run's, which has a hash, nor a model's" in line


def test_a_head_that_predicts_no_tokens_is_refused_where_it_is_to(models, tmp_path, pairs):
    folder = copied(models / "bert", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    bare = {k[5:]: v for k, v in tensors.items() if k.startswith("bert.")}
    save_file(bare, folder / "model.safetensors")
    rewrite(folder / "config.json", architectures=["BertModel"])
    says = "model.head.predict=False"
    assert says in refused("evaluate", f"--run={folder}", f"--corpus={pairs}")
    assert says in refused("generate", f"--run={folder}", "--prompt=the [MASK]")
    weights = arch.load(folder).capture("the cat", ["attention.weights"])["attention.weights"]
    assert weights[0].shape == (2, 2, 2)


@pytest.mark.parametrize(
    "kind, tokenizer, says",
    [
        ("language_model", "file:", "file:"),
        ("language_model", "file:absent.json", "absent.json: No such file"),
        ("masked_language_model", "file:{gpt2}", "its vocabulary has no [PAD], [CLS], [SEP], [M"),
        ("language_model", "file:{bert}", "task.vocabulary=49"),
        ("masked_language_model", "file:{bert}", "task.vocabulary=49"),
        ("translation", "file:{bert}", "allowed is bpe:N"),
    ],
)
def test_a_tokenizer_file_that_a_task_cannot_take(kind, tokenizer, says, models, data):
    given = tokenizer.format(**{name: models / name / "tokenizer.json" for name in TOKENIZERS})
    options = {} if kind == "translation" else {"vocabulary": 49, "corpus": data}
    with pytest.raises(ConfigurationError) as caught:
        _ = tasks.get(kind)(tokenizer=given, **options).sha256
    assert says in str(caught.value) and "\n" not in str(caught.value)
