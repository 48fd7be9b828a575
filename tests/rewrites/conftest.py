"""The engine every test here runs on; its folder on the import path gives the tests `passcheck` and `eager_int8`."""

import pytest
import torch


@pytest.fixture(autouse=True)
def qnnpack():
    """The mobile engine, one thread, a fixed seed; everything is put back afterwards."""
    engine, threads = torch.backends.quantized.engine, torch.get_num_threads()
    torch.backends.quantized.engine = "qnnpack"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.backends.quantized.engine = engine
    torch.set_num_threads(threads)
