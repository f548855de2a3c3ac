"""How many times as fast one kind of run is as another, from pairs of runs that were taken side by side. Standard library only."""

import dataclasses
import math
import statistics


def within(t, freedom):
    """P(|T| <= t) of Student's distribution: the finite sums that it has for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd, cosine, total = freedom % 2 == 1, math.cos(angle), 0.0
    term = cosine if odd else 1.0
    for factor in range(3 if odd else 2, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (factor - 1) / factor
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def t_quantile(freedom, confidence=0.95):
    """The t that |T| exceeds with a probability of 1 - `confidence`."""
    low, high = 0.0, 1.0
    while within(high, freedom) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return high


@dataclasses.dataclass(frozen=True)
class PairedRatio:
    """Of positive ratios, one a pair. The interval is of the geometric mean: Student's on the logarithms; without two pairs there is none."""

    pairs: int
    mean: float
    median: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, ratios, confidence=0.95):
        logs = [math.log(ratio) for ratio in ratios]
        mean = statistics.fmean(logs)
        found = cls(len(logs), math.exp(mean), statistics.median(ratios))
        if len(logs) < 2:
            return found
        reach = t_quantile(len(logs) - 1, confidence) * statistics.stdev(logs) / math.sqrt(len(logs))
        return dataclasses.replace(found, low=math.exp(mean - reach), high=math.exp(mean + reach))

    def verdict(self, limit):
        if self.low >= limit:
            return f"not below {limit:g}"
        if self.high < limit:
            return f"below {limit:g}"
        return "undecided" if self.pairs > 1 else "one pair says nothing"
