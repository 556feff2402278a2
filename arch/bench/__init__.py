"""Our training step beside a peer's at the same sizes, in turn, each in a process of its own.

expressing  which cells a peer can run, and at which sizes     worker  the process of one side
protocol    JSON lines between a side and the command          ours    our side
against     the turns, and the line of a result                shares  where a step of ours goes
others      how much of the machine other processes took meanwhile
our_texts   our side where text is made                        texts   the line of that
table       results/benchmarks/: the lines, and the page of all of them
peers/      what the others are; the only place that imports PyTorch, in a process of its own
"""
