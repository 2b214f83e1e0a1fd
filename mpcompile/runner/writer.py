"""Files of a run, written beside the training: by one thread, in the order in which they were handed over."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Thread

Job = Callable[[], None]


class Writer:
    """Does jobs in a thread, one after the other.

    After a job that failed no other is done, and the next call raises what it raised: so that the files are what they
    would be without a thread, up to the fault.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._done = Condition()
        self._left = 0
        self._large = 0
        self._fault: BaseException | None = None
        self._thread = Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._fault is None:
                    job()
            except BaseException as fault:  # raised by the next call, in the thread of the training
                self._fault = fault
            with self._done:
                self._left -= 1
                self._done.notify_all()

    def put(self, job: Job, large: bool = False) -> None:
        """Hand a job over. A `large` one holds a state in memory: it waits for the one before. Raises the last fault."""
        if large:
            self.settle()
        self._raise()
        with self._done:
            self._left += 1
        self._jobs.put(job)

    def settle(self) -> None:
        """Wait until all jobs are done. Raises what one of them raised."""
        with self._done:
            self._done.wait_for(lambda: not self._left)
        self._raise()

    def close(self) -> None:
        """Let the jobs end, and the thread; raises nothing."""
        self._jobs.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._fault is not None:
            raise self._fault


__all__ = ["Writer"]
