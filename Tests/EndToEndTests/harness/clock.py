"""The server's time of day, which a case can set ahead: what lives for minutes or days is tested without waiting.

The server is started with a small preloaded library (clock_shift.c, compiled here by the Swift toolchain's clang or any other
compiler) that adds to the time of day what a shared file says. Nothing of the server itself is changed for it.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shift.c")


class Clock:
    """`with Clock() as clock: World(…, env=clock.env)`; then `clock.ahead(seconds)` whenever time has to pass."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ledger-e2e-clock-")
        folder = Path(self._folder.name)
        self.shift, self._file = 0, folder / "ahead"
        self._file.write_bytes(struct.pack("=q", 0))
        library = folder / "clock_shift.so"
        compiler = next((found for name in ("clang", "cc", "gcc") if (found := shutil.which(name))), None)
        assert compiler, "no C compiler (clang, cc or gcc) for clock_shift.c: the server's clock cannot be set ahead"
        made = subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-o", library, SOURCE], capture_output=True, text=True)
        assert made.returncode == 0, f"clock_shift.c does not compile: {made.stderr}"
        self.env = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self._file)}

    def __enter__(self) -> "Clock":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def ahead(self, seconds: int) -> None:
        """Lets so many seconds more have passed, for the server."""
        self.shift += seconds
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", self.shift))

    def now(self) -> float:
        """What the server takes for now."""
        return time.time() + self.shift
