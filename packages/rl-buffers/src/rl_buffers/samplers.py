"""Samplers: which rows make the next batch."""

from rl_buffers._beta_schedule import LinearAnnealing
from rl_buffers._consuming_sampler import ConsumingSampler
from rl_buffers._prioritized_sampler import PrioritizedSampler
from rl_buffers._prioritized_sampler_base import Normalization, PrioritizedSamplerBase
from rl_buffers._prioritized_slice_sampler import PrioritizedSliceSampler
from rl_buffers._priority_values import Numbers, Reduction
from rl_buffers._random_sampler import RandomSampler
from rl_buffers._rank_prioritized_sampler import RankPrioritizedSampler
from rl_buffers._sampler import Sampler
from rl_buffers._sampler_without_replacement import SamplerWithoutReplacement
from rl_buffers._slice_sampler import SliceSampler
from rl_buffers._slice_sampler_without_replacement import SliceSamplerWithoutReplacement
from rl_buffers._staleness_aware_sampler import StalenessAwareSampler
from rl_buffers._streaming_slice_sampler import StreamingSliceSampler

__all__ = [
    "ConsumingSampler",
    "LinearAnnealing",
    "Normalization",
    "Numbers",
    "PrioritizedSampler",
    "PrioritizedSamplerBase",
    "PrioritizedSliceSampler",
    "RandomSampler",
    "RankPrioritizedSampler",
    "Reduction",
    "Sampler",
    "SamplerWithoutReplacement",
    "SliceSampler",
    "SliceSamplerWithoutReplacement",
    "StalenessAwareSampler",
    "StreamingSliceSampler",
]
