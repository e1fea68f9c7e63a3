"""Silhouettes of cars, trucks, buses and bicycles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from vpbench_scenes.paint import Painter, Sprite
from vpbench_scenes.rng import Stream


def _car_side(s: Stream) -> Sprite:
    c = Painter(80, 176)
    waist, roof = s.uniform(0.36, 0.44), s.uniform(0.02, 0.1)
    back, front = s.uniform(0.06, 0.24), s.uniform(0.7, 0.8)
    slope = s.uniform(0.1, 0.16)
    c.rect("tyre", 0.08, 0.7, 0.92, 0.94)  # the dark under the car belongs to it
    c.poly("body", (back, waist + 0.02), (back + 0.07, roof), (front - slope, roof), (front, waist + 0.02))
    c.poly("glass", (back + 0.04, waist), (back + 0.095, roof + 0.06), (front - slope - 0.01, roof + 0.06),
           (front - 0.03, waist))  # fmt: skip
    middle = (back + front) / 2 - 0.02
    c.rect("body", middle - 0.012, roof, middle + 0.012, waist)
    c.rect("body", 0.03, waist, 0.97, 0.82)
    c.oval("body", 0.05, 0.62, 0.05, 0.2)
    c.oval("body", 0.94, 0.64, 0.06, 0.18)
    c.rect("body2", 0.03, 0.66, 0.97, 0.72)
    c.rect("tail", 0.01, waist + 0.08, 0.05, waist + 0.2)
    c.rect("lamp", 0.94, waist + 0.12, 0.99, waist + 0.22)
    c.wheel(0.2, 0.078, 0.2)
    c.wheel(0.79, 0.078, 0.2)
    return c.sprite()


def _car_end(s: Stream, lamp: str) -> Sprite:
    c = Painter(96, 112)
    waist, pinch = s.uniform(0.38, 0.46), s.uniform(0.1, 0.18)
    c.rect("tyre", 0.08, 0.7, 0.92, 0.96)
    c.rect("tyre", 0.04, 0.78, 0.24, 1.0)
    c.rect("tyre", 0.76, 0.78, 0.96, 1.0)
    c.poly("body", (0.06, waist + 0.02), (pinch + 0.06, 0.02), (0.94 - pinch, 0.02), (0.94, waist + 0.02))
    c.poly("glass", (0.13, waist), (pinch + 0.1, 0.09), (0.9 - pinch, 0.09), (0.87, waist))
    c.rect("body", 0.01, waist, 0.99, 0.84)
    c.rect("body2", 0.01, 0.7, 0.99, 0.78)
    c.rect(lamp, 0.03, waist + 0.08, 0.22, waist + 0.19)
    c.rect(lamp, 0.78, waist + 0.08, 0.97, waist + 0.19)
    c.rect("sign", 0.38, 0.62, 0.62, 0.69)
    return c.sprite()


def _truck_side(s: Stream) -> Sprite:
    c = Painter(112, 208)
    split, cab = s.uniform(0.66, 0.74), s.uniform(0.12, 0.26)
    c.rect("tyre", 0.05, 0.76, 0.95, 0.93)
    c.rect("body2", 0.0, 0.0, split - 0.015, 0.78)
    for k in range(1, 5):
        c.rect("trim", split * k / 5, 0.03, split * k / 5 + 0.008, 0.75)
    c.rect("trim", 0.0, 0.72, split, 0.78)
    c.poly("body", (split, 0.84), (split, cab), (0.93, cab), (1.0, 0.55), (1.0, 0.84))
    c.poly("glass", (split + 0.1, 0.5), (split + 0.1, cab + 0.07), (0.925, cab + 0.07), (0.975, 0.5))
    c.rect("lamp", 0.97, 0.66, 1.0, 0.74)
    for u in (0.12, 0.25, 0.86):
        c.wheel(u, 0.062, 0.14)
    return c.sprite()


def _truck_end(s: Stream, lamp: str) -> Sprite:
    c = Painter(128, 112)
    top = s.uniform(0.0, 0.08)
    c.rect("tyre", 0.05, 0.8, 0.28, 1.0)
    c.rect("tyre", 0.72, 0.8, 0.95, 1.0)
    c.rect("body2", 0.0, top, 1.0, 0.82)
    if lamp == "tail":
        c.rect("trim", 0.49, top, 0.51, 0.8)
        c.rect("trim", 0.05, top + 0.05, 0.95, top + 0.07)
    else:
        c.rect("body", 0.04, 0.3, 0.96, 0.86)
        c.rect("glass", 0.1, 0.36, 0.9, 0.58)
    c.rect("trim", 0.0, 0.82, 1.0, 0.88)
    c.rect(lamp, 0.06, 0.74, 0.2, 0.8)
    c.rect(lamp, 0.8, 0.74, 0.94, 0.8)
    return c.sprite()


def _bus_side(s: Stream) -> Sprite:
    c = Painter(96, 240)
    sill, count = s.uniform(0.48, 0.56), 5 + s.integer(3)
    c.rect("tyre", 0.03, 0.8, 0.97, 0.93)
    c.rect("body", 0.0, 0.03, 1.0, 0.86)
    c.rect("body2", 0.01, 0.0, 0.99, 0.05)
    c.rect("body2", 0.0, 0.66, 1.0, 0.74)
    for k in range(count):
        c.rect("glass", 0.03 + 0.9 * k / count, 0.16, 0.03 + 0.9 * (k + 0.86) / count, sill)
    c.rect("glass", 0.95, 0.14, 1.0, 0.6)
    c.rect("glass", 0.8, 0.16, 0.87, 0.82)
    c.rect("tail", 0.0, 0.6, 0.012, 0.72)
    c.rect("lamp", 0.985, 0.72, 1.0, 0.8)
    c.wheel(0.18, 0.052, 0.16)
    c.wheel(0.72, 0.052, 0.16)
    return c.sprite()


def _bus_end(s: Stream, lamp: str) -> Sprite:
    c = Painter(128, 112)
    c.rect("tyre", 0.06, 0.82, 0.28, 1.0)
    c.rect("tyre", 0.72, 0.82, 0.94, 1.0)
    c.rect("body", 0.0, 0.02, 1.0, 0.9)
    c.rect("glass", 0.07, 0.18, 0.93, s.uniform(0.5, 0.58))
    c.rect("body2", 0.0, 0.62, 1.0, 0.7)
    c.rect("amber", 0.2, 0.06, 0.8, 0.13)
    c.rect(lamp, 0.04, 0.74, 0.2, 0.82)
    c.rect(lamp, 0.8, 0.74, 0.96, 0.82)
    return c.sprite()


def _bicycle(s: Stream) -> Sprite:
    c = Painter(112, 176)
    ru, rv = 0.205, 0.32
    for u in (0.205, 0.795):
        c.oval("tyre", u, 0.68, ru, rv)
        c.oval("empty", u, 0.68, ru * 0.8, rv * 0.8)
        for du, dv in ((0.8, 0.0), (0.0, 0.8), (0.57, 0.57), (0.57, -0.57)):
            c.line("metal", u - ru * du, 0.68 - rv * dv, u + ru * du, 0.68 + rv * dv, 0.01, 0.016)
    seat = s.uniform(0.34, 0.38)
    tubes = ((0.205, 0.68, seat, 0.2), (seat, 0.2, 0.47, 0.7), (0.47, 0.7, 0.205, 0.68), (seat + 0.02, 0.25, 0.7, 0.22),
             (0.47, 0.7, 0.7, 0.22), (0.69, 0.1, 0.795, 0.68))  # fmt: skip
    for a in tubes:
        c.line("frame", *a, 0.022, 0.035)
    c.line("tyre", 0.69, 0.08, 0.78, 0.04, 0.02, 0.03)
    c.line("tyre", seat - 0.06, 0.14, seat + 0.06, 0.14, 0.02, 0.035)
    return c.sprite()


VEHICLES: Final[Mapping[str, Callable[[Stream], Sprite]]] = {
    "car/side": _car_side, "car/front": partial(_car_end, lamp="lamp"), "car/rear": partial(_car_end, lamp="tail"),
    "truck/side": _truck_side, "truck/front": partial(_truck_end, lamp="lamp"),
    "truck/rear": partial(_truck_end, lamp="tail"),
    "bus/side": _bus_side, "bus/front": partial(_bus_end, lamp="lamp"), "bus/rear": partial(_bus_end, lamp="tail"),
    "bicycle": _bicycle,
}  # fmt: skip
