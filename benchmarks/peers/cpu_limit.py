"""An end to the training of a network when the process has used its share of processor time."""

from __future__ import annotations

import time
from typing import Any


def stop_after(callback: type, seconds: float) -> Any:
    """Return a callback of Lightning, whose class is `callback`, that stops the training after `seconds` of CPU time.

    The time is that of the process, so that the import of its packages counts. The callback counts the `steps` taken.
    """

    class CpuLimit(callback):  # type: ignore[misc]
        steps = 0

        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            self.steps += 1
            if time.process_time() > seconds:
                trainer.should_stop = True

    return CpuLimit()
