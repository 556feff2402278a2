"""What text there is: published corpora by name, files, pairs of languages."""
