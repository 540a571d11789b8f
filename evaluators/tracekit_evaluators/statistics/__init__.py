"""Statistics of scores: pure functions that name their method and answer `None` instead of NaN.

`intervals` is one run's means and shares, `repeats` is pass@k and pass^k, `differences` is two runs,
`multiplicity` corrects for looking at many scores, `missing` is what unscored cases could still change,
`bootstrap` is for the rest.
"""

from tracekit_evaluators.statistics.bootstrap import bca_interval
from tracekit_evaluators.statistics.differences import (
    fisher_exact_p,
    independent_difference,
    independent_proportion_difference,
    mcnemar_exact_p,
    paired_difference,
    paired_effect_size,
    paired_proportion_difference,
    sign_flip_p,
)
from tracekit_evaluators.statistics.estimate import Estimate, PValue
from tracekit_evaluators.statistics.intervals import (
    clopper_pearson_interval,
    clustered_mean,
    mean_interval,
    mean_of_cases,
    proportion_of_cases,
    wilson_interval,
)
from tracekit_evaluators.statistics.missing import Coverage, coverage, worst_case_bounds
from tracekit_evaluators.statistics.multiplicity import benjamini_hochberg, holm
from tracekit_evaluators.statistics.repeats import flaky_share, pass_at_k, pass_hat_k, trials_of

__all__ = [
    "Coverage",
    "Estimate",
    "PValue",
    "bca_interval",
    "benjamini_hochberg",
    "clopper_pearson_interval",
    "clustered_mean",
    "coverage",
    "fisher_exact_p",
    "flaky_share",
    "holm",
    "independent_difference",
    "independent_proportion_difference",
    "mcnemar_exact_p",
    "mean_interval",
    "mean_of_cases",
    "paired_difference",
    "paired_effect_size",
    "paired_proportion_difference",
    "pass_at_k",
    "pass_hat_k",
    "proportion_of_cases",
    "sign_flip_p",
    "trials_of",
    "wilson_interval",
    "worst_case_bounds",
]
