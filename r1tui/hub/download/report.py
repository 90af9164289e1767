"""What a download reports: every file, the rate now and on average, how long it will take, why it waits."""

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath

from r1tui.events import Emit, FileProgress, FilesProgress, FileState, Meter
from r1tui.hub.download.part import PartialFile
from r1tui.hub.download.transfer import Transfer
from r1tui.hub.listing.remote import RemoteFile, RemoteFiles

INTERVAL_S = 1.0


class Report:
    """Told by the transfer what it is at, it says so once a second."""

    def __init__(
        self, listing: RemoteFiles, here: Sequence[RemoteFile], parts: Sequence[PartialFile], emit: Emit
    ) -> None:
        self.transfer: Transfer | None = None
        self.checked: dict[str, int] = {}
        """Bytes of each file that is being checked that have been read."""
        self.right = {file.path for file in here}
        self._listing = listing
        self._parts = {part.file.path: part for part in parts}
        self._emit = emit
        self._already = sum(part.arrived_bytes for part in parts)
        self._arrival = self._meter(sum(file.size_bytes for file in here) + self._already)
        self._check: Meter | None = None

    @property
    def came_bytes(self) -> int:
        """What has been fetched since the beginning of this run."""
        return sum(part.arrived_bytes for part in self._parts.values()) - self._already

    @property
    def average(self) -> float | None:
        """Bytes per second of this run; None while that cannot be told."""
        return self._arrival.average

    async def go_on(self) -> None:
        """Report for ever."""
        while True:
            self.now()
            await asyncio.sleep(INTERVAL_S)

    def now(self) -> None:
        """Report how things stand."""
        files = tuple(map(self._file, self._listing.files))
        total = self._listing.size_bytes
        arrived = sum(file.total if file.state in ("checking", "done") else file.done for file in files)
        if arrived < total:
            self._check = None
            meter = self._arrival
            meter.update(arrived)
        else:
            if self._check is None:
                self._arrival.update(total)
                self._check = self._meter(self._read(files))
            meter = self._check
            meter.update(self._read(files))
        retries, paused = (self.transfer.retries, self.transfer.paused) if self.transfer else (0, "")
        self._emit(FilesProgress("model", files, meter.rate, self._arrival.average, meter.eta_s, retries, paused))

    def _meter(self, already: int) -> Meter:
        return Meter("model", "bytes", self._emit, total=self._listing.size_bytes, already=already)

    def _read(self, files: Sequence[FileProgress]) -> int:
        """Bytes that are known to be right, or have been read to know it."""
        return sum(file.done for file in files)

    def _file(self, file: RemoteFile) -> FileProgress:
        name = PurePosixPath(file.path).name
        part = self._parts.get(file.path)
        if part is None or file.path in self.right:
            return FileProgress(name, file.size_bytes, file.size_bytes, "done")
        if file.path in self.checked:
            return FileProgress(name, self.checked[file.path], file.size_bytes, "checking")
        state: FileState = "arriving" if part.claimed else "waiting"
        return FileProgress(name, part.arrived_bytes, file.size_bytes, state)
