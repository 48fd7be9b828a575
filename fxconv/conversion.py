"""The whole pipeline: a float model in, a verified int8 artifact out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fxconv import calibration_file
from fxconv.calibration_file import SavedCalibration
from fxconv.config import Config, Mode
from fxconv.config_inputs import NamedInputs
from fxconv.data.assumption import assumption_warnings
from fxconv.data.calibration import Calibration, CalibrationData, as_data
from fxconv.data.calibration_generated import Generated
from fxconv.data.class_names import check_names
from fxconv.data.held_out import JUDGED, Unused, unused
from fxconv.data.held_out import held_out as held_out_of
from fxconv.data.staged_file import StagedFile, commit_all
from fxconv.data.targets import with_targets
from fxconv.environment import Environment
from fxconv.errors import ConversionError, UserError
from fxconv.job import Job, open_job
from fxconv.measures import budget, fidelity
from fxconv.measures.fidelity import Fidelity, not_measured
from fxconv.measures.judge import Judge, Judgement
from fxconv.measures.latency import Latency
from fxconv.measures.layer_cost import LayerCost
from fxconv.measures.layer_survey import Layer
from fxconv.measures.metric import Metric, with_metric
from fxconv.measures.metric_judge import MetricJudge
from fxconv.measures.noise_gain import amplifies_noise
from fxconv.models import forward, preconditions
from fxconv.models.graph_calls import Inputs
from fxconv.models.model_info import ModelInfo
from fxconv.models.preprocessing import Preprocessing
from fxconv.progress import Clock, Progress
from fxconv.quantization import dynamic, engine, fusion, keep_float
from fxconv.quantization.expected_ranges import UninformativeRange, uninformative_ranges
from fxconv.quantization.fine_tuned import FineTuned
from fxconv.quantization.kept_ranges import quantized_of
from fxconv.quantization.layer_costs import costs
from fxconv.quantization.quantize import QuantizedModel, quantize
from fxconv.quantization.recipe_search.recipe import ChosenRecipe
from fxconv.quantization.refusals import Adjustment
from fxconv.quantization.training import training_set
from fxconv.quantization.training.own_loop import Trainable, check_trained, trainable
from fxconv.quantization.training.train import fine_tuned, requantized
from fxconv.targets.artifact import Artifact
from fxconv.targets.float_twin import FloatTwin
from fxconv.targets.proof import golden, metadata
from fxconv.targets.proof.golden import Golden
from fxconv.targets.proof.metadata import FileContents
from fxconv.targets.registry import named_by, target_of, targets_of
from fxconv.targets.suffixes import check_suffix
from fxconv.targets.target import Context, Program, Target
from fxconv.targets.wrapping.normalization import InGraphNormalization
from fxconv.targets.wrapping.wrapper import ModelWrapper
from fxconv.targets.write import examine, make
from fxconv.targets.written_file import WrittenFile
from fxconv.verification.audit import Audit
from fxconv.verification.module_proof import ModuleProof, prove_module
from fxconv.verification.other_batches import BatchCheck
from fxconv.verification.other_sizes import SizeCheck
from fxconv.verification.parity import AMPLIFYING, StageParity
from fxconv.verification.verdict import cure, is_proven, is_verified, verdict
from fxconv.verification.warnings import company_warnings, constant_warnings, engine_warnings, range_warnings
from fxconv.wording import worded
from rewrites import Rewritten

if TYPE_CHECKING:
    from fxconv.report import Report

CONVERTED_SHARE = 0.90


@dataclass(frozen=True)
class Kept:
    """What an int8 module was made of, and the names of its classes."""

    job: Job
    quantized: QuantizedModel
    labels: tuple[str, ...] | None


@dataclass(frozen=True, repr=False)
class Conversion:
    """A finished conversion: what was done, what came out, and whether it holds. Called, it runs the int8 model.

    `int8` is the quantized module: a GraphModule, or what did not trace with GraphModules in it. `audit` has a row for
    each of its int8 operations, `module_ledger` one for each stage up to it; `files` are what was made of it, one of
    each target, with what was found out about each. `timings` are seconds a step; `adjusted` are the ranges widened
    lest a kernel refuse them, `uninformative_ranges` the observers whose ranges say little. `judgement` is how it
    answers on images held out of calibration, None when nobody asked. `recipe` are the steps that recovered accuracy,
    and how they were chosen; `training` is how the weights were fine-tuned, None when fxconv did not. `layers` are the
    operations with their distance from float and their ranges, when somebody asked for them. `fidelity` is how int8
    answers beside float on images used for nothing else. `preprocessing` is how pixels became the calibration data, and
    who says so; None where they were given as tensors, and nobody says. `kept` is what `save_calibration` writes.

    `artifact`, `latency`, `sizes`, `batches`, `golden`, `runtime`, `target` and `frozen_branches` are the first file's.
    """

    model: ModelInfo
    config: Config
    environment: Environment
    rewritten: Rewritten
    int8: nn.Module
    calibration: Calibration
    audit: Audit
    module_ledger: tuple[StageParity, ...]
    files: tuple[WrittenFile, ...]
    timings: dict[str, float]
    warnings: tuple[str, ...] = field(default=())
    adjusted: tuple[Adjustment, ...] = field(default=())
    uninformative_ranges: tuple[UninformativeRange, ...] = field(default=())
    judgement: Judgement | None = None
    recipe: ChosenRecipe = field(default_factory=ChosenRecipe)
    training: FineTuned | None = None
    layers: tuple[Layer, ...] = ()
    fidelity: Fidelity = field(default_factory=partial(not_measured, "nobody asked"))
    preprocessing: Preprocessing | None = None
    kept: Kept | None = field(default=None, repr=False)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """What the int8 model returns for what the float model takes: preprocessed tensors, or a list of images."""
        with engine.engine(self.config.engine.value), torch.no_grad():
            return self.int8(*inputs, **named)

    def __repr__(self) -> str:
        sqnr = next((f", {row.sqnr_db:.1f} dB" for row in self.ledger if row.stage == "int8"), "")
        return f"<Conversion {self.model.name}: {self.verdict}; {self.artifact.size / 1e6:.2f} MB{sqnr}>"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    @property
    def ledger(self) -> tuple[StageParity, ...]:
        """A row for each stage that ran: up to the int8 module, and behind it those of each file."""
        return (*self.module_ledger, *(row for file in self.files for row in file.ledger))

    @property
    def artifact(self) -> Artifact:
        """The first file."""
        return self.files[0].artifact

    @property
    def latency(self) -> Latency:
        """That of the first file, in its runtime."""
        return self.files[0].latency

    @property
    def sizes(self) -> tuple[SizeCheck, ...]:
        """The other input sizes that the first file was tried at."""
        return self.files[0].sizes

    @property
    def batches(self) -> tuple[BatchCheck, ...]:
        """The other batches that the first file was tried with."""
        return self.files[0].batches

    @property
    def golden(self) -> Golden:
        """The inputs that the first file can prove itself by."""
        return self.files[0].golden

    @property
    def runtime(self) -> Any:
        """What the first file needs of the release that was named, of its target's own type."""
        return self.files[0].needs

    @property
    def target(self) -> Target:
        """What kind of file the first is."""
        return self.files[0].target

    @property
    def frozen_branches(self) -> tuple[str, ...]:
        """Lines whose decisions by the numbers in a tensor the first file has as the example took them."""
        return self.files[0].frozen_branches

    @property
    def _stages(self) -> tuple[str, ...]:
        return tuple(stage for file in self.files for stage in file.target.stages)

    @property
    def proven(self) -> bool:
        """The bytes of each file compute what int8 does, each operation of it is right, and the rewriting is exact."""
        return is_proven(self.audit, self.ledger, self.recipe, self._stages)

    @property
    def verified(self) -> bool:
        """Proven, and int8 comes as near to float as is asked for: `min_sqnr`, no channel lost, `min_agreement`."""
        return is_verified(self.audit, self.ledger, self.recipe, self._stages) and not self._missed

    @property
    def _missed(self) -> str:
        """What was asked of how int8, or a file of other kernels, answers, and is not so."""
        others = ((f"{file.target.suffix}: ", file.fidelity) for file in self.files if not file.target.is_exact)
        missed = ((name, one.missing(self.config.min_agreement)) for name, one in (("", self.fidelity), *others))
        return next((name + problem for name, problem in missed if problem), "")

    @property
    def converted(self) -> bool:
        """At least 90 % of the multiply-accumulates of convolutions and linear layers run in int8.

        A model without any is converted when nothing it does runs in float, and dynamic quantization converts the
        layers that it is for.
        """
        if self.config.mode is Mode.dynamic:
            return True
        if not self.artifact.macs:
            return not self.artifact.float_calls
        return self.artifact.int8_macs_share >= CONVERTED_SHARE

    @property
    def verdict(self) -> str:
        """`converted and verified`, `float by engine, verified`, or `FAILED: ` and the first thing that failed."""
        kept = bool(self.config.keep_float)
        return worded(verdict(self.audit, self.ledger, self.converted, kept, self._missed))

    @property
    def cure(self) -> str:
        """What to do about a conversion that failed; empty when it did not."""
        if self.verified:
            return ""
        failed = next((file for file in self.files if not file.proven), self.files[0])
        return worded(cure(self.audit, self.ledger, self.config, failed.target.advice(self.config)))

    @property
    def report(self) -> Report:
        """The report; `.print()` shows it, `.json()` is DESIGN's schema."""
        from fxconv.report import Report

        return Report(self)

    def save(self, path: str | Path) -> Conversion:
        """Write the file whose kind `path` names, read it back, and return this conversion with that path.

        Raises `UserError` for a kind that was not asked for, and `ConversionError`, leaving nothing under `path`, when
        the conversion or the file read back fails.
        """
        where = Path(path)
        check_suffix(where)
        file = next((one for one in self.files if one.target.suffix == where.suffix.lower()), None)
        if file is None:
            made, names = " and ".join(one.target.suffix for one in self.files), (one.target.name for one in self.files)
            wanted = target_of(where).name
            raise UserError(
                f"{where}: this conversion made {made} alone; ask for targets={(*names, wanted)!r}, or make it of what "
                "--save-calibration keeps"
            )
        if not self.verified:
            raise ConversionError(f"{self.verdict}; {self.cure}")
        with StagedFile(where, file.artifact.data) as staged:
            if staged.path.read_bytes() != file.artifact.data:
                raise ConversionError(f"{where}: the bytes on disk are not the bytes that were verified")
            staged.commit()
        return self._with_paths({file.target: where})

    def _with_paths(self, places: Mapping[Target, Path]) -> Conversion:
        """The same with the final names of files."""
        files = tuple(
            replace(file, artifact=replace(file.artifact, path=places.get(file.target, file.artifact.path)))
            for file in self.files
        )
        return replace(self, files=files)

    def save_calibration(self, path: str | Path, inputs: NamedInputs | None = None) -> None:
        """Write ranges, recipe and what the proof needs, of which `convert(calibration=path)` makes other files.

        No images are needed for that, and the int8 module is held to the same digest. `inputs` is what a command line
        named. Raises `UserError` where there is nothing to keep, ranges made at run time or a training's weights.
        """
        assert self.kept is not None
        calibration_file.save(Path(path), self.kept.job, self.kept.quantized, self.fidelity, self.kept.labels, inputs)


def convert(
    model: nn.Module,
    calibration: CalibrationData | Iterable[Tensor | Sequence[Tensor]],
    example_inputs: tuple[Any, ...] | None = None,
    config: Config | None = None,
    *,
    held_out: CalibrationData | Iterable[Any] | None = None,
    training: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None = None,
    checkpoint: str | Path | None = None,
    info: ModelInfo | None = None,
    output: Path | Sequence[Path] | None = None,
    targets: Sequence[str] = (),
    warnings: Iterable[str] = (),
    progress: Progress = lambda step, done, total: None,
    before: Mapping[str, float] | None = None,
    layers: bool = False,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    saved: SavedCalibration | None = None,
    metric: Metric | Callable[..., Any] | str | None = None,
    **options: Any,
) -> Conversion:
    """Rewrite, quantize, lower and verify `model`; the model itself is not touched.

    `calibration` gives float tensors `[N, C, H, W]`, preprocessed (of another rank, if the model takes that); tuples of
    them for a model of several inputs. A model whose forward takes a list of images gets each batch as a list.
    `example_inputs` are the arguments a trace records and latency is measured on (default: the first calibration
    image). `config` or its fields as keywords choose how. With `max_drop`, or labels in `held_out`, int8 is judged on
    images that calibration does not use: those `held_out`, as for calibration or `fxconv.labels.LabelledBatches`, else
    what the source of the calibration data has left. With `mode` qat the model is fine-tuned on `training`, the
    calibration data unless given, and `checkpoint` is written after each epoch, and gone on from. With `output`, a
    name or one for each target, the verified files are moved there, all or none. `targets` names kinds of files to
    make, "mobile" where neither says anything. `progress` is called with a step's name, how much of it is done, and how
    much there is. `before` are seconds of steps that went before this call, for the timings.
    `metric`, a function or `FILE.py:NAME`, judges in the place of answers: it is called with the model and an iterator
    of (batch, target), target None where there is none, once for float and once for each int8 module, and returns a
    number, higher for better; `max_drop` is in hundredths of its unit. Then `held_out` may be batches of (images,
    targets), the targets whatever the metric takes. With `layers` each layer is compared with its float form for the
    report. `labels`, the names of the classes, and `preprocessing`, how pixels became the calibration data where that
    does not say it itself, go into the artifact.

    Raises `UserError` for a choice that cannot be met, a model that cannot be rewritten and a faulty pass of the
    user's, `rewrites.PassError` for a faulty pass of ours, `ConversionError` when a kernel refuses its inputs or
    calibration does not reach one, `max_drop` cannot be met, or `runtime` cannot load the artifact. A conversion that
    fails the audit or the ledger is returned with `verified` False.
    """
    config, judged_by = with_metric(config or Config(), metric, options)
    kinds = targets_of(output, targets)
    config.check_targets([kind.name for kind in kinds])
    for kind in kinds:
        kind.check(config)
    is_labelled = isinstance(held_out, CalibrationData) and held_out.labels is not None
    if config.mode is not Mode.qat and (training is not None or checkpoint is not None):
        raise UserError("training images and a checkpoint go with mode qat; leave them out, or train")
    if config.mode is Mode.dynamic and is_labelled:
        raise UserError("accuracy on labelled images is measured with --mode static and qat only; leave the labels out")
    calibration = as_data(calibration)
    lesson = calibration if training is None else as_data(training)
    if config.mode is Mode.qat:
        training_set.check_labels(lesson, config)
    job = open_job(model, calibration, example_inputs, config, info, warnings, progress, before, preprocessing)
    for kind in kinds:
        kind.check_example(job.example, job.tensors, config)
    if labels is not None and not job.signature.as_list:  # of a list of images come boxes, which do not say
        check_names(labels, job.original[0])
    done = partial(completed, kinds=kinds, output=output, layers=layers, labels=labels)
    if config.normalize_in_graph:
        InGraphNormalization.of(job.preprocessing, job.tensors[0])  # refuses before any work is done
    given = None
    if held_out is not None:
        most = config.held_out or JUDGED
        held_out = given = as_data(held_out) if judged_by is None else with_targets(held_out, job.signature, most)
        preconditions.check_takes(job.model, job.signature.arguments(held_out.examples(1)[0]), "held_out")
        given = held_out if config.max_drop is None else None
    with engine.engine(config.engine.value), preconditions.faults_told(job.model, job.images):
        if config.mode is Mode.dynamic:
            return done(job, dynamic.quantize(job.task, job.info.name), held_out=given)
        if saved is not None:
            saved.check_model(job.model)
            quantized = quantized_of(job.task, saved.ranges)
            saved.check_result(config, quantized)
            told = replace(quantized.calibration, source=saved.images.source)
            quantized = replace(quantized, calibration=told)
            return done(job, quantized, known=saved.fidelity)
        quantized = quantize(job.task)
        if config.mode is Mode.qat:
            quantized = fine_tuned(job.task, quantized, lesson, Path(checkpoint) if checkpoint is not None else None)
        judgement = None
        if config.max_drop is not None or judged_by is not None or is_labelled:
            quantized, judgement = _judge(job, held_out, quantized, judged_by)
            job = replace(job, config=replace(job.config, keep_float=(*config.keep_float, *judgement.paths)))
        trained_on = lesson if config.mode is Mode.qat else None
        return done(job, quantized, judgement, trained_on=trained_on, held_out=given)


def prepare_qat(
    model: nn.Module,
    calibration: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None = None,
    example_inputs: tuple[Any, ...] | None = None,
    config: Config | None = None,
    *,
    info: ModelInfo | None = None,
    progress: Progress = lambda step, done, total: None,
    **options: Any,
) -> Trainable:
    """Rewrite and calibrate a model, and give it back as a module that rounds as its int8 form will.

    `calibration`, `example_inputs`, `config` and its fields as keywords are those of `fxconv.convert`; without
    calibration data, generated images of `[3, 224, 224]` serve. Raises what `fxconv.convert` raises, and `UserError`
    for a model that does not trace whole.
    """
    config = replace(config or Config(), **options | {"mode": Mode.qat})
    if calibration is None:
        calibration = Generated(Preprocessing(), config.calib_count, config.batch_size, config.seed)
    job = open_job(model, calibration, example_inputs, config, info, (), progress)
    with engine.engine(config.engine.value), preconditions.faults_told(job.model, job.images):
        return trainable(job.task, quantize(job.task), job)


def finish(module: Trainable, output: Path | Sequence[Path] | None = None) -> Conversion:
    """The verified int8 conversion of what was trained; `output` is as in `fxconv.convert`.

    int8 is compared with the trained module, rounding and all: what the original answers is no measure any more. Raises
    `UserError` for another module, or weights that are no numbers, and what `fxconv.convert` raises.
    """
    check_trained(module)
    job: Job = module.job
    job = replace(job, clock=Clock(job.clock.progress, module.seconds))  # what trained meanwhile is not fxconv's
    kinds = targets_of(output)
    job.config.check_targets([kind.name for kind in kinds])
    for kind in kinds:
        kind.check(job.config)
    with engine.engine(job.config.engine.value), preconditions.faults_told(job.model, job.images):
        quantized = requantized(job.task, module.quantized, module.trained())
        return completed(job, quantized, kinds=kinds, output=output)


def completed(
    job: Job,
    quantized: QuantizedModel,
    judgement: Judgement | None = None,
    *,
    kinds: Sequence[Target],
    output: Path | Sequence[Path] | None = None,
    layers: bool = False,
    labels: Sequence[str] | None = None,
    trained_on: CalibrationData | None = None,
    held_out: CalibrationData | None = None,
    known: Fidelity | None = None,
) -> Conversion:
    """Audit an int8 module, make a file of each of these kinds, and read it back, held against what it must equal.

    Fidelity is told by images that neither calibration nor a choice used, nor the training on `trained_on`; those of
    `held_out` where there are some; or it is `known`, of the same int8 module. Runs with the engine of the job's
    choices.
    """
    config, clock = job.config, job.clock
    with clock.step("fidelity"):
        amplifies = job.info.is_random and amplifies_noise(job.model, job.images)
    proof = prove_module(job.task, quantized, job.original, job.images, job.least, layers, amplifies)
    unseen = _unseen(job, quantized, judgement, amplifies, trained_on, held_out)
    with clock.step("fidelity"):
        faithful = known or _fidelity(job, quantized, unseen)
    rewritten, int8 = quantized.rewritten, quantized.int8
    has_islands = bool(rewritten.islands or rewritten.leaves or config.mode is Mode.dynamic)
    with clock.step("verification"):
        wrapper = ModelWrapper.of(int8, job.signature, config, job.example, job.images[0], job.maps, job.preprocessing)
        wrapped = wrapper.wrapped(int8, proof.reference, job.tensors)
    original = job.original if wrapper.maps is None else []
    context = Context(
        wrapped.module,
        lambda: wrapper.module(quantized.floating()),
        wrapped.tensors,
        wrapped.reference,
        original,
        job.least,
        has_islands,
        amplifies,
    )
    stride = job.maps.stride if job.maps is not None else None
    contents = FileContents(job.info, config, job.signature.names, job.preprocessing, stride, labels, quantized)
    told = partial(metadata.metadata, contents, wrapped.example, wrapped.returned, proof.audit, proof.ledger[-1])
    specs = golden.input_specs(wrapped.example, None if wrapped.inside is not None else job.preprocessing)
    places = named_by(output)
    files = list[WrittenFile]()
    with ExitStack() as stack:
        staged = list[StagedFile]()
        for target in kinds:
            made = make(target, wrapped, context, config, clock, told, specs)
            with clock.step("lowering"):
                floating = wrapper.module(fusion.fuse(rewritten.module))
                likewise = replace(config, method=made.lowered.method)
                twin = FloatTwin.of(target, floating, wrapped.example, likewise)
                del floating
                gc.collect()  # of a large model the weights count, and writing takes three times their room
            staged.append(stack.enter_context(StagedFile(places.get(target), made.content)))
            held = (made, twin, wrapped, context, job.model, rewritten, job.signature, config, clock)
            judged = partial(_fidelity_of_program, job, unseen, wrapper, partial(target.takes, made.lowered))
            files.append(examine(staged[-1].path, *held, faithful, judged))
        conversion = _conversion(job, quantized, proof, tuple(files), judgement, faithful, wrapped.warnings)
        conversion = replace(conversion, kept=Kept(job, quantized, tuple(labels) if labels is not None else None))
        if places and conversion.verified:
            commit_all([file for file in staged if file.target is not None])
            conversion = conversion._with_paths(places)
    return conversion


def _conversion(
    job: Job,
    quantized: QuantizedModel,
    proof: ModuleProof,
    files: tuple[WrittenFile, ...],
    judgement: Judgement | None,
    faithful: Fidelity,
    of_wrapping: tuple[str, ...],
) -> Conversion:
    """All that was found out, in one value."""
    uninformative = uninformative_ranges(quantized.ranges)
    method = next((file.method for file in files if file.target.is_exact), job.config.method)
    return Conversion(
        model=job.info,
        config=replace(job.config, method=method),
        environment=job.environment,
        rewritten=quantized.rewritten,
        int8=quantized.int8,
        calibration=quantized.calibration,
        audit=proof.audit,
        module_ledger=proof.ledger,
        files=files,
        timings=job.clock.total(),
        warnings=(
            *job.warnings,
            *(job.data.warnings if quantized.calibration.images else ()),
            *assumption_warnings(job.data, job.info),
            *(judgement.warnings if judgement is not None else ()),
            *engine_warnings(job.config),
            *quantized.recipe.warnings,
            *(quantized.training.warnings if quantized.training is not None else ()),
            *constant_warnings(job.original),
            *(warning for row in proof.ledger for warning in row.warnings),
            *company_warnings(quantized.in_company),
            *range_warnings(uninformative),
            *of_wrapping,
            *dict.fromkeys(warning for file in files for warning in file.warnings),
        ),
        adjusted=quantized.adjustments,
        uninformative_ranges=uninformative,
        judgement=judgement,
        recipe=quantized.recipe,
        training=quantized.training,
        layers=proof.layers,
        fidelity=faithful,
        preprocessing=job.preprocessing,
    )


def _unseen(
    job: Job,
    quantized: QuantizedModel,
    judgement: Judgement | None,
    amplifies: bool,
    trained_on: CalibrationData | None,
    held_out: CalibrationData | None,
) -> Unused:
    """Images that nothing was done with, or why there are none."""
    if amplifies:
        return Unused(problem=AMPLIFYING)
    if quantized.recipe.is_trained and trained_on is None:
        return Unused(problem="which images the training used is not known")
    recipe = quantized.recipe
    chosen_by = max(recipe.images if recipe.is_unseen else 0, judgement.images if judgement is not None else 0)
    most = min(fidelity.MOST, max(fidelity.FEWEST, job.data.count)) if held_out is None else fidelity.MOST
    return unused(job.data, chosen_by, most, fidelity.FEWEST, trained_on, held_out)


def _fidelity(job: Job, quantized: QuantizedModel, found: Unused) -> Fidelity:
    """How int8 answers beside float on these images, or why that was not measured."""
    if found.problem:
        return not_measured(found.problem)
    images = [job.signature.arguments(tensors) for tensors in found.images]
    return fidelity.fidelity_of(
        job.model,
        quantized.floating(),
        quantized.int8,
        images,
        found.source,
        lambda done: job.clock.progress("fidelity", done, len(images)),
    )


def _fidelity_of_program(
    job: Job, found: Unused, wrapper: ModelWrapper, takes: Callable[[tuple[Any, ...]], bool], program: Program
) -> Fidelity:
    """The same of a file in a runtime whose kernels are others than the int8 module's, on images that it `takes`."""
    if found.problem:
        return not_measured(found.problem)
    if wrapper.maps is not None:
        return not_measured("it returns detections, which the float model does not")
    taken = [tensors for tensors in found.images if takes(wrapper.taken(tensors))]
    if not taken:
        return not_measured("none of the images has a size that the file takes")
    images = [job.signature.arguments(tensors) for tensors in taken]
    got = forward.outputs(program, [wrapper.taken(tensors) for tensors in taken])
    return fidelity.fidelity_of_outputs(images, forward.outputs(job.model, images), got, found.source)


def _judge(
    job: Job,
    held_out: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None,
    quantized: QuantizedModel,
    metric: Metric | None,
) -> tuple[QuantizedModel, Judgement]:
    """How the int8 module answers; where that is worse than `max_drop` allows, one with layers in float does."""
    first, recipe, config, clock = quantized.rewritten, quantized.recipe, job.config, job.clock

    def again(paths: tuple[str, ...]) -> QuantizedModel:
        kept = keep_float.chosen(first, (*config.keep_float, *paths))
        return quantize(job.task, kept, recipe.steps)

    count = config.held_out or JUDGED
    others = held_out_of(job.data, count, held_out)
    if not others.is_unseen:
        asked = "--max-drop" if config.max_drop is not None else "--metric"
        raise UserError(
            f"{asked} is judged on images not used for calibration, and there are none: give held_out, or lower "
            "--calib-count"
        )
    with clock.step("judging"):
        judging = (job.model, job.signature, others.data, count)
        judge = Judge(*judging) if metric is None else MetricJudge(*judging, metric)

    def rank(images: list[Inputs]) -> tuple[LayerCost, ...]:
        return costs(before.floating(), before.int8, before.ranges, images, clock.progress, outputs=True)

    before = quantized
    quantized, found = budget.judged(quantized, again, rank, judge, config.max_drop, clock.step, clock.progress)
    # with layers in float others are changed, and by other factors
    recipe = replace(recipe, changes=quantized.recipe.changes)
    return replace(quantized, recipe=recipe), replace(found, warnings=(*others.warnings, *found.warnings))
