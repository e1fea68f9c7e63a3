"""An error's line on the command line, with the flag for its remedy."""

from __future__ import annotations

import pytest

from vpbench.cli.main import _warning_printer
from vpbench.cli.trouble import message
from vpbench.errors import DataError, Remedy, ResultError, VpbenchWarning


@pytest.mark.parametrize("remedy", Remedy)
def test_every_remedy_has_a_flag(remedy):
    assert " --" in message(DataError("damaged", remedy)).replace("(", " ")


def test_the_flag_names_the_subject_as_a_shell_reads_it():
    error = DataError("names differ by a prefix only", Remedy.STRIP_PREFIX, "$x_")
    assert message(error).endswith("only (vpbench weights convert FILE --strip '$x_' --out NEW.safetensors)")


def test_an_error_without_a_remedy_is_its_text():
    assert message(DataError("damaged")) == "damaged"


def test_the_remedy_of_a_cause_is_kept():
    error = ResultError("clip 3: damaged; allow a partial result")
    error.__cause__ = DataError("damaged; allow a partial result", Remedy.ALLOW_PARTIAL)
    assert message(error) == "clip 3: damaged; allow a partial result (--allow-partial)"


@pytest.mark.parametrize("args", [["merge"], ["weights", "get"], ["data", "prepare"]])
def test_a_usage_error_names_the_help_of_its_command(vpbench, args):
    outcome = vpbench(*args)
    assert outcome.code == 2
    assert outcome.error.endswith(f"(see `vpbench {' '.join(args)} --help`)")
    assert vpbench(*args, "--help").code == 0


def test_a_warning_for_users_is_printed_once_and_others_each_time(capsys):
    show = _warning_printer()
    for category in (VpbenchWarning, VpbenchWarning, UserWarning, UserWarning):
        show(category("too few clips"), category, "metrics.py", 7)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("vpbench: warning: too few clips") == 1
    assert lines.count("metrics.py:7: UserWarning: too few clips") == 2
