"""The whole pipeline: a float model in, a verified int8 artifact out."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fxconv.config import Config, Engine, Method, Mode, Recipe
from fxconv.data.calibration import Calibration, CalibrationData, as_data
from fxconv.data.class_names import check_names
from fxconv.data.held_out import JUDGED
from fxconv.data.held_out import held_out as held_out_of
from fxconv.data.staged_file import StagedFile
from fxconv.diagnostics.diagnosis import cure_of, known
from fxconv.environment import Environment
from fxconv.errors import ConversionError, UserError, engine_words
from fxconv.job import Job, open_job
from fxconv.measures import budget, output_comparison
from fxconv.measures.judge import Judge, Judgement
from fxconv.measures.latency import Latency, measure
from fxconv.measures.layer_cost import LayerCost
from fxconv.measures.layer_survey import Layer, survey
from fxconv.models import forward, preconditions
from fxconv.models.graph_calls import Inputs
from fxconv.models.model_info import ModelInfo
from fxconv.models.preprocessing import Preprocessing
from fxconv.progress import Progress
from fxconv.quantization import dynamic, engine, fusion, keep_float
from fxconv.quantization.expected_ranges import UninformativeRange, ailments
from fxconv.quantization.failing_operation import failing_operation
from fxconv.quantization.fine_tuned import FineTuned
from fxconv.quantization.layer_costs import costs
from fxconv.quantization.passes import suspected
from fxconv.quantization.quantize import QuantizedModel, settle
from fxconv.quantization.recipe_search.recipe import ChosenRecipe
from fxconv.quantization.refusals import Adjustment
from fxconv.quantization.training import training_set
from fxconv.quantization.training.train import fine_tuned
from fxconv.targets.mobile import artifact, lowering
from fxconv.targets.mobile.artifact import Artifact, load_lite, load_lite_bytes
from fxconv.targets.mobile.releases import Fit
from fxconv.targets.proof import golden, metadata
from fxconv.targets.proof.golden import NO_GOLDEN, Golden
from fxconv.targets.wrapping.normalization import InGraphNormalization
from fxconv.targets.wrapping.wrapper import ModelWrapper
from fxconv.targets.write import make, read_back
from fxconv.verification import dynamic_audit
from fxconv.verification.audit import AUDIT_INPUTS, Audit, audit_all, watch_all
from fxconv.verification.ledger import float_rows, int8_row, reference_of, trained_rows
from fxconv.verification.other_sizes import SizeCheck, other_sizes
from fxconv.verification.parity import BETWEEN_IMAGES, EQUALIZED, RELOADED_IMAGES, STAGES, TRAINED, StageParity
from fxconv.verification.same_function import same_function
from fxconv.verification.weights_and_ranges import AllowedChanges
from rewrites import Rewritten

if TYPE_CHECKING:
    from fxconv.report import Report

CONVERTED_SHARE = 0.90
# Warnings of one kind name this many modules.
_NAMED = 3


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: what was done, what came out, and whether it holds.

    `int8` is the quantized module: a GraphModule, or what did not trace with GraphModules in it. `audit` has a row for
    each of its int8 operations, `ledger` one for each stage that ran; `sizes` says at which other input sizes the
    artifact was tried; `timings` are seconds a step; `adjusted` are the ranges widened lest a kernel refuse them,
    `ailments` the observers whose ranges say little. `judgement` is how it answers on images held out of calibration,
    None when nobody asked. `recipe` are the steps that recovered accuracy, and how they were chosen;
    `training` is how the weights were fine-tuned, None when fxconv did not. `layers` are the operations with their
    distance from float and their ranges, when somebody asked for them; `golden` the inputs it can prove itself by.
    `runtime` says what the release that the artifact is for needs, when one was named.
    """

    model: ModelInfo
    config: Config
    environment: Environment
    rewritten: Rewritten
    int8: nn.Module
    calibration: Calibration
    audit: Audit
    ledger: tuple[StageParity, ...]
    artifact: Artifact
    latency: Latency
    sizes: tuple[SizeCheck, ...]
    timings: dict[str, float]
    warnings: tuple[str, ...] = field(default=())
    adjusted: tuple[Adjustment, ...] = field(default=())
    ailments: tuple[UninformativeRange, ...] = field(default=())
    judgement: Judgement | None = None
    recipe: ChosenRecipe = field(default_factory=ChosenRecipe)
    training: FineTuned | None = None
    layers: tuple[Layer, ...] = ()
    golden: Golden = NO_GOLDEN
    runtime: Fit | None = None

    @property
    def verified(self) -> bool:
        """Every int8 operation passed the audit and every stage the ledger, and all of them ran."""
        absent = {EQUALIZED: not self.recipe.keeping, TRAINED: not self.recipe.is_trained}
        stages = tuple(stage for stage in STAGES if not absent.get(stage))
        complete = tuple(row.stage for row in self.ledger) == stages and self.audit.inputs > 0
        return complete and not self.audit.failed and all(row.passed for row in self.ledger)

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
        """`converted and verified`, `float by engine, verified`, or `FAILED: ` and the first thing that failed.

        Where layers are in float because the user said so it is `float by choice`.
        An operation that fails the audit is the cause of whatever else fails, so it is named first.
        """
        if self.audit.failed:
            return f"FAILED: kernel audit: {self.audit.problem}"
        failed = next((row for row in self.ledger if not row.passed), None)
        if failed is not None:
            return f"FAILED: {failed.stage} against {failed.against}: {failed.problem}; required: {failed.rule}"
        if self.converted:
            return "converted and verified"
        return f"float by {'choice' if self.config.keep_float else 'engine'}, verified"

    @property
    def cure(self) -> str:
        """What to do about a conversion that failed; empty when it did not."""
        failed = next((row.stage for row in self.ledger if not row.passed), "")
        if failed == TRAINED:
            return "train with a lower --learning-rate, or accept it (--min-sqnr)"
        if self.audit.failed or failed in ("rewritten", "fused", EQUALIZED):
            if self.config.passes:
                return suspected(self.config.passes)
            return "the model is not at fault: send this line and the output of --report to fxconv's authors"
        if failed == "int8":
            return "calibrate on more of what the model will see (--calib, --calib-count), or accept it (--min-sqnr)"
        problem = next((row.problem for row in self.ledger if not row.passed), "")
        other = f"try --method {self.config.method.other.value}, or --block a mobile pass"
        return cure_of(problem, other) if failed else ""

    @property
    def report(self) -> Report:
        """The report; `.print()` shows it, `.json()` is DESIGN's schema."""
        from fxconv.report import Report

        return Report(self)

    def save(self, path: str | Path) -> Conversion:
        """Write the artifact to `path`, read it back, and return this conversion with that path.

        Raises `ConversionError`, leaving nothing under `path`, when the conversion or the file read back fails.
        """
        target = Path(path)
        if not self.verified:
            raise ConversionError(f"{self.verdict}; {self.cure}")
        with StagedFile(target, self.artifact.data) as staged:
            if staged.path.read_bytes() != self.artifact.data:
                raise ConversionError(f"{target}: the bytes on disk are not the bytes that were verified")
            staged.commit()
        return replace(self, artifact=replace(self.artifact, path=target))


def convert(
    model: nn.Module,
    calibration: CalibrationData | Iterable[Tensor | Sequence[Tensor]],
    example_inputs: tuple[Any, ...] | None = None,
    config: Config | None = None,
    *,
    held_out: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None = None,
    training: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None = None,
    checkpoint: str | Path | None = None,
    info: ModelInfo | None = None,
    output: Path | None = None,
    warnings: Iterable[str] = (),
    progress: Progress = lambda step, done, total: None,
    before: Mapping[str, float] | None = None,
    layers: bool = False,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> Conversion:
    """Rewrite, quantize, lower and verify `model`; the model itself is not touched.

    `calibration` gives float tensors `[N, C, H, W]`, preprocessed (of another rank, if the model takes that); tuples of
    them for a model of several inputs. A model whose forward takes a list of images gets each batch as a list.
    `example_inputs` are the arguments a trace records and latency is measured on (default: the first calibration
    image). `config` or its fields as keywords choose how. With `max_drop`, or labels in `held_out`, int8 is judged on
    images that calibration does not use: those `held_out`, as for calibration or `fxconv.labels.LabelledBatches`, else
    what the source of the calibration data has left. With `mode` qat the model is fine-tuned on `training`, the
    calibration data unless given, and `checkpoint` is written after each epoch, and gone on from. With `output` the
    verified artifact is moved there, and only if it is verified. `progress` is called with a step's name, how much of
    it is done, and how much there is. `before` are seconds of steps that went before this call, for the timings.
    With `layers` each layer is compared with its float form for the report. `labels`, the names of the classes, and
    `preprocessing`, how pixels became the calibration data where that does not say it itself, go into the artifact.

    Raises `UserError` for a choice that cannot be met, a model that cannot be rewritten and a faulty pass of the
    user's, `rewrites.PassError` for a faulty pass of ours, `ConversionError` when a kernel refuses its inputs or
    calibration does not reach one, `max_drop` cannot be met, or `runtime` cannot load the artifact. A conversion that
    fails the audit or the ledger is returned with `verified` False.
    """
    config = replace(config or Config(), **options)
    is_labelled = isinstance(held_out, CalibrationData) and held_out.labels is not None
    if config.mode is not Mode.qat and (training is not None or checkpoint is not None):
        raise UserError("training images and a checkpoint go with mode qat; leave them out, or train")
    if config.mode is Mode.dynamic and is_labelled:
        raise UserError("accuracy on labelled images is told of --mode static and qat; leave the labels out")
    calibration = as_data(calibration)
    lesson = calibration if training is None else as_data(training)
    if config.mode is Mode.qat:
        training_set.check_labels(lesson, config)
    job = open_job(model, calibration, example_inputs, config, info, warnings, progress, before, preprocessing)
    if labels is not None and not job.form.as_list:  # of a list of images come boxes, which do not say
        check_names(labels, job.original[0])
    if config.normalize_in_graph:
        InGraphNormalization.of(job.preprocessing, job.tensors[0])  # refuses before any work is done
    with engine.engine(config.engine.value):
        if config.mode is Mode.dynamic:
            return completed(job, dynamic.settle(job), output=output, layers=layers, labels=labels)
        settled = settle(job.model, job.rules, job.form, job.data, job.images[0], job.config, job.clock)
        if config.mode is Mode.qat:
            settled = fine_tuned(job, settled, lesson, Path(checkpoint) if checkpoint is not None else None)
        judgement = None
        if config.max_drop is not None or is_labelled:
            settled, judgement = _judge(job, held_out, settled)
            job = replace(job, config=replace(job.config, keep_float=(*config.keep_float, *judgement.paths)))
        return completed(job, settled, judgement, output, layers, labels)


def completed(
    job: Job,
    settled: QuantizedModel,
    judgement: Judgement | None = None,
    output: Path | None = None,
    layers: bool = False,
    labels: Sequence[str] | None = None,
) -> Conversion:
    """Audit an int8 module, lower it, write it and read it back, everything compared with what it must equal.

    Runs with the engine of the job's choices.
    """
    config, clock, images = job.config, job.clock, job.images
    rewritten, ranges, int8 = settled.rewritten, settled.ranges, settled.int8
    ailing = ailments(ranges)
    with clock.step("verification"):
        ledger = [same_function(job.model, rewritten, job.original, images)]
    with clock.step("conversion"):
        floating = settled.floating()
        calibrated = settled.calibrated() if settled.recipe.is_trained else floating
    with clock.step("verification"):
        watched = watch_all(calibrated, images[:AUDIT_INPUTS])
        for path, graph_ranges in ranges.items():
            preconditions.check_finite(watched[path].extremes, graph_ranges)
        ledger += float_rows(settled, calibrated, watched, job.original, images)
    steps = settled.recipe.steps
    changes = AllowedChanges(settled.means, Recipe.weight_ranges in steps, settled.rounded, settled.recipe.is_trained)
    with clock.step("audit"), _refusals_named(int8, images[0]):
        few = images[:AUDIT_INPUTS]
        if config.mode is Mode.dynamic:
            audited = dynamic_audit.audit(int8, floating, few)
        else:
            audited = audit_all(int8, floating, ranges, watched, few, changes)
    surveyed: tuple[Layer, ...] = ()
    if layers:
        with clock.step("survey"), _refusals_named(int8, images[0]):
            surveyed = survey(int8, floating, rewritten, images)
    with clock.step("verification"), _refusals_named(int8, images[0]):
        reference = reference_of(int8, audited, images)
        if settled.recipe.is_trained:
            ledger += trained_rows(job, settled, reference)
        else:
            ledger.append(int8_row(floating, int8, job.original, reference, images, job.least))
    has_islands = bool(rewritten.islands or rewritten.leaves or config.mode is Mode.dynamic)
    with clock.step("verification"):
        around = ModelWrapper.of(job, int8)
        whole, example, tensors = around.module(int8), around.example, [around.taken(each) for each in job.tensors]
        reference = around.reference(int8, whole, reference)
        with torch.no_grad():
            returned = whole(*forward.cloned(example))
    told = partial(metadata.metadata, job, settled, example, returned, audited, ledger[-1], labels)
    specs = golden.input_specs(example, None if around.inside is not None else job.preprocessing)
    made = make(whole, example, config, reference, tensors[:BETWEEN_IMAGES], has_islands, clock, told, specs)
    ledger += made.ledger
    with clock.step("lowering"):
        if settled.recipe.changes:
            floating = fusion.fuse(rewritten.module)
        twin = lowering.twin(around.module(floating), example, replace(config, method=made.method))
        del floating, calibrated
        gc.collect()  # of a large model the weights count, and writing takes three times their room
        float_content = lowering.to_bytes(twin)
        del twin
    with StagedFile(output, made.content) as staged:
        with clock.step("verification"):
            some = tensors[:RELOADED_IMAGES]
            has_golden = bool(made.golden.cases)
            ledger.append(read_back(staged.path, made.content, whole, reference, some, has_islands, has_golden))
            readable = ledger[-1].images > 0
            size = len(float_content)
            written = artifact.describe(staged.path, made.content, example, size) if readable else None
            is_traced = made.method is Method.trace
            given = (job.model, rewritten, whole, job.form, staged.path, tensors[0], is_traced, around.inside)
            checks = other_sizes(*given) if readable else ()
        with clock.step("latency"):
            latency = measure(load_lite(staged.path), load_lite_bytes(float_content), example) if readable else None
        conversion = Conversion(
            model=job.info,
            config=replace(config, method=made.method),
            environment=job.environment,
            rewritten=rewritten,
            int8=int8,
            calibration=settled.calibration,
            audit=audited,
            ledger=tuple(ledger),
            artifact=written or artifact.unreadable(made.content, size),
            latency=latency or Latency(math.nan, math.nan),
            sizes=checks,
            timings=clock.total(),
            warnings=(
                *job.warnings,
                *(job.data.warnings if settled.calibration.images else ()),
                *(judgement.warnings if judgement is not None else ()),
                *_engine_warnings(config),
                *settled.recipe.warnings,
                *(settled.training.warnings if settled.training is not None else ()),
                *_constant_warnings(job.original),
                *_ailment_warnings(ailing),
                *made.warnings,
                *(check.warning for check in checks if check.warning),
            ),
            adjusted=settled.adjustments,
            ailments=ailing,
            judgement=judgement,
            recipe=settled.recipe,
            training=settled.training,
            layers=surveyed,
            golden=made.golden,
            runtime=made.fit,
        )
        if output is not None and conversion.verified:
            staged.commit()
            conversion = replace(conversion, artifact=replace(conversion.artifact, path=output))
    return conversion


def _judge(
    job: Job, held_out: CalibrationData | Iterable[Tensor | Sequence[Tensor]] | None, settled: QuantizedModel
) -> tuple[QuantizedModel, Judgement]:
    """How the int8 module answers; where that is worse than `max_drop` allows, one with layers in float does."""
    first, recipe, config, clock = settled.rewritten, settled.recipe, job.config, job.clock

    def again(paths: tuple[str, ...]) -> QuantizedModel:
        kept = keep_float.chosen(first, (*config.keep_float, *paths))
        return settle(job.model, job.rules, job.form, job.data, job.images[0], config, clock, kept, recipe.steps)

    count = config.held_out or JUDGED
    others = held_out_of(job.data, count, held_out)
    if not others.is_unseen:
        raise UserError(
            "--max-drop is judged on images not used for calibration, and there are none: give held_out, or lower "
            "--calib-count"
        )
    with clock.step("judging"):
        judge = Judge(job.model, job.form, others.data, count)

    def rank(images: list[Inputs]) -> tuple[LayerCost, ...]:
        return costs(before.floating(), before.int8, before.ranges, images, clock.progress, outputs=True)

    before = settled
    settled, found = budget.judged(settled, again, rank, judge, config.max_drop, clock.step, clock.progress)
    # with layers in float others are changed, and by other factors
    recipe = replace(recipe, changes=settled.recipe.changes)
    return replace(settled, recipe=recipe), replace(found, warnings=(*others.warnings, *found.warnings))


@contextmanager
def _refusals_named(int8: nn.Module, image: tuple[Any, ...]) -> Iterator[None]:
    """Raises `ConversionError` naming the operation whose kernel refuses to run."""
    try:
        yield
    except RuntimeError as error:
        if not (stop := failing_operation(int8, image)):
            raise
        diagnosis = known(error)
        why = f" ({diagnosis.cause})" if diagnosis is not None else ""
        cure = "keep it in float: --keep-float PATTERN"
        raise ConversionError(f"the engine refuses to run {stop}: {engine_words(error)}{why}; {cure}") from error


def _engine_warnings(config: Config) -> tuple[str, ...]:
    if config.engine is Engine.qnnpack:
        return ()
    reduced = "; activations use 7 bits, for this processor lacks VNNI" if engine.reduces_range(config) else ""
    return (f"the {config.engine.value} engine serves comparison only: phones do not have it{reduced}",)


def _constant_warnings(original: forward.Outputs) -> tuple[str, ...]:
    constant = ", ".join(map(str, output_comparison.constant_outputs(original)))
    return (f"the float model's output {constant} is constant: comparing it says nothing",) if constant else ()


def _ailment_warnings(ailing: Sequence[UninformativeRange]) -> tuple[str, ...]:
    """The first few observers by name, for a network with dead channels may have dozens."""
    named = tuple(f"the range of {ailment.where} says little: {ailment.problem}" for ailment in ailing[:_NAMED])
    more = len(ailing) - len(named)
    return (*named, f"and {more} more such ranges; the report has them all") if more > 0 else named
