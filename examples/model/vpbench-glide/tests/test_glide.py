"""The predictor keeps the contract of vpbench: one case per check."""

from vpbench.testing import conformance

test_glide = conformance("predictor", "glide")
