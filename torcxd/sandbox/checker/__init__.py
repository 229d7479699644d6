"""Judges a node from the outside: its disk, its boots and what was asked of its peers; names what breaks I1 to I8.

It shares no code with the program that it judges, so that neither hides the other's mistakes. What it knows of the
program are the documented files: the stores and profiles of torcx, kubelet.env, and the state file.

========= =====================================================================================================
I1        kubelet.env is there: it is whole, has what the installer gave and the version of the plan; the system
          that ran when it appeared, and that runs now, is the recorded one, stores included
I2        each image with a final name in the user's store is a file with a digest that a trusted key signed
I3        at each request to reboot, and each time that the update operator was told that it may, the next boot's
          profile was whole, pinned the plan's Docker, and was served by the next OS version's stores
I4        kubelet.env is never there, no reboot asked for, and the operator never told that it may, while an OS
          update of another version than the recorded one is pending
I5        no directory of the user store went away that the current or the next OS version needs, nor an image in it
I6        Docker's data went away across a boot if and only if the Docker version changed, and at no other time
I7        no boot saw two requests for the same target, unless the first one was lost; nobody asked for, or allowed,
          one more boot after three that did not bring the same target
I8        the state file is whole; one that was not is kept aside; no entry of the history was added to a torn one
N2        the profile for the next boot is there and whole at every instant
========= =====================================================================================================
"""

from torcxd.sandbox.checker.answers import Answers
from torcxd.sandbox.checker.judge import Checker

__all__ = ["Answers", "Checker"]
