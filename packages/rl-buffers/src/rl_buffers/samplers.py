"""Samplers: which rows make the next batch."""

from rl_buffers._random_sampler import RandomSampler
from rl_buffers._sampler import Sampler
from rl_buffers._sampler_without_replacement import SamplerWithoutReplacement

__all__ = ["RandomSampler", "Sampler", "SamplerWithoutReplacement"]
