"""Statistics of scores: pure functions that name their method and answer `None` instead of NaN.

`intervals` and `cases` are one run's means and shares, `clusters` what cases share, `repeats` is pass@k and pass^k,
`ratios` is cost per success, `differences`, `paired` and `noninferiority` are two runs, `multiplicity` corrects for
looking at many scores, `missing` is what unscored cases could still change, `power` is how many cases a question needs,
`sequential` may be looked at after every case, `bootstrap` is for the rest.
"""

from tracekit_evaluators.statistics.bootstrap import bca_interval, bootstrap_t_interval
from tracekit_evaluators.statistics.cases import (
    Repeats,
    clustered_mean,
    mean_of_cases,
    proportion_of_cases,
    repeats_of_cases,
)
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
from tracekit_evaluators.statistics.intervals import clopper_pearson_interval, mean_interval, wilson_interval
from tracekit_evaluators.statistics.missing import Coverage, coverage, worst_case_bounds
from tracekit_evaluators.statistics.multiplicity import benjamini_hochberg, holm
from tracekit_evaluators.statistics.noninferiority import MarginTest, margin_test
from tracekit_evaluators.statistics.paired import EffectSizes, effect_sizes, mcnemar_mid_p, tango_difference, tango_z
from tracekit_evaluators.statistics.power import binary_spread, cases_needed, detectable, power_of, repeated_spread
from tracekit_evaluators.statistics.ratios import ratio_of_means
from tracekit_evaluators.statistics.repeats import flaky_cases, flaky_share, pass_at_k, pass_hat_k, trials_of
from tracekit_evaluators.statistics.sequential import EProcess, e_values

__all__ = [
    "Coverage",
    "EProcess",
    "EffectSizes",
    "Estimate",
    "MarginTest",
    "PValue",
    "Repeats",
    "bca_interval",
    "benjamini_hochberg",
    "binary_spread",
    "bootstrap_t_interval",
    "cases_needed",
    "clopper_pearson_interval",
    "clustered_mean",
    "coverage",
    "detectable",
    "e_values",
    "effect_sizes",
    "fisher_exact_p",
    "flaky_cases",
    "flaky_share",
    "holm",
    "independent_difference",
    "independent_proportion_difference",
    "margin_test",
    "mcnemar_exact_p",
    "mcnemar_mid_p",
    "mean_interval",
    "mean_of_cases",
    "paired_difference",
    "paired_effect_size",
    "paired_proportion_difference",
    "pass_at_k",
    "pass_hat_k",
    "power_of",
    "proportion_of_cases",
    "ratio_of_means",
    "repeated_spread",
    "repeats_of_cases",
    "sign_flip_p",
    "tango_difference",
    "tango_z",
    "trials_of",
    "wilson_interval",
    "worst_case_bounds",
]
