"""Tasks: data, objective and metrics, one file a kind, registered like sublayers.

What the trainer and the evaluator ask of a task:

families, metric, corpus, sha256, details, about, vocabulary, length, max_length,
tokens_per_sequence
    what it is and which models can learn it; FLOPs are of `length`, positions end at `max_length`
source() → indices(key, step, batch, shape) → gather(source, indices, shape) → assemble(gathered)
    a training batch, pure in key and step. `shapes` batches of different shape may take turns:
    `shape(step)` says which, the same for every seed. `streamed`: gathered on the host
weight(batch), sums(model, parameters, batch, context)
    the objective and statistics, as name → (sum, weight)
splits, examples(split, tokens, window, stride) → evaluation_batch(split, examples, window)
    → assemble_evaluation(gathered), then figures(split, means, count, window, stride)
    evaluation; rows of zeros, which fill a batch up, count nothing. `check_evaluation(settings)`
decodes, search, prompt(batch), decoded_figures(split, ids, gathered)
    what the model makes of it on its own
"""

from arch.tasks import algorithmic, babi, lambada, language_model, masked, translation

__all__ = ["algorithmic", "babi", "lambada", "language_model", "masked", "translation"]
