"""Drives of KITTI raw by category, as the download page groups them."""

from __future__ import annotations


def drives(date: str, numbers: str) -> tuple[str, ...]:
    """Return the folders of a date's drives, ``2011_09_26/2011_09_26_drive_0001_sync``, from numbers in one text."""
    return tuple(f"{date}/{date}_drive_{number}_sync" for number in numbers.split())


CITY = (
    *drives("2011_09_26", "0001 0002 0005 0009 0011 0013 0014 0017 0018 0048 0051 0056 0057 0059"),
    *drives("2011_09_26", "0060 0084 0091 0093 0095 0096 0104 0106 0113 0117"),
    *drives("2011_09_28", "0001 0002"),
    *drives("2011_09_29", "0026 0071"),
)
RESIDENTIAL = (
    *drives("2011_09_26", "0019 0020 0022 0023 0035 0036 0039 0046 0061 0064 0079 0086 0087"),
    *drives("2011_09_30", "0018 0020 0027 0028 0033 0034"),
    *drives("2011_10_03", "0027 0034"),
)
ROAD = (
    *drives("2011_09_26", "0015 0027 0028 0029 0032 0052 0070 0101"),
    *drives("2011_09_29", "0004"),
    *drives("2011_09_30", "0016"),
    *drives("2011_10_03", "0042 0047"),
)
