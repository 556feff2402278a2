"""A model with its parameters, its task and its tokenizer, for commands and notebooks."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from arch.checks import one_of
from arch.context import Context
from arch.data.tokenizers.kinds import Tokenizer
from arch.models.model import Model
from arch.notebook import texts
from arch.notebook.export import Export, save, save_for_transformers
from arch.notebook.texts import TextOptions
from arch.registry import Config, ConfigurationError
from arch.report.cards import Card, Shown, said_parameters
from arch.stacks.parameters import Parameters
from arch.sweeps import machine
from arch.tasks.contract import Task
from arch.training.program import Program

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEIGHTS, STEPS = "attention.weights", "halting.steps"  # what sublayers and stacks record
FORMATS = {"arch": save, "huggingface": save_for_transformers}


@dataclasses.dataclass(repr=False)
class Loaded(Shown):
    """Configuration, task, model, parameters, tokenizer. Of a run, the parameters are those that
    its results are of: `evaluate.weights` says which. They are arrays of jax, so that a function
    that is transformed may close over them as well as take them."""

    note = ""  # what is not evaluated, and why
    called = "an imported model"

    config: Config
    task: Task
    model: Any
    parameters: Parameters

    @property
    def status(self) -> str:
        """What became of its training."""
        return "finished"

    @property
    def origin(self) -> Mapping[str, object]:
        """Which replica of a run the parameters are of, at which step; nothing of what others
        trained."""
        return {}

    def card(self) -> Card:
        """What `repr` and a notebook show of it."""
        return Card(self.title, self.facts(), self.model.order)

    @property
    def title(self) -> str:
        """The first line of its card."""
        return f"Imported {self.config.model.family}"

    def facts(self) -> dict[str, str]:
        """The lines of its card below the order."""
        model = self.config.model
        return {
            "parameters": said_parameters(self.model.parameter_counts()),
            "width": f"{model.width} ({model.family}, stack {model.stack.kind})",
            "task": f"{self.config.task.kind} on {self.task.corpus}",
            **({"note": self.note} if self.note else {}),
        }

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What is known of its training, for a saved copy: of a run the line of its results, with
        the fields of `origin`."""
        return {}

    def save(self, folder: str | Path, format: str = "arch", overwrite: bool = False) -> Path:
        """Writes the model with its tokenizer and a card, README.md: order, corpus, metrics, where
        the weights come from, how to load them. The folder is there whole or not at all, and is
        returned.

        Args:
            folder: a new one; `arch.load` loads it, to the bit.
            format: arch, for any family; or huggingface, for what one of the families in
                `huggingface.FAMILIES` can express, which transformers loads as well.
            overwrite: allow a folder that is not empty. It is kept beside, as `folder`.old1; in
                Hugging Face's format the files of the same names are replaced.

        ConfigurationError where the folder is there, or cannot be written, and for a model that the
        format cannot express.
        """
        one_of(FORMATS, of="save", format=format)
        tokenizer = self.tokenizer if self.task.any_text else None
        sizes = self.model.vocabulary, self.model.max_length
        made = Export(self.config, *sizes, self.parameters, tokenizer, self.provenance, self.note)
        FORMATS[format](Path(folder), made, overwrite)
        return Path(folder)

    @property
    def tokenizer(self) -> Tokenizer:
        """The task's; ConfigurationError where the task reads no text."""
        return self.task.tokenizer

    def build(self) -> Model:
        """The model with these weights: `model(ids, mask, segments)` gives its outputs by name,
        see `Model.outputs`."""
        return self.model.with_weights(self.parameters)

    def program(self) -> Program:
        """The program that evaluates it, compiled for this machine."""
        return Program(self.config, self.task, self.model, machine.platform())

    def capture(self, text: str, names: list[str]) -> dict[str, dict[int, np.ndarray]]:
        """What the sublayers record of a text: name → position in the order → array.

        'attention.weights' is (heads, queries, keys). The text is cut at the task's length.
        ConfigurationError where nothing in the model records a name, or the task reads no text.
        """
        return self.capture_ids(self._ids(text), names)

    def capture_ids(self, ids: np.ndarray, names: list[str]) -> dict[str, dict[int, np.ndarray]]:
        """`capture` of token ids."""
        if len(ids) == 0:
            raise ConfigurationError("capture: the text has no tokens")
        return self.capture_inputs(jnp.asarray(ids, jnp.int32)[None], names, Context())

    def capture_inputs(
        self, inputs: Any, names: list[str], context: Context
    ) -> dict[str, dict[int, np.ndarray]]:
        """`capture` of what the model reads, a batch of one; the context has its masks."""

        def run(parameters, inputs, record):
            asked = context.replace(record=record, platform=machine.platform())
            return self.model.hidden(parameters, inputs, asked)[1].record

        every = functools.partial(run, record=Everything("*"))
        known = jax.eval_shape(every, self.parameters, inputs)
        if missing := set(names) - set(known):
            raise ConfigurationError(
                f"capture: nothing records {min(missing)!r}; "
                f"recorded are {', '.join(sorted(known)) or 'none'}{self._recorders(missing)}"
            )
        run = jax.jit(run, static_argnums=2)
        record = jax.device_get(run(self.parameters, inputs, frozenset(names)))
        return {k: {at: array[0] for at, array in sorted(v.items())} for k, v in record.items()}

    def plot_attention(self, text: str) -> "Figure":
        """The attention weights of a text as a matplotlib Figure: a row for each place in the
        order, a column for each head. The text is cut at the task's length.

        ConfigurationError where no sublayer records weights: full attention does.
        """
        from arch.notebook import plots

        ids = self._ids(text)
        found = self.capture_ids(ids, [WEIGHTS])[WEIGHTS]
        return plots.attention(found, self._texts(ids), {at: self._place(at) for at in found})

    def plot_halting(self, text: str) -> "Figure":
        """How many steps each token of a text took before it halted, as a matplotlib Figure. The
        text is cut at the task's length.

        ConfigurationError where nothing halts: the stack `universal` with `halting` does.
        """
        from arch.notebook import plots

        ids = self._ids(text)
        found = self.capture_ids(ids, [STEPS])[STEPS]
        return plots.halting(found[0], self._texts(ids))

    def _place(self, at: int) -> str:
        """'3 s': a place in the order and its letter; with its step where the order runs often."""
        places = self.model.stack.schedule.positions
        step, place = divmod(at, len(places))
        said = f"{place} {places[place][0]}"
        return f"step {step}, {said}" if self.model.stack.steps > 1 else said

    def _ids(self, text: str) -> np.ndarray:
        return self.tokenizer.encode(text)[: self.task.length]

    def _texts(self, ids: np.ndarray) -> list[str]:
        return [self.tokenizer.decode(ids[at : at + 1]) for at in range(len(ids))]

    def _recorders(self, missing: Collection[str]) -> str:
        """What would record the names, after '; '; '' where that is not known."""
        model = self.config.model
        kinds = dict.fromkeys(model.sublayers[letter].kind for letter in self.model.stack.letters)
        said = {
            WEIGHTS: f"; its kinds are {', '.join(kinds)}, full attention records weights",
            STEPS: f"; model.stack.kind={model.stack.kind!r}, of which nothing halts: 'universal' "
            "with model.stack.halting='act' does",
        }
        return said.get(min(missing), "")

    @overload
    def generate(
        self, prompt: str, tokens: int = 100, *args: Any, draws: None = None, **options: Any
    ) -> str: ...

    @overload
    def generate(
        self, prompt: str, tokens: int = 100, *args: Any, draws: int, **options: Any
    ) -> list[str]: ...

    def generate(
        self,
        prompt: str,
        tokens: int = 100,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        *,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        beams: int = 0,
        length_penalty: float | None = None,
        stop: str | Sequence[str] = (),
        draws: int | None = None,
    ) -> str | list[str]:
        """A text of the model's own: a language model goes on with the prompt, a translation is
        searched for, a masked language model puts the most probable token in the place of each
        [MASK].

        Compiled once for texts of up to 64, 128, … tokens, whatever the numbers; a search once for
        each number of tokens and beams.

        Args:
            tokens: the most that are added.
            temperature, top_k, top_p, min_p, repetition_penalty: how a token is drawn, see
                `Choice`; temperature 0 takes the most probable one.
            seed: of drawing; another one draws another text. The command calls it --draw.
            beams: search for the most probable text with so many hypotheses, instead of drawing;
                0 draws, and searches for a translation as its task says.
            length_penalty: of the search, see `Search`; None for the task's, 0 where it has none.
            stop: texts at which a text ends, before them; with beams a hypothesis is finished
                there.
            draws: a list of so many texts, of seed, seed + 1, …; None for one text.

        ConfigurationError where the task does not speak, and for options that cannot be, before
        anything is compiled.
        """
        options = TextOptions(
            tokens, temperature, top_k, top_p, min_p, repetition_penalty, beams, length_penalty,
            stop, seed, 1 if draws is None else draws,
        )  # fmt: skip
        found = ["".join(texts.stream(self, prompt, one)) for one in options.each()]
        return found[0] if draws is None else found

    def stream(self, prompt: str, tokens: int = 100, **options: Any) -> Iterator[str]:
        """The text of `generate` in pieces, each as soon as it is there; a search, a translation
        and what fills [MASK]s in come in one.

        options: those of `generate`, but `draws`.
        """
        return texts.stream(self, prompt, TextOptions(tokens, **options))

    @property
    def goes_on(self) -> bool:
        """Whether `generate` goes on with its prompt, and does not translate it or fill it in."""
        return self.model.causal and not self.task.decodes


class Everything(frozenset):
    """A set of names that has them all."""

    def __contains__(self, name) -> bool:
        return True
