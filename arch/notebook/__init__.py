"""`arch.load`: a trained run, or a model in Hugging Face's format, with what a notebook or
a command asks of it: evaluate, capture, generate, replay, compare; `arch.results`: committed
results. Files of other packages are read by `arch.huggingface`."""
