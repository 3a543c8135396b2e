"""Where the time of a collection step goes."""

from _work import Comparison, Contender, Family


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    def comparison(num_envs: int) -> Comparison:
        common = ("--num-envs", str(num_envs), "--seconds", "0.2" if is_quick else "3")
        contenders = tuple(
            Contender(library, "parts.py", ("--library", library, *common)) for library in ("rl-suite", "hand-written")
        )
        title = f"HalfCheetah-v5, {num_envs} env{'s' if num_envs > 1 else ''}"
        return Comparison(title, contenders)

    return tuple(map(comparison, (1, 8)))


FAMILY = Family(
    "parts",
    "Parts of a collection step",
    "The collection of the family `collection`, with a clock around each part of a step, which adds about ten "
    "microseconds to the whole. The hand-written loop writes its batch as it goes and stacks the policy's outputs at "
    "the end: there that is part of `the loop itself`.",
    _comparisons,
)
