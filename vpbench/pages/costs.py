"""The cost of predictors, next to their scores: columns of the overview, and a table per device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vpbench.output import markdown
from vpbench.pages.boards import table_text
from vpbench.pages.standings import Standing
from vpbench.results.costs import CostRecord, Timing, costs_of

LATENCY = (
    "Seconds per frame: the median latency that `vpbench cost` measured for one clip, in a column per device. "
    "Operations: those of convolutions and products, in 10⁹ per predicted frame."
)
_MIB = 2**20


def describe_cost(record: CostRecord) -> Iterator[str]:
    """Yield the lines that a terminal shows of a record."""
    shape = record.identity.shape
    size, inputs = "x".join(map(str, shape.size)), " and ".join(shape.modalities)
    yield (
        f"{record.label} on {record.protocol}: {shape.horizon} frames of {size} after {shape.context}, from {inputs} "
        f"({record.identity.clips} clips)"
    )
    for name, text in cost_facts(record):
        yield f"{name:12}  {text}"


def cost_facts(record: CostRecord) -> list[tuple[str, str]]:
    """Return the numbers of a record, as pairs of a name and a text."""
    memory = "resident memory" if record.memory == "resident" else "memory allocated on the GPU"
    peaks = " and ".join(
        f"{timing.peak_memory_bytes / _MIB:.1f} MiB at batch {timing.batch_size}"
        for timing in (record.latency, record.throughput)
    )
    return [
        ("device", record.device),
        ("parameters", f"{record.parameters:,}"),
        ("operations", operations_text(record)),
        ("latency", _speed("latency", record.latency)),
        ("throughput", _speed("throughput", record.throughput)),
        ("peak memory", f"{peaks} ({memory})"),
    ]


def _speed(name: str, timing: Timing) -> str:
    low, high = timing.quartiles
    if name == "latency":
        text = f"{timing.seconds_per_frame:.3g} s per predicted frame, quartiles {low:.3g} to {high:.3g}"
    else:
        text = f"{timing.frames_per_second:.3g} predicted frames per second, quartiles {1 / high:.3g} to {1 / low:.3g}"
    return f"{text}, at batch {timing.batch_size} ({timing.rounds} rounds)"


def operations_text(record: CostRecord) -> str:
    """Return the operations per predicted frame, or why they have no count."""
    if record.operations is None:
        return f"not countable: {record.uncounted}"
    return f"{record.operations / 1e9:.4g} x 10^9 per predicted frame"


def standing_costs(standing: Standing) -> dict[str, CostRecord]:
    """Return the costs of a row by device: those on the protocol's clips before those on random ones.

    Raises:
        ResultError: a record next to a result cannot be read.
    """
    records = [record for result in standing.results for record in costs_of(result.path, result.run)]
    ordered = sorted(records, key=lambda r: (r.device, r.identity.clips == "random", r.identity.batch_size != 8))
    return {record.device: record for record in reversed(ordered)}


def measured_devices(costs: Sequence[Mapping[str, CostRecord]]) -> list[str]:
    """Return the devices that some row was measured on, sorted: each has a column of its own."""
    return sorted({device for records in costs for device in records})


def cost_heads(devices: Sequence[str]) -> list[str]:
    """Return the heads of the cost columns: without measured costs, that of the times of runs."""
    if not devices:
        return ["seconds per frame"]
    return ["operations", *(f"seconds per frame<br><sub>{markdown(device)}</sub>" for device in devices)]


def cost_cells(records: Mapping[str, CostRecord], devices: Sequence[str]) -> list[str]:
    """Return a row's cells for these columns; times of one device never stand in the column of another one."""
    counts = {_operations(record) for record in records.values()}
    times = [f"{records[name].latency.seconds_per_frame:.2g}" if name in records else "—" for name in devices]
    return [counts.pop() if len(counts) == 1 else "—", *times]


def _operations(record: CostRecord) -> str:
    return "not countable" if record.operations is None else f"{record.operations / 1e9:.4g}"


def cost_section(names: Sequence[str], costs: Sequence[Mapping[str, CostRecord]]) -> str:
    """Return the section of all measured costs, a table per device; "" where nothing was measured."""
    tables = []
    for device in measured_devices(costs):
        rows = [_cells(name, records[device]) for name, records in zip(names, costs, strict=True) if device in records]
        heads = ["predictor", "parameters", "10⁹ operations per frame", "latency", "throughput", "peak memory"]
        tables.append(f"{markdown(device)}:\n\n{table_text(heads, rows)}\n")
    if not tables:
        return ""
    text = (
        "Measured by `vpbench cost`, never mixed between devices. Operations are those of convolutions and products, "
        "per predicted frame. Latency is the median time for a predicted frame of one clip, with its quartiles. Peak "
        "memory is that of one prediction, above the memory before it."
    )
    return "\n".join([f"## Cost\n\n{text}\n", *tables])


def _cells(name: str, record: CostRecord) -> list[str]:
    low, high = (1000 * seconds for seconds in record.latency.quartiles)
    latency = f"{1000 * record.latency.seconds_per_frame:.3g} ms<br><sub>{low:.3g} to {high:.3g}</sub>"
    many = record.throughput
    clips = "" if record.identity.clips == "real" else "<br><sub>random clips</sub>"
    return [
        f"{name}{clips}",
        f"{record.parameters:,}" if record.parameters else "—",
        _operations(record),
        latency,
        f"{many.frames_per_second:.3g} frames/s<br><sub>batch {many.batch_size}</sub>",
        f"{many.peak_memory_bytes / _MIB:.1f} MiB<br><sub>batch {many.batch_size}</sub>",
    ]
