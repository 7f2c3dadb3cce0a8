"""One work: what we do, what peers do instead, and how both are timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks import limit
from benchmarks.networks import AbsentError
from benchmarks.speed.ours import FAST, MethodConfig, Ours, precisions
from benchmarks.speed.peers import Part, Setting
from benchmarks.speed.referee import difference, right
from benchmarks.speed.row import Goals, Options, Row, grouped
from benchmarks.speed.subject import Subject
from benchmarks.timing import Clock, PeakMemory, Spread, interleaved, ratios

Parts = Callable[[Subject], Sequence[Part]]
"""All that a peer has to do. Raises AbsentError where it is not installed."""
_SHORT = 1.0
_CHECKED = 2
"""Pictures whose maps are compared."""


@dataclass(frozen=True)
class Work:
    """``checked``: the methods as their numbers are compared, with fewer windows or copies where those are many.

    ``backwards``: whether backward passes reach the input, so that each costs a whole one.
    """

    name: str
    network: str
    images: int
    methods: Mapping[str, MethodConfig]
    checked: Mapping[str, MethodConfig]
    peers: Mapping[str, Parts] = field(default_factory=dict)
    goals: Goals = field(default_factory=dict)
    backwards: bool = True
    note: str = ""


@dataclass(frozen=True)
class _Chosen:
    """A peer's part in its fastest setting."""

    part: str
    setting: Setting
    memory: float | None
    forward: float


@dataclass(frozen=True)
class _Peer:
    """A peer's part in the fastest of all settings, and in the fastest of those that leave the network as built."""

    best: _Chosen
    as_built: _Chosen


@dataclass(frozen=True)
class _Side:
    """Our side in one precision."""

    run: Ours
    forward: float
    backward: float
    memory: float | None
    error: float
    spearman: float
    against: str


def measure(work: Work, options: Options) -> list[Row]:
    """A row for each precision and peer; a single one with the reason where the network is not there."""
    try:
        subject = Subject.of(work.network, work.images, options.size)
    except AbsentError as absent:
        return [Row(work.name, work.network, "float32", "", note=f"left out: {absent}")]
    sides = _our_sides(work, subject, options)
    chosen: dict[str, list[_Peer]] = {}
    absent_peers: dict[str, str] = {}
    tried: dict[int, tuple[Part, _Peer]] = {}
    for peer, parts in work.peers.items():
        try:
            made = list(parts(subject))
        except AbsentError as absent:
            absent_peers[peer] = str(absent)
            continue
        for part in made:
            if id(part) not in tried:  # some parts are common to several peers
                tried[id(part)] = part, _tried(part, subject, options.clock)
        chosen[peer] = [tried[id(part)][1] for part in made]
    seconds = _timed(work, subject, sides, chosen, options)
    rows = []
    for precision, side in sides.items():
        common = _our_row(work, precision, side, seconds, len(subject.inputs))
        rows += [_against(common, work, peer, parts, seconds) for peer, parts in chosen.items()]
        rows += [replace(common, peer=peer, note=f"left out: {why}") for peer, why in absent_peers.items()]
        rows += [] if work.peers else [common]
    if len(sides) == 1:
        missing = Row(work.name, work.network, FAST[0], "", note="the framework has no such precision")
        rows += [
            replace(missing, peer=peer, goal=goal) for (peer, speed), goal in work.goals.items() if speed == "fast"
        ]
    return rows


def _our_sides(work: Work, subject: Subject, options: Options) -> dict[str, _Side]:
    few = slice(_CHECKED)
    small = replace(
        subject, pictures=subject.pictures[few], inputs=subject.inputs[few], targets=subject.targets[few], _variants={}
    )
    truth = right(small, work.checked)
    sides = {}
    for precision in precisions():
        check = Ours(small.model, small.pictures, work.checked, precision)
        check()
        found = {label: difference(check.maps(label), maps) for label, (maps, _) in truth.items()}
        worst = max(found, key=lambda label: found[label][0])
        run = Ours(subject.model, subject.pictures, work.methods, precision)
        with PeakMemory() as peak:
            forward, backward = run.counted()
        sides[precision] = _Side(run, forward, backward, peak.megabytes, *found[worst], truth[worst][1])
    return sides


def _tried(part: Part, subject: Subject, clock: Clock) -> _Peer:
    """Each setting is tried once, a short one twice, since a first call makes plans and touches new memory."""
    found: list[tuple[float, _Chosen]] = []
    for setting in part.settings:
        subject.rows = 0
        with PeakMemory() as peak:
            seconds = clock.seconds(setting.run)
        forward = subject.rows / setting.share / len(subject.inputs)
        if seconds < _SHORT:
            seconds = clock.seconds(setting.run)
        found.append((seconds / setting.share, _Chosen(part.name, setting, peak.megabytes, forward)))
    plain = [one for one in found if not one[1].setting.channels_last]
    return _Peer(min(found, key=_seconds)[1], min(plain, key=_seconds)[1])


def _seconds(tried: tuple[float, _Chosen]) -> float:
    return tried[0]


def _timed(
    work: Work, subject: Subject, sides: Mapping[str, _Side], chosen: Mapping[str, Sequence[_Peer]], options: Options
) -> dict[str, list[float]]:
    """Seconds a picture of each round: ours, each peer, and the bare passes that ours are measured with."""
    n = len(subject.inputs)
    works: dict[str, Callable[[], object]] = {}
    per_picture: dict[str, float] = {}
    for precision, side in sides.items():
        works[f"ours {precision}"], per_picture[f"ours {precision}"] = side.run, n
        for kind in limit.KINDS[: 2 if side.backward and work.backwards else 1]:
            bare = limit.best(work.network, precision, kind, options.clock, options.size, options.batches)
            works[f"{kind} {precision}"], per_picture[f"{kind} {precision}"] = bare.once, bare.batch
    # the same part may be done for several peers
    both = [c for parts in chosen.values() for peer in parts for c in (peer.best, peer.as_built)]
    settings = {id(c.setting): c.setting for c in both}
    for number, setting in settings.items():
        works[f"part {number}"], per_picture[f"part {number}"] = setting.run, n * setting.share
    seconds = interleaved(works, options.clock, options.runs, options.budget)
    found = {name: [s / per_picture[name] for s in values] for name, values in seconds.items()}
    for peer, parts in chosen.items():
        for way in ("best", "as_built"):
            columns = [found[f"part {id(getattr(part, way).setting)}"] for part in parts]
            found[f"{way} {peer}"] = [sum(values) for values in zip(*columns, strict=True)]
    return found


def _our_row(work: Work, precision: str, side: _Side, seconds: Mapping[str, list[float]], images: int) -> Row:
    ours = seconds[f"ours {precision}"]
    forward = seconds[f"{limit.KINDS[0]} {precision}"]
    both = seconds.get(f"{limit.KINDS[1]} {precision}", forward)
    back = min(side.backward, side.forward) if work.backwards else 0.0
    bare = [back * b + (side.forward - back) * f for b, f in zip(both, forward, strict=True)]
    return Row(
        work.name,
        work.network,
        precision,
        "",
        ours_s=Spread.of(ours).median,
        over_limit=ratios(ours, bare),
        forward=side.forward,
        backward=side.backward,
        peak_mb=side.memory,
        error=side.error,
        spearman=side.spearman,
        against=side.against,
        runs=len(ours),
        note="; ".join(filter(None, [f"{images} pictures" if images > 1 else "1 picture", work.note])),
    )


def _against(common: Row, work: Work, peer: str, pairs: Sequence[_Peer], seconds: Mapping[str, list[float]]) -> Row:
    theirs, ours = seconds[f"best {peer}"], seconds[f"ours {common.precision}"]
    parts = [pair.best for pair in pairs]
    shares = [f"{c.setting.share:.0%} of {c.part} timed" for c in parts if c.setting.share < 1]
    memory = [c.memory for c in parts if c.memory is not None]
    return replace(
        common,
        peer=peer,
        setting=grouped([(c.part, c.setting.label) for c in parts]),
        goal=work.goals.get((peer, "float32" if common.precision == "float32" else "fast")),
        peer_s=Spread.of(theirs).median,
        ratio=ratios(theirs, ours),
        ratio_as_built=ratios(seconds[f"as_built {peer}"], ours),
        peer_forward=sum(c.forward for c in parts),
        peer_peak_mb=max(memory, default=None),
        note="; ".join(filter(None, [common.note, *shares])),
    )
