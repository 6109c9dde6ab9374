#!/usr/bin/env python3
"""Measures the ledger and the gateway, each figure beside a baseline that is measured in the same run.

What is compared takes turns, round by round, and who begins changes with the round; figures are medians over the rounds, a ratio
or a difference is the median of those of the rounds. Everything runs on this machine and talks over 127.0.0.1. Every ledger that
was written is proven with `replay verify` afterwards: what is not sound, or does not hold exactly the requests that were made, ends
the run with exit code 1. An aim that is missed is said and does not.

Build first: run.sh does both.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import resource
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SERVER = HERE.parent / ".build-release/release/LedgerServer"
REPLAY = HERE.parent / ".build-release/release/replay"
LEDGER_BENCH = HERE / ".build/release/LedgerBench"
NATIVE = HERE / ".build-native"
PARTS = ("charges", "verify", "exports", "streams", "proxy", "metering", "sweep")

ACCOUNTS = 10_000
MASTER_KEY = "bench-master-key"
PATH = "/v1/chat/completions"
#: How much of a stream one core shall meter in a second.
METERED_MEGABYTES = 300
#: What no single step may take; bounds for something that hangs, not figures.
STEP_SECONDS, START_SECONDS, STOP_SECONDS = 300, 20, 60


class Failed(Exception):
    """A benchmark that cannot be trusted, with what is wrong for people."""


# MARK: Processes


@dataclass
class Ended:
    """A process that has ended well."""

    output: str
    seconds: float
    cpu_seconds: float
    peak_kilobytes: int

    def json(self) -> dict[str, Any]:
        return json.loads(self.output.strip().splitlines()[-1])


class Processes:
    """Starts processes, and stops each by its own id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []
        self.count = 0

    def start(self, command: Sequence[object], **options: Any) -> tuple[subprocess.Popen[bytes], Path]:
        """Gives the process and the file with what it says on standard error."""
        self.count += 1
        log = self.folder / f"{self.count}-{Path(str(command[0])).name}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen([str(word) for word in command], stderr=errors, **options)
        self.running.append(process)
        return process, log

    def wait(self, process: subprocess.Popen[bytes], seconds: float) -> resource.struct_rusage | None:
        """Waits for its end and gives what it used; None where it has not ended in time."""
        descriptor = os.pidfd_open(process.pid)
        try:
            if not select.select([descriptor], [], [], seconds)[0]:
                return None
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            os.close(descriptor)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.running.remove(process)
        return usage

    def run(self, command: Sequence[object], seconds: float = STEP_SECONDS) -> Ended:
        """Runs a program to its end, which must be a good one."""
        with tempfile.TemporaryFile(dir=self.folder) as output:
            began = time.monotonic()
            process, log = self.start(command, stdin=subprocess.DEVNULL, stdout=output)
            usage = self.wait(process, seconds)
            elapsed = time.monotonic() - began
            output.seek(0)
            text = output.read().decode(errors="replace")
        if usage is None:
            raise Failed(f"{command[0]} did not end within {seconds:g} s")
        said = log.read_text(errors="replace")
        log.unlink()
        if process.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{said}{text}")
        return Ended(text, elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Asks it to stop, and gives its exit code."""
        process.terminate()
        if self.wait(process, STOP_SECONDS) is None:
            raise Failed(f"process {process.args[0]} did not stop within {STOP_SECONDS} s")
        return process.returncode

    def end_all(self) -> None:
        for process in list(self.running):
            process.terminate()
        for process in list(self.running):
            if self.wait(process, 5) is None:
                process.kill()
                self.wait(process, 5)


def read_line(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """The next line of JSON that a process prints."""
    assert process.stdout is not None
    deadline, line = time.monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise Failed(f"{process.args[0]} said nothing within {seconds:g} s")
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            raise Failed(f"{process.args[0]} ended before it said anything")
        line += byte
    return json.loads(line)


def resident_kilobytes(process: subprocess.Popen[bytes]) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise Failed(f"{process.args[0]} has no resident set")


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# MARK: What is printed


@dataclass
class Part:
    """A table with its notes, and the figures behind it."""

    title: str
    headings: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        table = [self.headings, *self.rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(self.headings))]

        def line(row: list[str]) -> str:
            cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            return "  " + "   ".join(cells).rstrip()

        rule = "  " + "-" * (sum(widths) + 3 * (len(widths) - 1))
        lines = [self.title, line(self.headings), rule, *map(line, self.rows)]
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """A median with the least and the greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def judged(aim: str, is_met: bool) -> str:
    return f"{aim}: {'met' if is_met else 'MISSED'}"


class Meter:
    """How much of the machine others had: what the processors did, less what we and our children did."""

    def __init__(self) -> None:
        self.start = self.read()

    @staticmethod
    def read() -> tuple[float, float, float, float]:
        cells = [int(cell) for cell in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        tick = os.sysconf("SC_CLK_TCK")
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        busy = (sum(cells[:3]) + cells[5] + cells[6]) / tick
        return sum(cells) / tick, busy, cells[7] / tick, sum(usage.ru_utime + usage.ru_stime for usage in used)

    def finish(self, part: Part) -> Part:
        """To be called when the children have ended: only then their time is known."""
        total, busy, stolen, own = (now - then for now, then in zip(self.read(), self.start))
        others, host = (max(0.0, share) / max(total, 0.01) for share in (busy - own, stolen))
        part.figures["processors_of_others"], part.figures["processors_of_the_host"] = others, host
        part.notes.append(
            f"Of the processors, other processes had {100 * others:.0f} % meanwhile, and the virtual machine's host {100 * host:.0f} %."
            + (" THE MACHINE WAS NOT QUIET." if others + host > 0.05 else ""))
        return part


# MARK: The benchmark


class Benchmark:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.quick: bool = options.quick
        self.rounds: int = options.rounds or (3 if options.quick else 5)
        self.folder = folder
        self.processes = Processes(folder)

    def run(self, command: Sequence[object], seconds: float = STEP_SECONDS) -> Ended:
        return self.processes.run(command, seconds)

    def taking_turns(self, ours: Callable[[], Any], baseline: Callable[[], Any]) -> Iterator[tuple[Any, Any]]:
        """A pair for each round."""
        for index in range(self.rounds):
            if index % 2 == 0:
                first = ours()
                yield first, baseline()
            else:
                first = baseline()
                yield ours(), first

    # MARK: Ledgers

    def remove(self, ledger: Path) -> None:
        for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
            Path(f"{ledger}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def copy(self, ledger: Path) -> Iterator[Path]:
        """A copy on disk, so that no benchmark pays for writing it."""
        copied = self.folder / "copy.sqlite"
        shutil.copyfile(ledger, copied)
        descriptor = os.open(copied, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        try:
            yield copied
        finally:
            self.remove(copied)

    def prepared(self) -> Path:
        ledger = self.folder / "prepared.sqlite"
        if not ledger.exists():
            self.run([LEDGER_BENCH, "prepare", ledger, ACCOUNTS])
        return ledger

    def verify(self, ledger: Path) -> tuple[Ended, dict[str, Any]]:
        ended = self.run([REPLAY, "verify", ledger, "--format", "json"])
        proof = ended.json()
        if proof["sound"] is not True or proof["open_holds"] != 0:
            raise Failed(f"THE LEDGER IS NOT SOUND, or holds are left open:\n{ended.output}")
        return ended, proof

    def prove_charges(self, ledger: Path, requests: int) -> None:
        """A hold and a charge for each request on top of what `prepare` wrote, all sound."""
        _, before = self.verify(self.prepared())
        _, after = self.verify(ledger)
        if after["events"] - before["events"] != 2 * requests:
            raise Failed(f"{requests} requests have left {after['events'] - before['events']} events")

    # MARK: 1. Charges

    def charges(self) -> Part:
        part = Part(
            "1. Durable charges through the writer: a hold and a charge for each request, each waited for",
            ["callers", "requests", "ours /s", "SQLite alone /s", "ratio (least–greatest)", "CPU µs: ours", "alone", "aim"])
        meter = Meter()
        prepared = self.prepared()
        loads = [(64, 5_000 if self.quick else 20_000)]
        if not self.quick:
            loads += [(1, 2_000), (256, 20_000)]
        for callers, requests in loads:
            proven = False

            def rates(ended: Ended) -> tuple[float, float]:
                return ended.json()["requests_per_second"], 1e6 * ended.cpu_seconds / requests

            def ours() -> tuple[float, float]:
                nonlocal proven
                with self.copy(prepared) as ledger:
                    figures = rates(self.run([LEDGER_BENCH, "charges", ledger, requests, callers]))
                    if not proven:
                        self.prove_charges(ledger, requests)
                    proven = True
                return figures

            def baseline() -> tuple[float, float]:
                with self.copy(prepared) as ledger:
                    return rates(self.run([NATIVE / "charges", ledger, requests, callers]))

            pairs = list(self.taking_turns(ours, baseline))
            ratios = [mine[0] / theirs[0] for mine, theirs in pairs]
            aim = judged(">= 0.70", statistics.median(ratios) >= 0.7) if callers == 64 else ""
            (rate, other_rate), (cpu, other_cpu) = (
                [statistics.median(pair[side][index] for pair in pairs) for side in (0, 1)] for index in (0, 1))
            part.rows.append([
                str(callers), f"{requests:,}", f"{rate:,.0f}", f"{other_rate:,.0f}", spread(ratios), f"{cpu:.0f}",
                f"{other_cpu:.0f}", aim])
            part.figures[f"{callers} callers"] = {
                "requests": requests, "ours_and_baseline_per_second_and_cpu_microseconds": pairs}
        part.notes += [
            f"{ACCOUNTS:,} accounts. SQLite alone: the same rows and the same hash chain from one C loop, one fsync for all callers'",
            "holds and one for all their charges; no rules, no queue, no threads, no trigger. CPU: of the whole process, a request."]
        return meter.finish(part)

    # MARK: 2. Verification

    def verification(self) -> Part:
        small, large = (50_000, 200_000) if self.quick else (250_000, 1_000_000)
        part = Part(
            "2. replay verify of a whole ledger",
            ["", "ours", "scan and hash in C", "ratio (least–greatest)", "aim"])
        meter = Meter()
        ledger = self.folder / "long.sqlite"
        shutil.copyfile(self.prepared(), ledger)
        events = self.verify(ledger)[1]["events"]

        def grow(wanted: int) -> None:
            nonlocal events
            self.run([LEDGER_BENCH, "charges", ledger, (wanted - events + 1) // 2, 256], seconds=900)
            events = self.verify(ledger)[1]["events"]
            if not 0 <= events - wanted <= 1:
                raise Failed(f"the ledger has {events} events and not {wanted}")

        grow(small)
        small_peaks = [self.verify(ledger)[0].peak_kilobytes / 1024 for _ in range(self.rounds)]
        grow(large)
        large_peaks: list[float] = []

        def rates(ended: Ended) -> tuple[float, float]:
            return ended.json()["events"] / ended.seconds, 1e6 * ended.cpu_seconds / events

        def ours() -> tuple[float, float]:
            ended, _ = self.verify(ledger)
            large_peaks.append(ended.peak_kilobytes / 1024)
            return rates(ended)

        def baseline() -> tuple[float, float]:
            return rates(self.run([NATIVE / "scan", ledger]))

        pairs = list(self.taking_turns(ours, baseline))
        ratios = [mine[0] / theirs[0] for mine, theirs in pairs]
        (rate, other_rate), (cpu, other_cpu) = (
            [statistics.median(pair[side][index] for pair in pairs) for side in (0, 1)] for index in (0, 1))
        size = ledger.stat().st_size
        part.rows.append([
            f"events/s, of {events:,}", f"{rate:,.0f}", f"{other_rate:,.0f}", spread(ratios),
            judged(">= 0.70", statistics.median(ratios) >= 0.7)])
        part.rows.append(["CPU µs an event, both threads", f"{cpu:.2f}", f"{other_cpu:.2f}", "", ""])
        self.run([REPLAY, "rebuild", ledger], seconds=900)
        followed = [rates(self.run([REPLAY, "verify", "--format", "json", ledger]))[0] for _ in range(self.rounds)]
        part.rows.append([
            "events/s, usage log and days compared too", f"{statistics.median(followed):,.0f}", f"{other_rate:,.0f}",
            spread([mine / other_rate for mine in followed]), ""])
        growth = statistics.median(large_peaks) / statistics.median(small_peaks)
        part.rows.append([
            f"peak memory at {small:,} events, MB", f"{statistics.median(small_peaks):.1f}", "", "", ""])
        part.rows.append([
            f"peak memory at {events:,} events, MB", f"{statistics.median(large_peaks):.1f}", "",
            f"{growth:.2f} of that at {small:,}", "" if self.quick else judged("<= 1.10", growth <= 1.1)])
        part.notes += [
            f"{ACCOUNTS:,} accounts, {size / events:.0f} bytes an event in the file, {size / 1e6:,.0f} MB in all, read from the page",
            "cache. Times are of whole processes. The scan decodes no event, folds none and decides none. The usage log is empty first,",
            "then rebuilt: it and the sums of days are compared with the fold as well, which the scan has nothing like."]
        part.figures = {
            "events": events, "bytes": size, "ours_and_baseline_events_per_second_and_cpu_microseconds": pairs,
            "peak_megabytes_small": small_peaks, "peak_megabytes_large": large_peaks}
        self.remove(ledger)
        return meter.finish(part)

    # MARK: 3. Exports

    def exports(self) -> Part:
        requests = 100_000 if self.quick else 500_000
        part = Part(
            "3. replay export of a whole ledger", ["", "rows /s", "sqlite3's CSV of the events, rows /s", "ratio (least–greatest)", "peak MB", "aim"])
        meter = Meter()
        ledger = self.folder / "exported.sqlite"
        shutil.copyfile(self.prepared(), ledger)
        self.run([LEDGER_BENCH, "charges", ledger, requests, 256], seconds=900)

        def timed(*command: object) -> Ended:
            # To a device that takes everything: what is measured is the making of the rows.
            return self.run(["sh", "-c", 'exec "$@" > /dev/null', "sh", *command], seconds=900)

        def baseline() -> float:
            ended = timed("sqlite3", "-csv", ledger, "SELECT * FROM events WHERE type = 'request_charged.v1'")
            return requests / ended.seconds

        # A charge is a row of usage and of charges, and two of the journal.
        for kind, form, rows in (("usage", "csv", 1), ("usage", "jsonl", 1), ("charges", "csv", 1), ("journal", "csv", 2)):
            peaks: list[float] = []

            def ours() -> float:
                ended = timed(REPLAY, "export", kind, ledger, "--format", form)
                peaks.append(ended.peak_kilobytes / 1024)
                return rows * requests / ended.seconds

            pairs = list(self.taking_turns(ours, baseline))
            rate, other = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
            part.rows.append([
                f"{kind} as {form}", f"{rate:,.0f}", f"{other:,.0f}", spread([mine / theirs for mine, theirs in pairs]), f"{max(peaks):.1f}",
                judged(">= 300,000", rate >= 300_000)])
            part.figures[f"{kind} {form}"] = {"rows_per_second_ours_and_baseline": pairs, "peak_megabytes": peaks}
        part.notes += [
            f"{requests:,} charges, as many holds that lead to no row. sqlite3 writes the charges' events as they are stored, and makes nothing of them."]
        self.remove(ledger)
        return meter.finish(part)

    # MARK: The gateway

    @contextmanager
    def upstream(self) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        process, _ = self.processes.start(
            [NATIVE / "upstream", "--seconds", 1800, 0], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        yield process, read_line(process, START_SECONDS)["port"]
        self.processes.stop(process)
        process.stdout.close()

    @contextmanager
    def gateway(self, upstream_port: int) -> Iterator[Gateway]:
        """A server with a ledger of its own, which is proven when the server has stopped."""
        ledger = self.folder / "gateway.sqlite"
        config = self.folder / "gateway.yaml"
        config.write_text(
            f"""
database_url: "sqlite:///{ledger}"
master_key: {MASTER_KEY}
providers:
  up:
    api_base: http://127.0.0.1:{upstream_port}/v1
    api_key: x
pricing:
  "up:bench-16": {{input_price_per_million: 0.15, output_price_per_million: 0.60}}
  "up:bench-hold": {{input_price_per_million: 0.15, output_price_per_million: 0.60}}
limits:
  max_concurrent_streams: 8192
  max_connections: 16384
""")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        environment["MALLOC_ARENA_MAX"] = "2"
        process, log = self.processes.start(
            [SERVER, "serve", "--config", config, "--port", 0, "--log-level", "notice"], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        gateway = Gateway(self, process, listening_port(process, log))
        gateway.open_account()
        yield gateway
        code = self.processes.stop(process)
        if code != 0:
            raise Failed(f"the server ended with exit code {code}\n{log.read_text(errors='replace')[-4000:]}")
        _, proof = self.verify(ledger)
        if proof["usage_rows"] != gateway.requests:
            raise Failed(f"{gateway.requests} requests were made and {proof['usage_rows']} charged")
        self.remove(ledger)

    def body(self, model: str, stream: bool) -> Path:
        """A request of the size of a short question with its instructions."""
        path = self.folder / f"{model.replace(':', '-')}{'-stream' if stream else ''}.json"
        content = "The quick brown fox jumps over the lazy dog. " * 8
        path.write_text(json.dumps({
            "model": model, "stream": stream, "max_tokens": 256,
            "messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": content}],
        }))
        return path

    def drive(
        self, port: int, body: Path, requests: int, connections: int, headers: Sequence[str] = (), warmup: int = 0
    ) -> tuple[dict[str, Any], Ended]:
        ended = self.run(
            [NATIVE / "drive", "--warmup", warmup, "--seconds", STEP_SECONDS - 10, "127.0.0.1", port, PATH, requests,
             connections, body, *headers])
        figures = ended.json()
        if figures["errors"] or figures["requests"] != requests:
            raise Failed(f"{figures['errors']} of {requests} requests failed")
        return figures, ended

    # MARK: 4. Held streams

    def streams(self) -> Part:
        count = 500 if self.quick else 2_000
        part = Part(
            f"4. {count:,} streams held open at once through the gateway",
            ["", "without them", "with them", "difference (least–greatest)", "aim"])
        meter = Meter()
        before, held, alone, beside = [], [], [], []
        with self.upstream() as (_, upstream_port):
            for _ in range(self.rounds):
                with self.gateway(upstream_port) as gateway:
                    gateway.drive(self.body("up:bench-16", True), 3_000, 16)
                    gateway.drive(self.body("up:bench-16", False), 1_000, 16)
                    time.sleep(1)
                    before.append(resident_kilobytes(gateway.process))
                    alone.append(gateway.first_byte())
                    with gateway.held(count, upstream_port):
                        time.sleep(1)
                        held.append(resident_kilobytes(gateway.process))
                        beside.append(gateway.first_byte())
        each = [(now - then) / count for now, then in zip(held, before)]
        added = [now - then for now, then in zip(beside, alone)]
        part.rows.append([
            "resident memory of the server, MB", f"{statistics.median(before) / 1024:.1f}",
            f"{statistics.median(held) / 1024:.1f}", "", ""])
        part.rows.append([
            "a stream, KB", "", "", spread(each, 1), judged("<= 50", statistics.median(each) <= 50)])
        part.rows.append([
            "first byte of 200 more, one after another, p50 ms", f"{statistics.median(alone):.2f}",
            f"{statistics.median(beside):.2f}", spread(added), ""])
        part.notes += [
            "The server is new in each round and has answered 4,000 requests before. Each stream is an HTTP/1.1 connection of a client",
            "and one to the upstream, after its first piece of content. The server's environment has MALLOC_ARENA_MAX=2."]
        part.figures = {
            "streams": count, "resident_kilobytes_before": before, "resident_kilobytes_with": held,
            "first_byte_p50_ms_alone": alone, "first_byte_p50_ms_beside": beside}
        return meter.finish(part)

    # MARK: 5. Proxied requests

    def proxy(self) -> Part:
        part = Part(
            "5. Proxied requests: client, gateway, upstream; the same load straight to the upstream",
            ["load", "rps", "first byte p50", "p99 ms", "total p50", "p99 ms", "added p50: first byte", "total", "aim"])
        meter = Meter()
        shares: list[list[float]] = []
        direct_rates: dict[int, float] = {}
        with self.upstream() as (upstream, upstream_port), self.gateway(upstream_port) as gateway:
            for stream in (True, False):
                gateway.drive(self.body("up:bench-16", stream), 1_000, 16)
            for stream in (True, False):
                body = self.body("up:bench-16", stream)
                for connections, requests in ((1, 500 if self.quick else 2_000), (16, 1_500 if self.quick else 8_000)):
                    name = f"{'streamed' if stream else 'in one piece'}, {connections} connection{'s' * (connections > 1)}"

                    def ours() -> dict[str, Any]:
                        used = [cpu_seconds(gateway.process), cpu_seconds(upstream)]
                        figures, ended = gateway.drive(body, requests, connections, warmup=requests // 10)
                        used = [cpu_seconds(gateway.process) - used[0], cpu_seconds(upstream) - used[1], ended.cpu_seconds]
                        shares.append([1e6 * seconds / (requests + requests // 10) for seconds in used])
                        return figures

                    def baseline() -> dict[str, Any]:
                        return self.drive(upstream_port, body, requests, connections, warmup=requests // 10)[0]

                    pairs = list(self.taking_turns(ours, baseline))
                    self.add_load(part, name, connections, pairs)
                    direct_rates[connections] = min(
                        direct_rates.get(connections, float("inf")), statistics.median(b["rps"] for _, b in pairs))
        gateway_cpu, upstream_cpu, driver_cpu = (statistics.median(column) for column in zip(*shares))
        slowest = direct_rates[16]
        proxied = max(float(row[1].replace(",", "")) for row in part.rows if row[0].endswith("16 connections"))
        part.notes += [
            "Times in ms. added: the gateway's p50 less the straight one's of the same round. With a stream the hold is durable before the",
            "first byte and the charge before the end; in one piece both are durable before the first byte.",
            f"What is measured is the gateway: with 16 connections the same driver and upstream make {slowest:,.0f} requests/s without it,",
            f"{slowest / proxied:.1f} times the most that go through it; of the processor time of a proxied request {gateway_cpu:.0f} µs are the",
            f"gateway's, {upstream_cpu:.0f} µs the upstream's and {driver_cpu:.0f} µs the driver's (medians of all loads)."]
        part.figures["cpu_microseconds_gateway_upstream_driver"] = shares
        return meter.finish(part)

    def add_load(self, part: Part, name: str, connections: int, pairs: list[tuple[dict, dict]]) -> None:
        def median(side: int, key: str) -> float:
            return statistics.median(pair[side][key] for pair in pairs)

        def added(key: str) -> list[float]:
            return [(mine[key] - theirs[key]) / 1000 for mine, theirs in pairs]

        keys = ("first_p50_us", "first_p99_us", "total_p50_us", "total_p99_us")
        first, total = added("first_p50_us"), added("total_p50_us")
        aim = judged("<= 0.70", statistics.median(first) <= 0.7) if connections == 1 else ""
        for side, label in ((0, name), (1, "  straight")):
            tail = [spread(first), spread(total), aim] if side == 0 else ["", "", ""]
            part.rows.append(
                [label, f"{median(side, 'rps'):,.0f}", *(f"{median(side, key) / 1000:.2f}" for key in keys), *tail])
        part.figures[name] = pairs

    # MARK: Metering

    def metering(self) -> Part:
        """The bytes of each format's stream through the meter, on one core."""
        part = Part(
            "6. metering streams on one core, in MB/s",
            ["", "metered", "without usage chunk", "translated", "only copied", "only split", "metered ÷ split", "aim"])
        meter = Meter()
        rounds = [
            self.run([LEDGER_BENCH, "meter", 8 if self.quick else 64, HERE.parent / "fixtures/streams"]).json()
            for _ in range(self.rounds)]
        for name in rounds[0]:
            def figure(way: str) -> list[float]:
                return [found[name][way] for found in rounds if way in found[name]]

            ratio = [metered / split for metered, split in zip(figure("metered"), figure("split"))]
            others = [spread(figure(way), 0) if figure(way) else "" for way in ("without_usage_chunk", "translated")]
            is_met = statistics.median(figure("metered")) >= METERED_MEGABYTES
            part.rows.append(
                [name, spread(figure("metered"), 0), *others, spread(figure("copied"), 0), spread(figure("split"), 0),
                 spread(ratio), judged(f"≥ {METERED_MEGABYTES}", is_met)])
        part.notes.append("In pieces of 16 KiB, as they come from a socket. Each stream is a short one whose events are repeated.")
        part.figures["rounds"] = rounds
        return meter.finish(part)

    # MARK: Sweep

    def sweep(self) -> Part:
        """What is due in some of many accounts, and the charges that are made beside it."""
        accounts, due = (50_000, 2_000) if self.quick else (1_000_000, 10_000)
        part = Part(
            f"7. a sweep of {accounts:,} accounts, of which {due:,} are due, beside charges by 8 callers",
            ["", "alone", "beside the sweep", "beside ÷ alone", "aim"])
        meter = Meter()
        rounds = []
        for number in range(1 if not self.quick else self.rounds):
            ledger = self.folder / f"sweep-{number}.sqlite"
            rounds.append(self.run([LEDGER_BENCH, "sweep", ledger, accounts, due], seconds=1200).json())
            self.verify(ledger)
            self.remove(ledger)
            if rounds[-1]["renewed"] != due:
                raise Failed(f"the sweep began {rounds[-1]['renewed']} cycles, not {due}")
        for name, digits in (("p50_ms", 2), ("p99_ms", 2), ("per_second", 0)):
            alone, beside = ([found[f"{way}_{name}"] for found in rounds] for way in ("alone", "beside"))
            ratio = [one / other for one, other in zip(beside, alone)]
            part.rows.append([name.replace("_", " "), spread(alone, digits), spread(beside, digits), spread(ratio), ""])
        seconds = [found["sweep_seconds"] for found in rounds]
        part.rows.append(["the sweep, s", "", spread(seconds), "", judged("≤ 10 s", statistics.median(seconds) <= 10)])
        part.rows.append(["a sweep that finds nothing, ms", spread([found["idle_sweep_ms"] for found in rounds]), "", "", ""])
        part.figures["rounds"] = rounds
        return meter.finish(part)


def listening_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that the server says it listens on."""
    mark, deadline = "listening on http://127.0.0.1:", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if mark in text and "\n" in text.partition(mark)[2]:
            return int(text.partition(mark)[2].split()[0])
        # Left as it is, to be waited for with the others.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.02)
    raise Failed(f"the server does not listen\n{log.read_text(errors='replace')[-4000:]}")


@dataclass
class Gateway:
    """A running server with one account and its key."""

    benchmark: Benchmark
    process: subprocess.Popen[bytes]
    port: int
    requests: int = 0
    headers: Sequence[str] = ()

    def open_account(self) -> None:
        self.administer("/v1/users", {"user_id": "bench"})
        self.administer("/v1/billing/topup", {"user_id": "bench", "amount": 1_000_000})
        key = self.administer("/v1/keys", {"user_id": "bench", "key_name": "bench"})["key"]
        self.headers = [f"Authorization: Bearer {key}"]

    def administer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"X-AnyLLM-Key": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise Failed(f"POST {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)

    def drive(self, body: Path, requests: int, connections: int, warmup: int = 0) -> tuple[dict[str, Any], Ended]:
        result = self.benchmark.drive(self.port, body, requests, connections, self.headers, warmup)
        self.requests += requests + warmup
        return result

    def first_byte(self) -> float:
        """The p50 of 200 streams one after another, in ms."""
        figures, _ = self.drive(self.benchmark.body("up:bench-16", True), 200, 1, warmup=20)
        return figures["first_p50_us"] / 1000

    @contextmanager
    def held(self, count: int, upstream_port: int) -> Iterator[None]:
        """Holds streams open, then lets the upstream end them: all must come whole to their end."""
        process, log = self.benchmark.processes.start(
            [NATIVE / "hold", "--seconds", 240, "127.0.0.1", self.port, PATH, count,
             self.benchmark.body("up:bench-hold", True), *self.headers], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        opened = read_line(process, 120)["open"]
        if opened != count:
            raise Failed(f"{opened} of {count} streams were opened\n{log.read_text(errors='replace')}")
        yield
        connection = http.client.HTTPConnection("127.0.0.1", upstream_port, timeout=30)
        connection.request("GET", "/release")
        released = json.loads(connection.getresponse().read())["released"]
        connection.close()
        process.stdin.write(b"drain\n")
        process.stdin.close()
        ended = read_line(process, 120)["ended"]
        process.stdout.close()
        if self.benchmark.processes.wait(process, 30) is None or process.returncode != 0 or not released == ended == count:
            raise Failed(f"{released} of {count} streams were released, {ended} ended\n{log.read_text(errors='replace')}")
        self.requests += count


# MARK: The run


def describe(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The machine, and how long its disk takes to make a page durable."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine())
    kind = subprocess.run(
        ["df", "--output=fstype", str(folder)], capture_output=True, text=True, timeout=10).stdout.split()[-1]
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(300):
            began = time.monotonic()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(1000 * (time.monotonic() - began))
    durable = statistics.median(taken)
    load = os.getloadavg()[0]
    lines = [
        f"{os.cpu_count()} × {model}, Linux {platform.release()}, load average {load:.2f} at the start",
        f"file system {kind}: a 4 KB append and its fdatasync take {durable:.3f} ms (p50 of {len(taken)})"]
    return lines, {
        "processors": os.cpu_count(), "model": model, "kernel": platform.release(), "load_average": load,
        "file_system": kind, "durable_append_ms": durable}


def raise_descriptor_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stopped_by_signal(number: int, _: object) -> None:
    print(f"\nstopped by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="how often each pair is measured (5; 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="smaller loads: whether it works, more than how fast it is")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}, separated by commas")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every round's figures to this file")
    parser.add_argument(
        "--folder", type=Path, default=NATIVE, help="where the ledgers are written for the time being: on the disk in question")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if options.rounds is not None and not 1 <= options.rounds <= 100:
        parser.error("--rounds must be 1 to 100")
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only does not know {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    options = arguments()
    programs = [SERVER, REPLAY, LEDGER_BENCH, *(NATIVE / name for name in ("charges", "scan", "upstream", "drive", "hold"))]
    if missing := [program.name for program in programs if not os.access(program, os.X_OK)]:
        print(f"not built: {', '.join(missing)}; use run.sh", file=sys.stderr)
        return 2
    built = [program.stat().st_mtime_ns for program in programs]
    raise_descriptor_limit()
    # A signal unwinds the stack like an error, so that everything is stopped and removed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped_by_signal)
    options.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="run-", dir=options.folder.resolve()) as name:
        benchmark = Benchmark(options, Path(name))
        try:
            lines, machine = describe(benchmark.folder)
            mode = "quick, smaller loads; " if options.quick else ""
            lines.append(f"{mode}{benchmark.rounds} rounds; medians; ratios and differences are medians over the rounds' pairs")
            print("\n".join(lines), flush=True)
            steps = dict(zip(PARTS, (
                benchmark.charges, benchmark.verification, benchmark.exports, benchmark.streams, benchmark.proxy, benchmark.metering,
                benchmark.sweep)))
            results = {}
            for step in (step for step in PARTS if step in options.only):
                part = steps[step]()
                print(f"\n{part.text()}", flush=True)
                results[step] = {"table": [part.headings, *part.rows], "notes": part.notes, "rounds": part.figures}
            if built != [program.stat().st_mtime_ns for program in programs]:
                raise Failed("the programs were built anew while they were measured")
        except Failed as failed:
            print(f"\nFAILED: {failed}", file=sys.stderr)
            return 1
        finally:
            benchmark.processes.end_all()
    seconds = time.monotonic() - began
    print(f"\nEvery ledger is sound. {seconds:.0f} s in all.")
    if options.json:
        report = {"machine": machine, "quick": options.quick, "rounds": benchmark.rounds, "seconds": seconds, **results}
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
