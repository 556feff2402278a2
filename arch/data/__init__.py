"""Text in, token arrays out.

    corpora.py      what text: the embedded corpus, files, published corpora by name
    files.py        reading text files and directories, cutting them into splits
    downloads.py    fetching a file once, resumable and checked
    tokenizers.py   bytes, characters, words, byte-level BPE; by their specs
    tokenizer_files.py   tokenizers of Hugging Face's   tokenizer_base.py   what all have in common
    dataset.py      corpus + tokenizer -> token arrays, cached on disk
    lambada.py      passages whose last word is to be guessed
    parallel.py     the same of two languages, sentence by sentence
    buckets.py      sentences of many lengths as batches of few shapes
    permutation.py  a random order of blocks, one element at a time

`load('ptb', 'words').splits['train'].ids` is what a task reads.
"""

from arch.data.dataset import load

__all__ = ["load"]
