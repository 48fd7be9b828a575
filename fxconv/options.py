"""The arguments and options of the command line, each once: what it is called, takes, and does."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from fxconv.config import (
    STEP_NAMES,
    Arithmetic,
    Engine,
    Method,
    MobilePass,
    Mode,
    Postprocess,
    RangeMethod,
    Recipe,
    Sigmoid,
    Teacher,
    Ties,
    WeightScheme,
)


class Format(str, Enum):
    """How a diff is printed."""

    text = "text"
    markdown = "markdown"
    json = "json"


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A torchvision name or detector:… (fxconv models), FILE.py:FACTORY, or PACKAGE.MODULE:FACTORY.",
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        metavar="auto|random|PATH",
        help="auto: torchvision's, when cached or fetched within seconds, else random; or a checkpoint.",
        rich_help_panel="Model",
    ),
]
UnsafeLoadOption = Annotated[
    bool,
    typer.Option(
        "--unsafe-load",
        help="Unpickle all of the checkpoint: runs whatever code is in it, so only for files you trust.",
        rich_help_panel="Model",
    ),
]
InputSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW|CxHxW|CxTxHxW", help="Input size in pixels; T frames of a clip.", rich_help_panel="Model"
    ),
]
ExampleOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy|.npz",
        help="Preprocessed input a trace records; of several inputs, arrays named as forward's parameters or in order.",
        rich_help_panel="Model",
    ),
]
CalibOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE.npy|.npz",
        help="Photographs, or an array of inputs, FILE.npz:NAME for one of several, FILE.npz for all of several "
        "inputs; generated images unless said.",
        rich_help_panel="Calibration",
    ),
]
CalibCountOption = Annotated[int, typer.Option(min=1, help="Most images to use.", rich_help_panel="Calibration")]
BatchSizeOption = Annotated[
    int, typer.Option(min=1, help="Images at a time, in training too.", rich_help_panel="Calibration")
]
ObserverOption = Annotated[
    RangeMethod,
    typer.Option(
        help="Range of what was observed: least squared error (histogram, or mse with rounding), all of it, or "
        "99.99 % at either end.",
        rich_help_panel="Calibration",
    ),
]
EngineOption = Annotated[Engine, typer.Option(help="Quantized engine; phones have qnnpack.", rich_help_panel="Int8")]
WeightSchemeOption = Annotated[
    WeightScheme, typer.Option(help="One scale an output channel, or one a layer.", rich_help_panel="Int8")
]
RecipeOption = Annotated[
    list[Recipe] | None,
    typer.Option(
        metavar="auto|none|STEP",
        help="Recovers accuracy without training: auto takes the steps that do not harm on images held out; or name "
        f"steps, repeatable: {', '.join(STEP_NAMES)}. adaround, which takes longer, goes with auto, too.",
        show_default="auto",
        rich_help_panel="Int8",
    ),
]
KeepFloatOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Layers to run in float, by name with * and ?, such as features_0.* (fxconv diff and sensitivity show the "
        "names; the original model's count too); repeatable.",
        rich_help_panel="Int8",
    ),
]
ModeOption = Annotated[
    Mode,
    typer.Option(
        help="static: ranges from calibration; dynamic: linear, LSTM and GRU layers only, ranged at run time; qat: "
        "fine-tuned while it is rounded, then static.",
        rich_help_panel="Int8",
    ),
]
TrainOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE.npy|.npz",
        help="Images to fine-tune on with --mode qat; those of --calib unless said.",
        rich_help_panel="Training",
    ),
]
TrainCountOption = Annotated[int, typer.Option(min=1, help="Most images to fine-tune on.", rich_help_panel="Training")]
LearnFromOption = Annotated[
    Teacher,
    typer.Option(
        help="What is right: float's answers, or labels: a folder for each class in --train, numbered as in --eval.",
        rich_help_panel="Training",
    ),
]
EpochsOption = Annotated[int, typer.Option(min=1, help="Most passes over the images.", rich_help_panel="Training")]
LearningRateOption = Annotated[float, typer.Option(help="Adam's, at the start.", rich_help_panel="Training")]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Written after each epoch; a run with the same choices that finds it goes on from there.",
        rich_help_panel="Training",
    ),
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything drawn at random.", rich_help_panel="Calibration")
]
ArithmeticOption = Annotated[
    Arithmetic,
    typer.Option(help="FloatFunctional, or each operator in dequantize/quantize.", rich_help_panel="Int8"),
]
PassOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pass",
        metavar="MODULE:CLASS",
        help="A pass of your own, FILE.py:CLASS too; repeatable.",
        rich_help_panel="Passes",
    ),
]
SkipOption = Annotated[
    list[str] | None, typer.Option(metavar="PASS", help="Do not run this pass; repeatable.", rich_help_panel="Passes")
]
UntilOption = Annotated[
    str | None, typer.Option(metavar="PASS", help="Stop rewriting after this pass.", rich_help_panel="Passes")
]
TracebackOption = Annotated[
    bool, typer.Option("--traceback", help="Show the traceback of an error.", rich_help_panel="Output")
]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="Keep the fewest, cheapest layers in float until top-1 agreement with float (with --eval or --labels: "
        "accuracy) falls by at most so many percentage points.",
        rich_help_panel="Budget",
    ),
]
EvalOption = Annotated[
    Path | None,
    typer.Option(
        "--eval",
        metavar="DIR",
        help="Photographs to tell accuracy by, in a folder for each class; its index is the number all folders' "
        "names begin with, or else its place in their order.",
        rich_help_panel="Budget",
    ),
]
LabelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="The names of the classes, a line each, for the artifact; or the classes of photographs to tell accuracy "
        "by, a line file,index each, the files in --eval or beside FILE. Repeatable, for both.",
        rich_help_panel="Artifact",
    ),
]
JudgedOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most images to judge by, 200 unless said; they are not used for calibration.",
        rich_help_panel="Budget",
    ),
]
MinSqnrOption = Annotated[
    float | None,
    typer.Option(
        metavar="DB",
        help="Least int8 SQNR against float; 10 unless said, 3 with random weights.",
        rich_help_panel="Int8",
    ),
]
MethodOption = Annotated[
    Method,
    typer.Option(
        help="How the int8 module becomes TorchScript; auto traces what cannot be scripted.",
        rich_help_panel="Lowering",
    ),
]
BlockOption = Annotated[
    list[MobilePass] | None,
    typer.Option(
        metavar="MOBILE_PASS",
        help="Pass of optimize_for_mobile not to run; repeatable: " + ", ".join(p.value for p in MobilePass),
        rich_help_panel="Lowering",
    ),
]
JavaOption = Annotated[
    bool, typer.Option("--java", help="No prepacked:: operators, which Java lacks.", rich_help_panel="Lowering")
]
GoldenOption = Annotated[
    bool,
    typer.Option(
        help="Golden inputs in the artifact, at most 2 % of it, by which fxconv verify and the phone prove it.",
        rich_help_panel="Artifact",
    ),
]
NormalizeOption = Annotated[
    bool,
    typer.Option(
        "--normalize-in-graph",
        help="The artifact takes uint8 pixels, and scales and normalizes them itself.",
        rich_help_panel="Artifact",
    ),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option(
        metavar="RELEASE",
        help="The library that must load the artifact, such as pytorch_android_lite==2.1.0 or LibTorch-Lite==2.1.0: "
        "its operators and bytecode are checked, and the bytecode is written older where that helps.",
        rich_help_panel="Lowering",
    ),
]
RuntimesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        metavar="RELEASE",
        help="Whether this library for phones loads the file, and what the app needs: pytorch_android_lite==2.1.0, "
        "LibTorch-Lite==2.1.0, …; may be repeated. Exit status 1 when one does not.",
        rich_help_panel="Phones",
    ),
]
OpListOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.yaml",
        help="Write its operators, overloads and all, as SELECTED_OP_LIST wants them for a library with no others.",
        rich_help_panel="Output",
    ),
]
PostprocessOption = Annotated[
    Postprocess | None,
    typer.Option(help="What the artifact makes of the network's outputs: detections.", rich_help_panel="Detectors"),
]
PeakThresholdOption = Annotated[
    float, typer.Option(help="Least score of a detection, from 0 to below 1.", rich_help_panel="Detectors")
]
PeakCountOption = Annotated[int, typer.Option(min=1, help="Most detections an image.", rich_help_panel="Detectors")]
TiesOption = Annotated[
    Ties,
    typer.Option(
        help="Equal neighbours: index, one detection a plateau; noise tells them apart; keep, all.",
        rich_help_panel="Detectors",
    ),
]
SigmoidOption = Annotated[
    Sigmoid,
    typer.Option(help="Look for peaks among scores (sigmoid first) or among logits.", rich_help_panel="Detectors"),
]
HeadsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:CHANNELS,…",
        help="Heads of a detector:…, such as hm:3,wh:2; hm:1, or those of the checkpoint, unless said.",
        rich_help_panel="Detectors",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT.ptl",
        help="Artifact to write; MODEL.ptl unless said.",
        rich_help_panel="Output",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.json",
        help="Choices of an earlier conversion (--save-config); options on the command line go before.",
        rich_help_panel="Output",
    ),
]
SaveConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="Write the choices that give this result again, layers kept for --max-drop included.",
        rich_help_panel="Output",
    ),
]
ReportOption = Annotated[
    bool, typer.Option("--report", help="Print diffs, ledger, timings: everything.", rich_help_panel="Output")
]
FullOption = Annotated[
    bool,
    typer.Option(
        "--full", help="Show changes that are alike one by one, and the lines around them.", rich_help_panel="Output"
    ),
]
PassOnlyOption = Annotated[
    str | None,
    typer.Option(metavar="PASS", help="Run all passes, show what this one did.", rich_help_panel="Passes"),
]
FormatOption = Annotated[
    Format,
    typer.Option("--format", help="text for a terminal, markdown for a pull request, json.", rich_help_panel="Output"),
]
EmitOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.py",
        help="Write the rewritten model as a Python file that imports torch alone, to be quantized by hand.",
        rich_help_panel="Output",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Stop after rewriting; write nothing.", rich_help_panel="Output")
]
MeasuredOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Most images to measure on; they are not used for calibration, if there are enough.",
        rich_help_panel="Calibration",
    ),
]
CountsOption = Annotated[
    str, typer.Option(metavar="N,N,…", help="Numbers of images to calibrate on.", rich_help_panel="Calibration")
]
SourcesOption = Annotated[
    str,
    typer.Option(
        metavar="DIR,…,synthetic",
        help="Folders of photographs to draw from, and synthetic for generated images; judged on images of the first, "
        "set aside before.",
        rich_help_panel="Calibration",
    ),
]
SeedsOption = Annotated[
    int, typer.Option(min=1, help="Draws of each source and number.", rich_help_panel="Calibration")
]
StudiedOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Most images to judge on; at most half of those in the first source.",
        rich_help_panel="Calibration",
    ),
]
TopOption = Annotated[
    int | None, typer.Option(min=1, help="Show only so many layers, the worst.", rich_help_panel="Output")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.", rich_help_panel="Output")]
ReportJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the report as JSON.", rich_help_panel="Output")
]
ReportHtmlOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the report, with graph and plots, as one HTML file.", rich_help_panel="Output"
    ),
]
PassesJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the passes as JSON.", rich_help_panel="Output")
]
RankingJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write all of it as JSON.", rich_help_panel="Output")
]
ReportArgument = Annotated[Path, typer.Argument(metavar="FILE.json", help="A report that fxconv convert --json wrote.")]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Any file; it is read, and nothing in it is run.")]
SchemasOption = Annotated[
    bool,
    typer.Option(help="The signature of each operator, for which torch is started.", rich_help_panel="Output"),
]
InspectionJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="Write all of it as JSON.", rich_help_panel="Output")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of photographs, and folders in it.")]
DrawnOption = Annotated[
    int, typer.Option("-n", "--count", min=1, help="Photographs to draw.", rich_help_panel="Photographs")
]
ForModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Preprocess as this model wants it, any that fxconv convert takes; 224x224 by ImageNet's mean and "
        "deviation unless said.",
        rich_help_panel="Model",
    ),
]
ArrayOption = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE.npy|.npz",
        help="Array to write; .npz for a model of several inputs.",
        rich_help_panel="Output",
    ),
]
ArtifactsArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Files of the lite interpreter; ratios are to the first.")
]
ArtifactExampleOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy|.npz",
        help="What the files take: an array [N, C, H, W] as it stands; of several inputs, arrays in order.",
        rich_help_panel="Model",
    ),
]
RunsOption = Annotated[int, typer.Option(min=2, help="Runs of each file.", rich_help_panel="Measurement")]
WarmUpOption = Annotated[
    int, typer.Option(min=0, help="Runs before those, which do not count.", rich_help_panel="Measurement")
]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads to run with.", rich_help_panel="Measurement")]
OpsOption = Annotated[
    bool, typer.Option("--ops", help="What each operator takes, and in which layer.", rich_help_panel="Measurement")
]
ArtifactArgument = Annotated[Path, typer.Argument(metavar="FILE.ptl", help="A file of the lite interpreter.")]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Compare with this float model as well, any that fxconv convert takes.",
        rich_help_panel="Against a model",
    ),
]
ComparedOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE",
        help="Photographs to compare on, or an array; generated images unless said.",
        rich_help_panel="Against a model",
    ),
]
ComparedCountOption = Annotated[
    int, typer.Option("-n", "--count", min=1, help="Most images to compare on.", rich_help_panel="Against a model")
]
LeastSqnrOption = Annotated[
    float | None,
    typer.Option(
        "--min-sqnr",
        metavar="DB",
        help="Least SQNR of the file against float; 10 unless said, 3 with random weights.",
        rich_help_panel="Against a model",
    ),
]
PythonOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Replay in this Python's torch, 1.10 or later, such as the release of a phone's library.",
        rich_help_panel="Replay",
    ),
]
TimeoutOption = Annotated[
    int,
    typer.Option(
        min=1, metavar="SECONDS", help="What the file may compute, all golden inputs.", rich_help_panel="Replay"
    ),
]
MemoryOption = Annotated[
    int, typer.Option(min=1, metavar="MB", help="What it may take beside torch.", rich_help_panel="Replay")
]
ProofJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="Write all of it as JSON.", rich_help_panel="Output")
]
BenchJsonOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write all of it as JSON, each run.", rich_help_panel="Output")
]
