"""Models that are counted and not trained by gradient; a cell with one has the lines of any run."""
