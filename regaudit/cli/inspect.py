"""`regaudit inspect`: read, measure, explain, recommend; it never gates."""

from regaudit.cli import options
from regaudit.cli.audited import Request, audited

HELP = """
Explain what regularization did to a model.

\b
  regaudit inspect model.safetensors
  regaudit inspect ./bert-base -o report.json
  regaudit inspect model.keras -f json --tensors

Reads and measures every weight, layer by layer; says which effects of regularization are visible, with the evidence,
and recommends a kernel, bias or activity penalty. No code from the file is run.

\b
Exit code 0: complete
          2: an option is wrong; nothing was read
          3: the input, or a weight in it, could not be read
"""


def inspect(
    source: options.Input,
    *,
    format: options.Format = "text",  # noqa: A002, the option's name
    output: options.Output = None,
    tensors: options.Tensors = False,
    spectrum: options.Spectrum = "auto",
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
    no_progress: options.NoProgress = False,
) -> int:
    """Audit one input and report on it; the parameters are the options of the command.

    Returns:
        The exit code.
    """
    return audited(
        Request(
            source=source,
            format=format,
            outputs=output or [],
            tensors=tensors,
            spectrum=spectrum,
            verbose=verbose,
            quiet=quiet,
            color=color,
            no_progress=no_progress,
        )
    )
