"""Sampler rules and noise schedules by the names that a JSON configuration gives them."""

from __future__ import annotations

from softdiff_ext.learned_schedules import LearnedLinear, LearnedMonotone
from softdiff_ext.processes import Process
from softdiff_ext.rules import DDIM, Cold, Markov, Momentum, Naive, Rule
from softdiff_ext.schedules import Cosine, LinearBeta, LinearGamma, NoiseSchedule

RULES = ("default", "markov", "momentum", "momentum-exact", "ddim", "naive", "cold")
SCHEDULES: dict[str, type[NoiseSchedule]] = {
    "cosine": Cosine,
    "ddpm": LinearBeta,
    "linear": LinearGamma,
    "learned-linear": LearnedLinear,
    "learned-monotone": LearnedMonotone,
}


def rule_of(name: str, eta: float | None, noise_std: float | None, process: Process) -> Rule:
    """The rule of a name in `RULES`; "default" is that of the process.

    Raises:
        ValueError: the name is unknown, eta is given without "ddim" or noise_std without "naive", or is out of its range.
    """
    if name not in RULES:
        raise ValueError(f"rule: must be one of {', '.join(RULES)}, got {name!r}")
    for argument, value, wanted in (("eta", eta, "ddim"), ("noise_std", noise_std, "naive")):
        if value is not None and name != wanted:
            raise ValueError(f'{argument}: goes with rule="{wanted}" only, got {value} with rule="{name}"')
    if name == "default":
        return process.default_rule
    if name == "ddim":
        return DDIM(0.0 if eta is None else eta)
    if name == "naive":
        return Naive(noise_std)
    return {"markov": Markov(), "momentum": Momentum(), "momentum-exact": Momentum(exact=True), "cold": Cold()}[name]


def schedule_of(name: str, logsnr: tuple[float | None, float | None], steps: int, beta: tuple[float, float]) -> NoiseSchedule:
    """The noise schedule of a name in `SCHEDULES`.

    Args:
        logsnr: log signal-to-noise ratio at t = 1 and t = 0; None is the schedule's own. They start a learned schedule.
        steps: entries of DDPM's table.
        beta: first and last of DDPM's betas.
    Raises:
        ValueError: the name is unknown, a number is out of its range, or ends are given for DDPM's table, which has none.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule: must be one of {', '.join(SCHEDULES)}, got {name!r}")
    if name == "ddpm":
        if logsnr != (None, None):
            raise ValueError(f'logsnr_min, logsnr_max: schedule="ddpm" is given by its betas, got {logsnr}')
        return LinearBeta(steps, *beta)
    last, first = logsnr
    if name == "cosine":
        default = Cosine()
        return Cosine(default.logsnr_min if last is None else last, default.logsnr_max if first is None else first)
    published = LinearGamma()
    ends = published.gamma_min if first is None else -first, published.gamma_max if last is None else -last
    if name == "linear":
        return LinearGamma(*ends)
    return LearnedLinear(*ends) if name == "learned-linear" else LearnedMonotone(*ends)


def name_of(schedule: NoiseSchedule) -> str:
    """The name that `schedule_of` takes.

    Raises:
        ValueError: it has none.
    """
    for name, kind in SCHEDULES.items():
        if type(schedule) is kind:
            return name
    raise ValueError(f"schedule: no configuration describes {type(schedule).__name__}, only {', '.join(SCHEDULES)}")
