"""Finding orders: random and evolved ones by successive halving, the best on fresh seeds.

    python launch.py search
    python launch.py search --config='experiments/search.py:space=parameters,budget=2e7'
    python launch.py search --config='experiments/search.py:start=(mf)5sf,m=lstm,generations=4'

tiny   n = 6, half an hour on one core
desk   n = 12, a night on two cores (estimated)

The first generation's orders are random, those after it change the best so far: a random stretch of
a parent is drawn anew. Each generation is halved: all orders train a quarter of the steps, the
better half of them half of the steps, the better half of those all. `budget` is in tokens and buys
as many orders as it can; `steps` are all of them, instead of the scale's. Then the best order, the
start and the sandwich are trained on fresh seeds that chose nothing, and only these three are
compared.

space=counts keeps how often each letter occurs; space=parameters keeps s + 2 f (an f has twice an
s's parameters, Press et al. 2020, section 3), at any counts. `start` is the order that the space is
around, with any letters where counts are kept; nothing is the baseline's. All orders of a number of
steps are one program.

At tiny scale `f s4 f5 s2` is the best of 32 orders, and on five fresh seeds its perplexity is 2.7 %
[1.3, 4.0] below the baseline's, as much as the paper's best of 20 orders; the sandwich is between
them, and cannot be told from it. Four of its six attentions are in the lower half, as in the
paper's good orders; that it ends with the other two is not like them, and 400 steps are only the
beginning of training.
"""

import random
from collections.abc import Sequence

from arch import config
from arch import order as orders
from arch.registry import ConfigurationError
from arch.report import statistics
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from arch.sweeps.halving import FACTOR, halve, steps_of_rungs
from experiments import sandwich
from experiments.papers import press2020

ARGUMENTS = {
    "scale": ("tiny", "desk"),
    "space": ("counts", "parameters"),
    "start": "",
    "generations": 2,
    "rungs": 3,
    "budget": 0,
    "steps": 0,
    "corpus": "",
}
VARIES = ("model.order", "train.steps")

BUDGET = {"tiny": 10_000_000, "desk": 200_000_000}  # tokens of the search, where none is named
SEED = 0  # of the runs that choose, and of what is drawn
FRESH = (100, 101, 102, 103, 104)
PARENTS = 3  # of which each order after the first generation is a change
COST = press2020.COST


def start(arg):
    """The order that the space is around."""
    return orders.expand(arg.start or orders.vanilla(sandwich.layers(arg)))


def get_config(arg):
    overrides: dict = {"model.order": orders.compress(start(arg)), "model.stack.apply": "switch"}
    overrides |= {"train.steps": arg.steps} if arg.steps else {}
    if arg.space == "parameters":
        units = cost(start(arg))
        most = ["s" * units, "f" * (units // 2) + "s" * (units % 2)]
        overrides["model.stack.room"] = orders.room([start(arg), *most])
    setting = sandwich.setting(arg)
    for letter, kind in arg.letters.items():
        setting = config.bind(setting, letter, kind)
    return config.override(setting, overrides)


def cost(order):
    """In attention's parameters."""
    if foreign := sorted(set(order) - set(COST)):
        raise ConfigurationError(
            f"space=parameters: {foreign[0]!r} in start has no known cost; allowed are orders of "
            f"{' and '.join(COST)}, or space=counts"
        )
    return sum(COST[letter] for letter in order)


def rungs(arg):
    """Steps of each rung."""
    return steps_of_rungs(get_config(arg).train.steps, arg.rungs)


def population(arg):
    """How many orders a generation has: every rung costs as much as the first."""
    setting = get_config(arg)
    tokens = rungs(arg)[0] * setting.train.batch * setting.task.length
    budget = arg.budget or BUDGET[arg.scale]
    found = int(budget // (max(arg.generations, 1) * arg.rungs * tokens))
    if arg.generations < 1 or found < FACTOR ** (arg.rungs - 1):
        raise ConfigurationError(
            f"budget={budget:,} tokens, generations={arg.generations}: buys {found} orders a "
            f"generation; expected at least {FACTOR ** (arg.rungs - 1)}, each of {tokens:,} tokens "
            f"and more on {arg.rungs} rungs"
        )
    return found


def redrawn(arg, order, draw):
    """The order with a stretch of it drawn anew, of equal counts or of equal cost."""
    low, high = sorted(draw.sample(range(len(order) + 1), 2))
    stretch = list(order[low:high])
    if arg.space == "parameters":
        made = orders.random_budget(cost(stretch), draw.randrange(2**31), COST)
    else:
        draw.shuffle(stretch)
        made = "".join(stretch)
    return order[:low] + made + order[high:]


def proposals(arg, number, parents: Sequence[str], seen: set[str], generation: int) -> list[str]:
    """So many new orders: changes of the parents in turn; random ones where there are none."""
    draw = random.Random(1000 * SEED + generation)
    found: list[str] = []
    for attempt in range(1000):
        if len(found) == number:
            break
        if parents:
            order = redrawn(arg, parents[attempt % len(parents)], draw)
        elif arg.space == "parameters":
            order = orders.random_budget(cost(start(arg)), draw.randrange(2**31), COST)
        else:
            order = "".join(draw.sample(start(arg), len(start(arg))))
        if order not in seen:
            seen.add(order)
            found.append(order)
    return found


def searched(arg, results):
    """(cells of the search so far, its orders by perplexity with all steps; [] before its end)."""
    steps = rungs(arg)
    cells, ranked, seen = [], [], {start(arg)}
    number = population(arg)
    for generation in range(arg.generations):
        parents = [order for _, order in ranked[:PARENTS]]
        drawn = proposals(arg, number, parents, seen, generation)
        arms = [
            Cell(f"g{generation}-{i:02d}", {"model.order": orders.compress(order)}, (SEED,))
            for i, order in enumerate(drawn)
        ]
        halved = halve(arms, steps, results)
        cells += halved.cells
        if not halved.best:
            return cells, []
        for arm in halved.best:
            value = results.mean(f"{arm.name}-{steps[-1]}", (SEED,))
            ranked.append((value, orders.expand(str(arm.overrides["model.order"]))))
        ranked.sort()
    return cells, ranked


def cells(arg, results):
    """The search, the start and the sandwich beside it; then the best order found."""
    known = {"baseline": start(arg)}
    if set(start(arg)) == {"s", "f"}:
        middle = sandwich.middle_coefficient(arg)
        known["sandwich"] = orders.sandwich(sandwich.layers(arg), middle)
    tried, ranked = searched(arg, results)
    if ranked:
        known["found"] = ranked[0][1]
    fresh = [
        Cell(name, {"model.order": orders.compress(order)}, FRESH) for name, order in known.items()
    ]
    return fresh + tried


def TABLE(arg, cells, results):
    return {
        "title": f"A search for orders of {len(start(arg))} sublayers, equal {arg.space}",
        "metric": "perplexity",
        "split": "valid",
        "baseline": "baseline",
        "columns": ["order", "parameters.unique"],
        "sections": [generations(arg, results)],
    }


def generations(arg, results):
    """What each generation's orders came to, on the seed that chose among them."""
    cells, _ = searched(arg, results)
    rows = []
    for generation in range(arg.generations):
        for number in rungs(arg):
            start_of = f"g{generation}-"
            named = [cell for cell in cells if cell.name.startswith(start_of)]
            named = [cell for cell in named if cell.name.endswith(f"-{number}")]
            found = {
                value: cell.overrides["model.order"]
                for cell in named
                for value in results.values(cell.name).values()
            }
            if found:
                own = statistics.summary(found)
                rows.append(
                    [str(generation), str(number), str(own.n), statistics.mean_and_sd(own, 3),
                     f"{min(found):.3f}", found[min(found)]]
                )  # fmt: skip
    return {
        "title": "Generations",
        "columns": ["generation", "steps", "orders", "perplexity", "best", "its order"],
        "rows": rows,
        "note": "One seed each, which chose: these figures are in no comparison. Mean ± SD over "
        "orders.",
    }


def CLAIMS(arg, cells, results):
    names = {cell.name for cell in cells}
    mean = statistics.summary(press2020.BASELINE).mean
    best = min(value for _, value in press2020.PERMUTATIONS) / mean - 1
    against = {
        "baseline": (
            "the order that it is around",
            "Press et al. 2020, Table 1 (best of 20)",
            best,
        ),
        "sandwich": ("the sandwich", "This search, which no paper has", None),
    }
    return [
        Claim(
            f"search-{arg.space}-{other}",
            f"The best order of a search at equal {arg.space} beats {words}, on fresh seeds",
            source,
            "lower",
            {"found": 1, other: -1},
            effect=effect,
            margin=0.005,
        )
        for other, (words, source, effect) in against.items()
        if {"found", other} <= names
    ]
