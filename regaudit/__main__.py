"""The program: `regaudit`, `python -m regaudit`. Every way to end has its exit code; none but a failed gate is 1."""

from __future__ import annotations

import os
import sys

USAGE, INCOMPLETE, BUG, INTERRUPTED = 2, 3, 4, 130  # the README has the table; 0 and 1 come from the commands

# Threads of OpenBLAS cost 35 ms to start and spin while they wait: with two of them, eigenvalues of a 1,536 matrix took
# 24 s on a busy machine of two cores, and 1 s with one. A machine of its own may set more.
BLAS_THREADS = "1"


def main() -> None:
    """Run the command line and leave with its exit code."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", BLAS_THREADS)
    code = run(sys.argv[1:])
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code; errors are told on stderr.

    Args:
        arguments: The words after the program's name.

    Returns:
        0 complete or passed, 1 gate failed, 2 usage, 3 incomplete, 4 a bug in regaudit, 130 interrupted.
    """
    try:
        return _command(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except MemoryError:
        return _told(INCOMPLETE, "the machine has not enough memory", "Try --spectrum off, which needs the least.")
    except OSError as error:
        return _told(INCOMPLETE, f"cannot write or read ({error.strerror or error})", "Make room, or write elsewhere.")
    except Exception:  # noqa: BLE001, the one place where a bug becomes an exit code
        return _bug()


def _command(arguments: list[str]) -> int:
    from typer import TyperException

    from regaudit.cli.app import app
    from regaudit.errors import CheckpointError, ConfigError

    try:
        return app(arguments, prog_name="regaudit", standalone_mode=False) or 0
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "regaudit"
        return _told(USAGE, error.format_message(), f"{command} --help lists what is possible")
    except ConfigError as error:
        return _told(USAGE, str(error))
    except CheckpointError as error:
        return _told(INCOMPLETE, f"{error.where}: {error.problem}", error.fix)
    except SystemExit:  # typer's answer to a closed pipe, with code 1
        return 0


def _told(code: int, problem: str, fix: str = "") -> int:
    from regaudit.cli.messages import complain

    complain(problem, fix)
    return code


def _bug() -> int:
    import traceback

    from regaudit.cli.messages import complain, say
    from regaudit.reports.escape import SENTENCE_LIMIT, printable

    for line in traceback.format_exc().splitlines():
        say(printable(line, SENTENCE_LIMIT))
    complain("this is a bug in regaudit", "Please report it with the lines above.")
    return BUG


if __name__ == "__main__":
    main()
