"""What a file is asked for at another shape than its own."""

import pytest

from fxconv.targets.write import _least_elsewhere


@pytest.mark.parametrize(("own", "least"), [(9.0, 3.0), (18.0, 8.0), (40.0, 10.0), (float("inf"), 10.0)])
def test_what_random_weights_make_of_rounding_is_not_called_wrong(own: float, least: float) -> None:
    assert _least_elsewhere(own) == least
