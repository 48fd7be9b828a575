"""One training that several files of tests look at."""

from __future__ import annotations

import pytest
import torch
from fxconv_trainings import distilled

from fxconv.conversion import Conversion


@pytest.fixture(scope="session")
def trained() -> Conversion:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return distilled()
    finally:
        torch.set_num_threads(threads)
