"""`fxconv verify`: whether a file still computes what it was written to compute."""

from __future__ import annotations

from fxconv.cli.options.calibration import SeedOption
from fxconv.cli.options.files import (
    AgainstOption,
    ArtifactArgument,
    ComparedCountOption,
    ComparedOption,
    LeastSqnrOption,
    MemoryOption,
    ProofJsonOption,
    PythonOption,
    TimeoutOption,
)
from fxconv.cli.options.model import HeadsOption, InputSizeOption, UnsafeLoadOption, WeightsOption
from fxconv.cli.options.output import QuietOption, TracebackOption
from fxconv.errors import ConversionError, UserError


def verify(
    file: ArtifactArgument,
    python: PythonOption = None,
    timeout: TimeoutOption = 300,
    memory: MemoryOption = 4096,
    against: AgainstOption = None,
    photographs: ComparedOption = None,
    count: ComparedCountOption = 32,
    min_sqnr: LeastSqnrOption = None,
    weights: WeightsOption = "auto",
    unsafe_load: UnsafeLoadOption = False,
    input_size: InputSizeOption = None,
    heads: HeadsOption = None,
    seed: SeedOption = 0,
    json: ProofJsonOption = None,
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """Run a .ptl's golden inputs again, in a process of its own, and say whether every bit is the same."""
    from fxconv.cli import terminal
    from fxconv.cli.paths import check_distinct, check_target
    from fxconv.cli.results import write_report

    check_target(json, "--json")
    check_distinct({"--json": json}, {"FILE": file, "--photographs": photographs})
    if against is None and photographs is not None:
        raise UserError("--photographs goes with --against MODEL; name the model, or leave the photographs out")
    compared, proof, absent = None, None, ""
    with terminal.progress(quiet) as progress:
        progress("replaying golden inputs", 0, 1)
        from fxconv.targets.proof.prove import HasNone, prove

        try:
            proof = prove(file, python, timeout, memory)
        except HasNone as error:
            if against is None:
                raise
            absent = str(error)
        if against is not None:
            from fxconv.analysis.float_comparison import against as compare

            compared = compare(
                file, against, photographs, weights, input_size, unsafe_load, heads, count, seed, min_sqnr, timeout,
                memory, progress,
            )  # fmt: skip
    from fxconv.report.proof import print_proof, proof_text

    try:
        if json is not None:
            write_report(json, proof_text(file, proof, compared))
    finally:
        for note in (*((absent,) if absent else ()), *(compared.notes if compared is not None else ())):
            terminal.warn(note)
        print_proof(file, proof, compared, terminal.console())
    problems = [proof.problem] if proof is not None and not proof.passed else []
    if compared is not None and not compared.row.passed:
        problems.append(f"against {compared.model}: {compared.row.problem}; required: {compared.row.rule}")
    if problems:
        raise ConversionError(f"{file}: does not verify: {'; '.join(problems)}")
