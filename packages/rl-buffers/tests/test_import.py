"""What importing the package brings along."""

import subprocess
import sys


def test_import_brings_no_simulator_and_changes_nothing() -> None:
    """Importing prints nothing, seeds nothing, and loads neither gymnasium nor a layer beside this one."""
    code = (
        "import sys, torch, tensordict\n"
        "state = torch.get_rng_state()\n"
        "import rl_buffers\n"
        "assert torch.equal(state, torch.get_rng_state())\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "bad = names & {'gymnasium', 'rl_envs', 'rl_modules', 'rl_collectors', 'rl_objectives', 'rl_trainers'}\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
