"""Whether a network still knows a task of the regression.

Mean squared errors over seeds have a heavy tail, as a task is either known or lost altogether: how many seeds know it
says more than the mean.
"""

from cl_runner.benchmarks.regression import NOISE

# The mean squared error below which a task is known: two and a half times the noise's variance, the least there is.
KNOWN = 2.5 * NOISE**2
