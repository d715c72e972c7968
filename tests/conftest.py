"""What the suites of the command line share."""

import pytest

from ssq_stress import cli


@pytest.fixture
def ssq(tmp_path, monkeypatch, capsys):
    """Run one command line in a folder of its own: returns exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def is_one_line():
    """Tell whether an error is one line of ours, without a traceback, that names these parts."""

    def told(error, *parts):
        lines = error.splitlines()
        is_ours = len(lines) == 1 and lines[0].startswith("ssq: ")
        return is_ours and all(str(part) in lines[0] for part in parts)

    return told
