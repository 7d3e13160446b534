"""`regaudit inspect`: read, measure, explain, recommend; it never gates."""

from regaudit.cli import options
from regaudit.cli.audited import Request, audited

HELP = """
Explain what regularization did to a model.

\b
  regaudit inspect model.safetensors
  regaudit inspect ./bert-base -o report.json
  regaudit inspect model.keras -f json --tensors
  regaudit inspect runs/ --recursive -q

Reads and measures every weight, layer by layer; says which effects of regularization are visible, with the evidence,
and recommends a kernel, bias or activity penalty. No code from the file is run.

\b
Exit code 0: complete
          2: an option is wrong; nothing was read
          3: an input could not be read; the others are reported all the same
"""


def inspect(
    inputs: options.Inputs,
    *,
    format: options.Format = "text",  # noqa: A002, the option's name
    output: options.Output = None,
    recursive: options.Recursive = False,
    tensors: options.Tensors = False,
    spectrum: options.Spectrum = "auto",
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
    no_progress: options.NoProgress = False,
) -> int:
    """Audit the inputs and report on them; the parameters are the options of the command.

    Returns:
        The exit code.
    """
    return audited(
        Request(
            inputs=inputs,
            recursive=recursive,
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
