"""What the operators should reach, and whether a run's rows do: ratios of two medians of one case, or of one shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cases import BLUR, BOTH_NEG, COPY, NOISE, OURS, TWIN, TWO_BLURS, TWO_NEGS, WIDE, YARDSTICKS

Row = dict[str, Any]

# shape -> how many times as fast as the best peer dct_blur must and should be (float32, warm), and how many times as long as a
# cold copy it should take at most (2 threads).
BLUR_FACTORS = {
    (128, 3, 32, 32): (9.0, 11.0, 1.3),
    (128, 3, 64, 64): (7.0, 10.0, 1.8),
    (32, 3, 128, 128): (4.7, 7.0, 2.5),
    (16, 3, 256, 256): (3.0, 5.0, 3.0),
    (4, 3, 512, 512): (2.3, 4.0, 4.0),
    (512, 1, 28, 28): (7.0, 10.0, 1.5),
    (8, 3, 218, 178): (2.8, 5.0, 6.0),
}
TORCH_FACTOR = 8.0  # reverse steps that draw noise against torch.randn and matmuls; normal on 2 threads against torch.randn
ERROR = 3.5e-7  # relative L2, float32
# Forward and backward are the same kernel twice. A tenth more for autograd's own work and the spread of a median.
BACKWARD = 2.2
# Two types that should take the same time: the spread of a median.
EQUAL = 1.05


@dataclass(frozen=True)
class Verdict:
    """One requirement on one row: `measured` against `must` and, where there is one, `goal`."""

    requirement: str
    operator: str
    shape: tuple[int, ...]
    threads: int
    measured: float
    must: float | None
    goal: float | None = None
    at_most: bool = False  # whether smaller is better
    bound: float | None = None  # what the parts alone would be, by medians of the same rounds
    parts: str = "the parts alone"

    def missed(self, bound: float | None) -> bool:
        if bound is None:
            return False
        return self.measured > bound if self.at_most else self.measured < bound

    @property
    def text(self) -> str:
        if self.missed(self.must):
            return f"must missed: {self._by(self.must)}{self._why}"
        if self.goal is None:
            return "must reached"
        if self.missed(self.goal):
            return ("must reached, " if self.must is not None else "") + f"goal missed: {self._by(self.goal)}"
        return "goal reached"

    @property
    def _why(self) -> str:
        if self.bound is None or self.must is None or (self.bound <= self.must if self.at_most else self.bound >= self.must):
            return ""
        if self.at_most:
            over = self.measured / self.bound - 1.0
            return f"; out of reach: {self.parts} take {self.bound:.2f}, this is {over:.0%} over them"
        return f"; out of reach: with {self.parts} it would be {self.bound:.2f}" if self.measured <= self.bound else ""

    def _by(self, bound: float | None) -> str:
        assert bound is not None
        return f"{abs(self.measured / bound - 1.0):.0%} {'over' if self.at_most else 'short'}"


class Rows:
    """The accepted rows of a run, by what they measured."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows: dict[tuple[Any, ...], dict[str, Row]] = {}
        for row in rows:
            if row["status"] == "ok":
                self._rows.setdefault(self._key(row), {})[row["candidate"]] = row

    @staticmethod
    def _key(row: Row) -> tuple[Any, ...]:
        return row["group"], row["operator"], tuple(row["shape"]), row["dtype"], row["threads"], row["operands"]

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], dict[str, Row]]]:
        """(group, operator, shape, dtype, threads, operands), {candidate: row} of every case."""
        return iter(self._rows.items())


def best_peer(case: dict[str, Row]) -> Row | None:
    """The fastest candidate that is neither ours nor a yardstick."""
    others = [row for name, row in case.items() if name not in (OURS, *YARDSTICKS)]
    return min(others, key=lambda row: float(row["ns_per_pixel_median"]), default=None)


def evaluate(measured: list[Row]) -> list[Verdict]:
    """Every requirement that the rows of a run can answer."""
    verdicts: list[Verdict] = []
    for (group, operator, shape, dtype, threads, state), case in Rows(measured):
        if OURS not in case:
            continue
        ours, best = float(case[OURS]["ns_per_pixel_median"]), best_peer(case)

        def add(
            requirement: str,
            value: float,
            must: float | None,
            goal: float | None = None,
            at_most: bool = True,
            where: tuple[Any, ...] = (operator, shape, threads),
            bound: float | None = None,
            parts: str = "the parts alone",
        ) -> None:
            verdicts.append(Verdict(requirement, *where, value, must, goal, at_most, bound, parts))

        error = case[OURS].get("error")
        if group in ("blur", "transform", "filter", "sweep", "backward") and dtype == "float32" and state == "warm":
            add("relative L2 error", float(error), ERROR)
        if group == "blur" and dtype == "float32":
            must, goal, copies = BLUR_FACTORS.get(shape, (1.0, None, None))
            if state == "warm" and best:
                peer, copied = best["ns_per_pixel_median"], case[COPY]["ns_per_pixel_median"]
                add("x best peer", peer / ours, must, goal, at_most=False, bound=peer / copied, parts="a copy")
            if state == "cold" and threads == 2 and copies and COPY in case:
                add("x cold copy", ours / case[COPY]["ns_per_pixel_median"], None, copies)
        elif group == "blur" and WIDE in case:
            add(f"{dtype}, x float32", ours / case[WIDE]["ns_per_pixel_median"], EQUAL)
        elif group in ("sweep", "transform", "filter", "loss", "training") and best:
            add("x best peer", best["ns_per_pixel_median"] / ours, 1.0, at_most=False)
        elif group == "backward" and BLUR in case:
            one, two, both, negs = (float(case[name]["ns_per_pixel_median"]) for name in (BLUR, TWO_BLURS, BOTH_NEG, TWO_NEGS))
            least = (two + max(both - negs, 0.0)) / one
            add("x dct_blur", ours / one, BACKWARD, bound=least, parts="two blurs and autograd's own work")
        elif group == "sampler" and BLUR in case:
            # The parts: as many transforms as images, and the noise where it is drawn. diffuse and momentum_step have the
            # target with noise that is given; drawn, it is measured too.
            blurs = float(case[BLUR]["ns_per_pixel_median"])
            images, drawn = float(case[OURS]["images"]), NOISE in case
            parts = images / 2.0 + (case[NOISE]["ns_per_pixel_median"] / blurs if drawn else 0.0)
            target = (images + 0.5) / 2.0
            must = None if drawn and operator in ("diffuse", "momentum_step") else target
            add("x dct_blur", ours / blurs, must, None if must else target, bound=parts)
            if TWIN in case and drawn and operator != "diffuse":
                twin = case[TWIN]["ns_per_pixel_median"]
                add("x torch twin", twin / ours, TORCH_FACTOR, at_most=False, bound=twin / (parts * blurs))
        elif group == "noise" and "torch.randn" in case:
            factor = TORCH_FACTOR if threads == 2 else 1.0
            add("x torch.randn", case["torch.randn"]["ns_per_pixel_median"] / ours, factor, at_most=False)
    return verdicts
