"""Imports of the process from which this machine's worker processes are forked: all that a worker needs.

Importing this module acts, and the order matters. A forked process inherits a copy of the memory but only the thread
that forked it, so no thread may run here and JAX must not have started to compute: a lock held by a thread that is
gone would never be released.
"""

import gc
import os
import signal

# First of all: Ctrl-C reaches every process of the terminal, but the parent alone decides when this one ends.
signal.signal(signal.SIGINT, signal.SIG_IGN)

import distributed.nanny
import distributed.worker

from gridcast.training import keras_backend

# Keras reads its backend when it is imported, so the backend is chosen before the modules that import Keras.
keras_backend.import_keras(os.environ["KERAS_BACKEND"])

from gridcast.sweep import task_execution
from gridcast.training import fused_fit, keras_fit

# What is imported is no garbage: no worker looks through it, nor gets a copy of its pages for that.
gc.collect()
gc.freeze()
