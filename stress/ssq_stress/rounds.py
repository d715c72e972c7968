"""What is one round of stress? A fresh queue is filled, struck, healed and drained, by real processes.

Rounds differ in their faults, for what some faults make undecidable (a claim that died may have taken any
job) must not stay undecided: the order of jobs, say, is judged where nobody dies.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ssq_stress.conductor import Conductor, Crew, Round
from ssq_stress.faults import Fault
from ssq_stress.judging import SUPERVISOR
from ssq_stress.nemesis import disk_full, skew
from ssq_stress.nemesis.server import Outages
from ssq_stress.processes.assignment import Assignment, Folders, Role, patience_seconds
from ssq_stress.processes.board import COUNTERS, Board, Field, Head, Slot, Stage
from ssq_stress.processes.draining import drain
from ssq_stress.processes.log import MONOTONIC_NS, EventLog
from ssq_stress.processes.looking import held_to
from ssq_stress.servers import Server
from ssq_stress.supervisor import Supervisor, ended, raise_if_reported, started
from ssq_verify.execution import DRAIN_WORKER
from ssq_verify.history import Terms
from ssq_verify.scenario import Settings
from ssq_verify.subject import Subject

TICK_SECONDS = 0.005
TOLD_EVERY_NS = 200_000_000
FILL_SECONDS_MAX = 10.0
DRAIN_SECONDS_MAX = 90.0
ATTEMPTS_WITHOUT_END = 1_000_000
LULLED = frozenset({Fault.PAUSE, Fault.SKEW})
"""Where nothing else strikes, every claim's outcome is known, and what a lull shows can be judged."""
SWEEPER_STANDS, SWEEPER_OPENS_SECONDS = 2.0, 1.0
"""For how many leases a sweeper may be stopped, and how long one that was killed takes to be replaced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """How a round looks from outside, while it runs."""

    stage: str
    seconds_left: float
    operations: int
    operations_per_second: float
    backlog: int
    reclaims: int
    crashes: int
    struck: int


Tell = Callable[[Seen], None]


class Ring:
    """Runs one round; leaves its files to be judged."""

    def __init__(
        self,
        *,
        plan: Round,
        crew: Crew,
        settings: Settings,
        folder: Path,
        load: Callable[[], Subject],
        tell: Tell,
        server: Server | None = None,
    ) -> None:
        self.fault_seconds = 0.0
        """How long the faults lasted."""
        self.enqueued = 0
        """How many jobs were, when all was over."""
        self._plan, self._crew, self._settings = plan, crew, settings
        self._load, self._tell, self._server = load, tell, server
        self.folder = folder
        self._told_ns = 0
        self._conductor: Conductor | None = None
        self._stage = "open"
        self._until_ns = 0
        self._late_seconds = 0.0
        """How late a queue's sweeper may be."""
        self._skew_seconds: float | None = 0.0
        """By how much clocks may differ; None: by any."""
        self._begun_ns = MONOTONIC_NS()

    @contextmanager
    def run(self) -> Iterator[tuple[Folders, Terms]]:
        """Run it, and give the folders and the terms; afterwards no process and no mount is left.

        Raises `SubjectFailed` if the queue can not be opened, `WorkerFailed`.
        """
        disk = self.folder / "disk"
        has_disk = Fault.DISK_FULL in self._plan.faults
        with disk_full.small_disk(disk) if has_disk else nullcontext():
            folders = Folders(
                round=self.folder,
                queue=(disk if has_disk else self.folder) / "queue",
                disk=disk if has_disk else None,
            )
            for path in (folders.queue, folders.events, folders.effects):
                path.mkdir(parents=True)
            terms = self._looked(folders)
            if terms.sweeps:
                terms = self._with_sweeper(terms)
            self._skew_seconds = terms.max_clock_skew_seconds
            self._through_stages(folders, terms)
        yield folders, terms

    def _looked(self, folders: Folders) -> Terms:
        """Return what the queue is held to.

        Of one that can't list its dead letters, a dead job can't be told from a lost one: so there it gets
        more attempts than it can use up.
        """
        terms = held_to(self._load, folders, self._settings)
        if not terms.dead_letters and terms.max_attempts == self._settings.max_attempts:
            self._settings = msgspec.structs.replace(self._settings, max_attempts=ATTEMPTS_WITHOUT_END)
            terms = held_to(self._load, folders, self._settings)
        return terms

    def _with_sweeper(self, terms: Terms) -> Terms:
        """Add one to the crew. It is struck, too: what it brings back is seen so much later."""
        self._crew = replace(self._crew, sweepers=1)
        self._late_seconds = SWEEPER_STANDS * self._settings.lease_ttl_seconds + SWEEPER_OPENS_SECONDS
        return msgspec.structs.replace(terms, time_resolution_seconds=self._late_seconds)

    def _through_stages(self, folders: Folders, terms: Terms) -> None:
        board = Board.made(folders.board, slots=self._crew.size + 1)
        log = EventLog(folders.events / f"{SUPERVISOR}.jsonl")
        supervisor = Supervisor(self._assignments(folders), board, log, lease=terms.lease)
        outages = None if self._server is None else Outages(self._server, log)
        try:
            clocks = self._wrong_clocks(supervisor, log)
            self._fill(supervisor)
            self._faults(supervisor, terms, outages, clocks)
            if outages is not None:
                outages.heal()
            self._heal(supervisor, folders, log)
            self._drain(supervisor)
            supervisor.close()
            self._drain_alone(supervisor, folders, log)
            self.enqueued = board.total(Field.ENQUEUED)
        finally:
            supervisor.close()
            log.close()
            board.close()

    def _assignments(self, folders: Folders) -> list[Assignment]:
        names = [(f"w{n + 1}", Role.CONSUMER) for n in range(self._crew.consumers)]
        names += [(f"p{n + 1}", Role.PRODUCER) for n in range(self._crew.producers)]
        names += [(f"s{n + 1}", Role.SWEEPER) for n in range(self._crew.sweepers)]
        return [self._assignment(folders, name, number, role) for number, (name, role) in enumerate(names)]

    def _assignment(self, folders: Folders, name: str, number: int, role: Role) -> Assignment:
        rate = self._crew.rate
        return Assignment(
            load=self._load,
            name=name,
            number=number,
            generation=0,
            role=role,
            folders=folders,
            settings=self._settings,
            seed=self._plan.seed,
            workload=self._plan.workload,
            skew_seconds=self._skew_seconds,
            base_ns=time.time_ns() - MONOTONIC_NS(),
            rate=None if rate is None else rate / self._crew.producers,
            payload_bytes_max=self._crew.payload_bytes_max,
        )

    def _fill(self, supervisor: Supervisor) -> None:
        """Let producers fill the queue."""
        self._begin(supervisor, "fill", Stage.FILL, FILL_SECONDS_MAX)
        workload = self._plan.workload
        enough = min(workload.backlog, workload.jobs or workload.backlog)
        while not self._is_late() and supervisor.board.backlog < enough:
            self._wait(supervisor)

    def _wrong_clocks(self, supervisor: Supervisor, log: EventLog) -> skew.WrongClocks:
        places = ((f"w{n + 1}", supervisor.slot(n)) for n in range(self._crew.consumers))
        limit_ns = skew.limit_ns(self._skew_seconds)
        return skew.WrongClocks(self._crew.clocks, places, log, limit_ns=limit_ns)

    def _faults(
        self, supervisor: Supervisor, terms: Terms, outages: Outages | None, clocks: skew.WrongClocks
    ) -> None:
        self._begin(supervisor, "faults", Stage.FAULTS, self._plan.seconds)
        begun_ns = MONOTONIC_NS()
        self._conductor = Conductor(
            self._plan, self._crew, supervisor, terms, begun_ns=begun_ns, outages=outages
        )
        while not self._conductor.is_over:
            self._wait(supervisor)
            self._conductor.strike()
            clocks.tick()
        self.fault_seconds = (MONOTONIC_NS() - begun_ns) / 1e9

    def _heal(self, supervisor: Supervisor, folders: Folders, log: EventLog) -> None:
        """End all faults, and where it can be judged let nobody claim until all leases have ended."""
        supervisor.heal()
        for worker in range(self._crew.size):
            skew.set_clock(supervisor.slot(worker), offset_ns=0, rate=0.0, limit_ns=0)
        if folders.disk is not None:
            disk_full.make_room(folders.disk)
        log.single(DRAIN_WORKER, "heal")
        if self._plan.faults <= LULLED:
            seconds = patience_seconds(self._settings) + self._late_seconds
            self._begin(supervisor, "lull", Stage.LULL, seconds)
            while not self._is_late():
                self._wait(supervisor)

    def _drain(self, supervisor: Supervisor) -> None:
        """Let the workers work off what is there; those that don't end are ended."""
        self._begin(supervisor, "drain", Stage.DRAIN, DRAIN_SECONDS_MAX)
        while not supervisor.are_done and not self._is_late():
            self._wait(supervisor)

    def _drain_alone(self, supervisor: Supervisor, folders: Folders, log: EventLog) -> None:
        supervisor.board.set_head(Head.STAGE, Stage.DRAIN)
        self._advance_last(supervisor.slot(self._crew.size), log)
        assignment = self._assignment(folders, DRAIN_WORKER, self._crew.size, Role.CONSUMER)
        process = started(drain, assignment)
        try:
            self._until_ns = MONOTONIC_NS() + round(DRAIN_SECONDS_MAX * 1e9)
            while process.exitcode is None and not self._is_late():
                process.join(TICK_SECONDS * 10)
                supervisor.tick(0.0)
                self._say(supervisor)
        finally:
            ended(process, seconds_max=0.0)
        raise_if_reported(assignment.failure)

    def _advance_last(self, slot: Slot, log: EventLog) -> None:
        """Show who drains the time of the clock that was furthest ahead, if that is too far off to wait for.

        A lease, or a rest, that such a clock wrote down then ends for it as it would have for its writer.
        """
        bound = self._skew_seconds
        if bound is not None and bound > self._settings.max_clock_skew_seconds:
            limit_ns = skew.limit_ns(bound)
            skew.told_and_set(slot, log, DRAIN_WORKER, offset_ns=limit_ns, rate=0.0, limit_ns=limit_ns)

    def _begin(self, supervisor: Supervisor, name: str, stage: Stage, seconds_max: float) -> None:
        self._stage = name
        self._until_ns = MONOTONIC_NS() + round(seconds_max * 1e9)
        supervisor.board.set_head(Head.STAGE, stage)

    def _is_late(self) -> bool:
        return MONOTONIC_NS() > self._until_ns

    def _wait(self, supervisor: Supervisor) -> None:
        supervisor.tick(TICK_SECONDS)
        self._free_disk()
        self._say(supervisor)

    def _free_disk(self) -> None:
        disk = self.folder / "disk"
        if Fault.DISK_FULL in self._plan.faults and disk_full.is_filled(disk):
            disk_full.make_room(disk)

    def _say(self, supervisor: Supervisor) -> None:
        now_ns = MONOTONIC_NS()
        if now_ns < self._told_ns + TOLD_EVERY_NS:
            return
        self._told_ns = now_ns
        counts = {counter: supervisor.board.total(counter) for counter in COUNTERS}
        self._tell(
            Seen(
                stage=self._stage,
                seconds_left=max(0.0, (self._until_ns - now_ns) / 1e9) if self._stage == "faults" else 0.0,
                operations=counts[Field.OPERATIONS],
                operations_per_second=counts[Field.OPERATIONS] * 1e9 / max(1, now_ns - self._begun_ns),
                backlog=max(0, supervisor.board.backlog),
                reclaims=counts[Field.RECLAIMED],
                crashes=supervisor.crashes,
                struck=0 if self._conductor is None else self._conductor.struck,
            )
        )


def tail_seconds(settings: Settings) -> float:
    """Return about how long a round lasts beyond its faults."""
    return 2 * patience_seconds(settings) + 1.5
