"""`fxconv verify`: whether a file still computes what it was written to compute."""

from __future__ import annotations

import shutil
from pathlib import Path

from fxconv.cli.options.calibration import SeedOption
from fxconv.cli.options.files import AgainstOptions, ArtifactArgument, ProofJsonOption, ReplayOptions
from fxconv.cli.options.groups import choices, takes_groups
from fxconv.cli.options.model import LoadingOptions
from fxconv.cli.options.output import QuietOption, TracebackOption
from fxconv.cli.options.preprocessing import PreprocessingOptions
from fxconv.errors import ConversionError, UserError


@takes_groups
def verify(
    *,
    file: ArtifactArgument,
    replay: ReplayOptions,
    other: AgainstOptions,
    loading: LoadingOptions,
    pixels: PreprocessingOptions,
    seed: SeedOption = 0,
    json: ProofJsonOption = None,
    quiet: QuietOption = False,
    traceback_: TracebackOption = False,
) -> None:
    """Whether a file still computes what it did, bit for bit.

    Its golden inputs run again, in a process of its own. A .pte has other kernels on other processors, and 40 dB will
    do there.

    Examples:
        # With the torch or ExecuTorch that is installed
        fxconv verify mobilenet_v3_small.ptl
        # With another one, such as an older release
        fxconv verify net.pte --python ~/executorch-1.3/bin/python
        # Beside the float model, on photographs
        fxconv verify net.ptl --against net.py:Net --photographs photographs/
    """
    from fxconv.cli import terminal
    from fxconv.cli.early_checks import check_loading
    from fxconv.cli.paths import check_distinct, check_target, code_file
    from fxconv.cli.results import write_report
    from fxconv.data.given_files import check_artifact, check_images

    check_target(json, "--json")
    python = shutil.which(replay.python) if replay.python is not None else None
    reads = {"FILE": file, "--photographs": other.photographs, "--python": Path(python) if python else None}
    if other.against is not None:
        reads |= {"--against": code_file(other.against), "--weights": Path(loading.weights)}
    check_distinct({"--json": json}, reads)
    if other.against is None and other.photographs is not None:
        raise UserError("--photographs goes with --against MODEL; name the model, or leave the photographs out")
    if other.against is None and (needless := choices(pixels)):
        raise UserError(f"--{next(iter(needless))} goes with --against MODEL; name the model, or leave it out")
    check_artifact(file)
    if other.against is not None:
        check_images(other.photographs, "--photographs")
        check_loading(other.against, loading)
    compared, proof, absent = None, None, ""
    with terminal.progress(quiet) as progress:
        progress("replaying golden inputs", 0, 1)
        from fxconv.targets.proof.prove import HasNone, prove

        try:
            proof = prove(file, replay.python, replay.timeout, replay.memory)
        except HasNone as error:
            if other.against is None:
                raise
            absent = str(error)
        if other.against is not None:
            from fxconv.analysis.float_comparison import compare_with_float

            compared = compare_with_float(
                file,
                other.against,
                other.photographs,
                loading.weights,
                loading.input_size,
                loading.unsafe_load,
                loading.heads,
                loading.model_arg or (),
                other.count,
                seed,
                other.min_sqnr,
                replay.timeout,
                replay.memory,
                progress,
                choices(pixels),
                loading.weights_key,
                loading.weights_prefix,
            )
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
