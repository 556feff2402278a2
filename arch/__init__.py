"""Architecture variants: an order of sublayers, a stack that runs it, a table that can be trusted.

    order          'sf' strings: parse, expand, compress, generate
    registry       where kinds of sublayers, stacks and tasks are looked up by name
    checks         options that cannot be, refused in one line
    config         defaults, checks, overrides, identity   plugins   files of the user's
    context        what a sublayer is given besides x
    sublayers/     attention, feed-forward, …       one file a kind
    stacks/        how an order runs in depth: norm, residual, sharing; once, or often with halting
    embeddings     tokens and positions (axial)     heads/  log-probabilities
    models         embedding → stack → head; decoder, encoder, both together
    variants       papers' names for models         generation greedy, beam, sampling; with a cache
    data/          corpora, pairs, tokenizers       tasks/  data, objective, metrics
    optimizers     optax by name                    training   state, step, program
    evaluation     teacher-forced sums by window and stride, and free decoding
    group          replicas trained together        checkpoints, runs   what is kept of them
    experiment     a file of cells                  sweeps  cells × seeds, resumed where they stood
    statistics     intervals, paired differences    results, report, figures, charts
    huggingface    weights of BERT, ALBERT, GPT-2 from and to a directory
    notebook       what is loaded to be evaluated and to speak: a run, or an imported model

Glossary: an *order* is a string of letters, each a *sublayer*; a *stack* runs it; a *task* has data
and objective; a *variant* is a paper's point in that space; a *cell* is one configuration of an
*experiment*; a *group* is the (cell, seed) *replicas* that share one compiled program.
"""


def load(path, seed: int = 0, corpus: str = ""):
    """A trained run for a notebook, or a model in Hugging Face's format: see
    `arch.notebook.run`."""
    from arch.notebook import run as notebook

    return notebook.load(path, seed, corpus)
