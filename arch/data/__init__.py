"""Text in, arrays of tokens out; and examples that are made instead of read.

    corpora/      text by name or from files: named.py, files.py, downloads.py; pairs of languages;
                  bAbI and LAMBADA
    tokenizers/   bytes, characters, words, byte-level BPE, files of others; where words begin
    tokens.py     documents to arrays of tokens, decoded back to see that nothing is lost
    dataset.py    the same for a corpus, cached on disk      cache.py  where that is
    parallel.py   the same for two languages, sentence by sentence
    batches/      which tokens make a batch: permutations, buckets, pairs, hidden tokens
    generated/    algorithms on strings of digits, made on the device

Objectives and metrics are in `arch.tasks`. `dataset.load('ptb', 'words').splits['train'].ids`
is what a task reads.
"""
