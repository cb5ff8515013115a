"""Imported by the process from which this machine's workers are forked: all that they will need.

No thread may run there and JAX must not have begun to compute, else what is forked would hang.
"""

import os
import signal

# Ctrl-C reaches every process of the terminal; the parent alone decides when this one ends.
signal.signal(signal.SIGINT, signal.SIG_IGN)

import distributed.nanny  # noqa: E402
import distributed.worker  # noqa: E402, F401

from gridcast.training import backend  # noqa: E402

backend.load(os.environ["KERAS_BACKEND"])

from gridcast import work  # noqa: E402, F401
from gridcast.training import fit, fused  # noqa: E402, F401
