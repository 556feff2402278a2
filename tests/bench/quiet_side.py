"""A side without a library: what tests of the protocol talk to."""

import sys

from arch.bench.protocol import serve


class QuietSide:
    def __init__(self, parameters: int):
        print("a library greets")
        if parameters < 0:
            raise ValueError("fewer than none")
        self.about = {"parameters": parameters}

    def train(self, seconds: float):
        print("a library is at work")
        return {"tokens": 100 * seconds, "seconds": seconds}

    def die(self):
        sys.exit("out of memory")


if __name__ == "__main__":
    serve(QuietSide)
