"""What a file is asked for at another shape than its own."""

import math

import pytest

from fxconv.targets.write import _least_elsewhere


@pytest.mark.parametrize(("own", "least"), [(9.0, 3.0), (18.0, 8.0), (40.0, 10.0), (math.inf, 10.0)])
def test_what_random_weights_make_of_rounding_is_not_called_wrong(own: float, least: float) -> None:
    assert _least_elsewhere(own, amplifies=True) == least


@pytest.mark.parametrize(("own", "least"), [(9.0, 10.0), (26.0, 16.0), (40.0, 20.0), (math.inf, 20.0)])
def test_weights_that_do_not_amplify_rounding_are_held_to_more(own: float, least: float) -> None:
    """A file of the int8 module's bits at its own shape may still be a step off at another."""
    assert _least_elsewhere(own, amplifies=False) == least
