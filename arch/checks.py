"""Options that cannot be are refused in one line: the field, its value, what is allowed.

Every check raises ConfigurationError.

    at_least(1, of="task", length=length)       task.length=0: allowed is 1 or more

`of` is the section of the options. A sublayer leaves it out: the stack, which knows the letter,
adds it.
"""

from collections.abc import Collection, Mapping

from arch.registry import Config, ConfigurationError, get, join, sublayers

ORDERS = ("order", "encoder_order")
SEED_LIMIT = 2**31  # seeds are below: they are int32 on the device
BASELINES = ("none", "kneser_ney")  # see `arch.baselines`
AT_LEAST_ONE = (
    "model.width", "train.steps", "train.batch", "train.accumulate", "save.every", "log.every",
    "evaluate.every", "baseline.n",
)  # fmt: skip
AT_LEAST_ZERO = (
    "train.clip", "train.patience", "evaluate.tokens", "evaluate.window", "evaluate.stride",
)  # fmt: skip
ONE_OF = {
    "train.replicas": ("auto", "map", "vmap"),
    "evaluate.weights": ("best", "last"),
    "baseline.kind": BASELINES,
}


def at_least(least: float, meaning: str = "", /, *, of: str = "", **options: float) -> None:
    """Refuses options below `least`; `meaning` says what that value stands for."""
    meant = f" ({meaning})" if meaning else ""
    for name, value in options.items():
        holds(value >= least, f"{least}{meant} or more", of=of, **{name: value})


def below_one(*, of: str = "", **rates: float) -> None:
    """Refuses rates outside of [0, 1)."""
    for name, value in rates.items():
        holds(0 <= value < 1, "0 to below 1", of=of, **{name: value})


def one_of(allowed: Collection[str], /, *, of: str = "", **options: str) -> None:
    """Refuses options that are not one of the allowed names."""
    for name, value in options.items():
        if value not in allowed:
            raise ConfigurationError(
                f"{join(of, name)}={value!r}: allowed are {', '.join(allowed)}"
            )


def holds(fine: object, allowed: str, /, *, of: str = "", **option: object) -> None:
    """Refuses the option unless `fine`; `allowed` says what would be accepted."""
    if not fine:
        ((name, value),) = option.items()
        raise ConfigurationError(f"{join(of, name)}={value!r}: allowed is {allowed}")


def no_windows(settings: Mapping[str, int], reason: str) -> None:
    """Refuses `evaluate.window` and `evaluate.stride` for a task of whole examples."""
    for name in ("window", "stride"):
        holds(not settings[name], f"0; {reason}", of="evaluate", **{name: settings[name]})


def check(config: Config) -> None:
    """Refuses a filled configuration for what the constructors of kinds do not see."""
    for paths, least in ((AT_LEAST_ONE, 1), (AT_LEAST_ZERO, 0)):
        for path in paths:
            at_least(least, **{path: get(config, path)})
    for path, allowed in ONE_OF.items():
        one_of(allowed, **{path: get(config, path)})
    if config.evaluate.tokens == 1:
        raise ConfigurationError(
            "evaluate.tokens=1: allowed is 0, the whole split, or 2 and more: one predicts nothing"
        )
    if config.train.batch % config.train.accumulate:
        raise ConfigurationError(
            f"train.accumulate={config.train.accumulate} does not divide "
            f"train.batch={config.train.batch}"
        )
    evaluations = -(-config.train.steps // config.evaluate.every)
    holds(
        config.train.patience < evaluations,
        f"0 (none) to {evaluations - 1}: of train.steps={config.train.steps} every "
        f"evaluate.every={config.evaluate.every} steps there are {evaluations} evaluations",
        of="train",
        patience=config.train.patience,
    )
    if not config.seeds or any(type(s) is not int or not 0 <= s < SEED_LIMIT for s in config.seeds):
        raise ConfigurationError(
            f"seeds={config.seeds}: expected whole numbers from 0 to {SEED_LIMIT - 1}, one at least"
        )
    if len(set(config.seeds)) < len(config.seeds):
        raise ConfigurationError(f"seeds={config.seeds}: a seed stands twice")
    own = config.train.data_seed
    holds(
        -1 <= own < SEED_LIMIT,
        f"-1 (each seed's own), or 0 to {SEED_LIMIT - 1}",
        of="train",
        data_seed=own,
    )
    if config.save.keep < 2:
        raise ConfigurationError(
            f"save.keep={config.save.keep}: allowed is 2 or more; `verify` replays between two"
        )
    for name in ORDERS:
        order = config.model[name]
        missing = {x for x in order if x.isalpha()} - set(config.model.sublayers)
        if missing:
            letter = min(missing)
            raise ConfigurationError(
                f"model.{name}={order!r}: letter {letter!r} has no binding; bind it with "
                f"FILE:{letter}=kind, a kind of {', '.join(sublayers.names())}"
            )
    if config.model.encoder_order and config.model.family != "encoder_decoder":
        raise ConfigurationError(
            f"model.encoder_order={config.model.encoder_order!r}: model.family="
            f"{config.model.family!r} has no encoder beside it; allowed is ''"
        )
