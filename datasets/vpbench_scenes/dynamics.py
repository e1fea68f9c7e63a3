"""Class dynamics: how objects of each class move on, given how they moved.

Same place, same speed, other future: a car brakes or turns, a truck or bus changes speed slowly and steadily, a person
walks with a periodic gait and may stop, a bicycle sways. Speeds are in units of the object's base speed per frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.rng import TURN, Stream, sine

DYNAMICS: Final = ("car", "truck", "bus", "person", "bicycle")
"""Classes with their own dynamics (a rider goes with the bicycle)."""
GAIT: Final = 5
"""Frames of a step and back; a person's speed goes up and down with it."""
SWAY: Final = 8
"""Frames of a bicycle's sway."""


@dataclass(frozen=True)
class Motion:
    """The path of one object, [T] each, in units of the base speed times one frame.

    ``along`` is the way made in the direction it set out in, ``across`` the way made to its right, both 0 at frame 0;
    ``swing`` in [-1, 1] is the phase of gait or sway.
    """

    along: NDArray[np.float64]
    across: NDArray[np.float64]
    swing: NDArray[np.float64]


@dataclass(frozen=True)
class _Intent:
    """The next manoeuvre of an object: ``kind`` from frame ``onset`` on, as strongly as ``rate``."""

    kind: str
    onset: int
    rate: float


def _intent(name: str, s: Stream, onset: int) -> _Intent:
    draw, side = s.uniform(), s.sign()
    if name == "car":
        if draw < 0.6:
            return _Intent("brake", onset, s.uniform(0.78, 0.86))
        return _Intent("turn", onset, side * s.uniform(0.16, 0.24)) if draw < 0.85 else _Intent("go", onset, 0.0)
    if name in ("truck", "bus"):
        return _Intent("accelerate", 0, side * s.uniform(0.1, 0.16))
    if name == "person":
        return _Intent("stop", onset, 0.0) if draw < 0.2 else _Intent("go", onset, 0.0)
    return _Intent("go", onset, 0.0) if draw < 0.7 else _Intent("turn", onset, side * s.uniform(0.1, 0.16))


def _branch_intent(name: str, s: Stream, onset: int) -> _Intent:
    """An intent of a branch: drawn anew, and any class may also set off, stop or turn."""
    return _Intent("stop", onset, 0.0) if name == "person" and s.chance(0.3) else _intent(name, s, onset)


def simulate(name: str, stream: Stream, frames: int, branch: int, branch_at: int) -> Motion:
    """Move one object.

    Args:
        name: the class whose dynamics it has, one of :data:`DYNAMICS`.
        stream: its own random numbers.
        frames: T.
        branch: 0, or which other future it takes from frame ``branch_at`` on: frames before that are untouched.
        branch_at: the first frame that differs.
    """
    intent = _intent(name, stream.child("intent"), 1 + stream.integer(4))
    phase = stream.integer(TURN)
    # Trucks and buses start slow where they will speed up and fast where they will slow down.
    forward = 1.0 if name not in ("truck", "bus") else 1.0 - 3.0 * intent.rate
    right = 0.0
    along, across, swing = np.zeros(frames), np.zeros(frames), np.zeros(frames)
    jitter = stream.child("jitter")
    acceleration = intent.rate
    for t in range(1, frames):
        if branch and t == branch_at:
            fork = stream.child("branch", branch)
            intent, jitter = _branch_intent(name, fork, t), fork.child("jitter")
            if intent.kind == "accelerate":
                acceleration = intent.rate
        if t >= intent.onset:
            if intent.kind == "brake":
                forward, right = forward * intent.rate, right * intent.rate
            elif intent.kind == "turn":
                forward, right = forward - intent.rate * right, right + intent.rate * forward
            elif intent.kind == "accelerate":
                # Steady until it crawls or is at full speed.
                forward = min(max(forward + acceleration, 0.1), 2.2)
        angle = phase + t * TURN // (GAIT if name == "person" else SWAY)
        step_along, step_across = forward * (1.0 + jitter.uniform(-0.02, 0.02)), right
        if name == "person":
            standing = intent.kind == "stop" and t >= intent.onset
            step_along = 0.0 if standing else step_along * (1.0 + 0.5 * sine(angle))
            swing[t] = swing[t - 1] if standing else sine(angle)
        elif name == "bicycle":
            step_along += 0.45 * sine(angle)
            swing[t] = sine(angle)
        along[t], across[t] = along[t - 1] + step_along, across[t - 1] + step_across
    if name in ("person", "bicycle"):
        swing[0] = sine(phase)
    return Motion(along, across, swing)
