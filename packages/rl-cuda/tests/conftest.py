"""Devices to test on: the CPU everywhere, and each CUDA device on which the kernels can run."""

import pytest
import torch

import rl_cuda


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes `device` once on the CPU, and once on a GPU where there is one."""
    if "device" in metafunc.fixturenames:
        devices = ["cpu", *(["cuda"] if rl_cuda.is_available() else [])]
        metafunc.parametrize("device", [torch.device(name) for name in devices], ids=str)
