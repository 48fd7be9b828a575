"""Messages of whatever loads a file: checkpoints, TorchScript, archives of the lite interpreter."""

from __future__ import annotations

from fxconv.diagnostics.known_errors.known_error import KnownError, Place, says

FILES = (
    KnownError(
        "bytecode-version",
        Place.FILES,
        says(
            r"Lite Interpreter vers?i?on number does not match\. The model version must be between (?P<least>\d{1,4}) "
            r"and "
            r"(?P<most>\d{1,4}) ?[Bb]ut the model version is (?P<found>\d{1,4})"
        ),
        "Lite Interpreter verson number does not match. The model version must be between 3 and 5But the model "
        "version is "
        "7 ()",
        "the file has bytecode version {found}, and the PyTorch in the app reads {least} to {most}",
        "take org.pytorch:pytorch_android_lite:2.1.0 into the app, which reads what this torch writes, or write the "
        "file for the release that is there, 1.10.0 or later: fxconv convert MODEL --runtime "
        "pytorch_android_lite==1.10.0 (what torch.jit.mobile._backport_for_mobile writes stops there at its lines of "
        "source); fxconv inspect FILE says which releases load it",
        (
            "pytorch/android-demo-app#202",
            "pytorch/android-demo-app#206",
            "pytorch/android-demo-app#211",
            "facebookresearch/playtorch#59",
        ),
        provoked=True,
    ),
    KnownError(
        "file-version",
        Place.FILES,
        says(
            r"Attempted to read a PyTorch file with version (?P<found>\d{1,4}), but the maximum supported version for "
            r"reading is (?P<most>\d{1,4})"
        ),
        "Attempted to read a PyTorch file with version 10, but the maximum supported version for reading is 6. Your "
        "PyTorch installation may be too old.",
        "the file is of format {found}, written by a newer PyTorch than reads it, which knows {most} at most",
        "use a newer PyTorch there (on Android org.pytorch:pytorch_android_lite:2.1.0); fxconv inspect FILE says which "
        "releases load it",
        ("pytorch/android-demo-app#272", "pytorch/pytorch#47243", "pytorch/pytorch#48915"),
        provoked=True,
    ),
    KnownError(
        "source-lines",
        Place.FILES,
        says(r"isTuple\(\) ?INTERNAL ASSERT FAILED.{0,200}Expected Tuple but got String"),
        'isTuple()INTERNAL ASSERT FAILED at "../aten/src/ATen/core/ivalue_inl.h":1396, please report a bug to PyTorch. '
        "Expected Tuple but got String",
        "the PyTorch that loads the file is older than 1.11, and stops at the lines of source in it, which are written "
        "otherwise since then; the lite interpreter reads them always, the full library when it has something else to "
        "say of the file",
        "use a newer PyTorch there, or fxconv convert MODEL --runtime pytorch_android_lite==1.10.0, which leaves them "
        "out and says what else is missing; fxconv inspect FILE --runtime RELEASE says so of a file",
        ("pytorch/pytorch#82312", "deepjavalibrary/djl#2242", "deepjavalibrary/djl#3673"),
    ),
    KnownError(
        "no-bytecode",
        Place.FILES,
        says(r"failed locating file bytecode\.pkl", r"file not found: [^\s]{0,80}bytecode\.pkl"),
        "PytorchStreamReader failed locating file bytecode.pkl: file not found ()",
        "the file has no program for the lite interpreter",
        "save it with _save_for_lite_interpreter, not with save, as fxconv convert does, or load it with the full "
        "runtime "
        "(Module.load of org.pytorch:pytorch_android, torch.jit.load); fxconv inspect FILE says what loads it",
        (
            "pytorch/android-demo-app#157",
            "pytorch/android-demo-app#183",
            "pytorch/android-demo-app#232",
            "pytorch/android-demo-app#247",
            "pytorch/android-demo-app#282",
        ),
        provoked=True,
    ),
    KnownError(
        "no-program",
        Place.FILES,
        says(r"failed locating file constants\.pkl", r"file not found: [^\s]{0,80}constants\.pkl"),
        "PytorchStreamReader failed locating file constants.pkl: file not found",
        "the file holds weights (torch.save) and no program, so nothing but Python can use it",
        "make one of the model and these weights: fxconv convert MODEL --weights FILE; fxconv inspect FILE says what "
        "is "
        "in it",
        ("deepjavalibrary/djl#1509", "johnolafenwa/PytorchMobile#2"),
        provoked=True,
    ),
    KnownError(
        "not-an-archive",
        Place.FILES,
        says(r"failed finding central directory", r"not a ZIP archive"),
        "PytorchStreamReader failed reading zip archive: failed finding central directory",
        "the file is not one that torch wrote, or it was cut off or changed: by a download, by Git LFS, or by a build "
        "that compresses assets",
        "compare its size and hash with the original's and copy it anew, on a phone too, where an app may keep the "
        "copy "
        "that it made of an older asset; fxconv inspect FILE says what the file is",
        ("pytorch/pytorch#31620", "pytorch/android-demo-app#33", "CompVis/stable-diffusion#93"),
        provoked=True,
    ),
    KnownError(
        "not-a-pickle",
        Place.FILES,
        says(r"WeightsUnpickler error: Unsupported operand \d{1,3}"),
        "WeightsUnpickler error: Unsupported operand 118",
        "the file is no checkpoint but something else, a text that a download or Git LFS left for instance, or it is "
        "damaged",
        "fetch the file anew and compare its size and hash; fxconv inspect FILE says what it is",
        ("pytorch/pytorch#150998", "chflame163/ComfyUI_LayerStyle#499"),
        provoked=True,
    ),
    KnownError(
        "weights-only",
        Place.FILES,
        says(r"Weights only load failed(?!.{0,1500}Unsupported operand)"),
        "Weights only load failed. This file can still be loaded, to do so you have two options",
        "the checkpoint holds pickled Python objects, not only tensors, and unpickling runs whatever code is in the "
        "file",
        "save model.state_dict() instead, or give --unsafe-load if you trust the file",
        ("e3nn/e3nn#519", "pytorch/audio#3911"),
        provoked=True,
    ),
    KnownError(
        "torchscript-as-checkpoint",
        Place.FILES,
        says(r"with TorchScript archives passed to ``?torch\.load"),
        "Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``.",
        "the file is a program (TorchScript or .ptl), not a checkpoint",
        "load it with torch.jit.load, a .ptl with torch.jit.mobile._load_for_lite_interpreter; to convert a model give "
        "its state_dict; fxconv inspect FILE says what the file is",
        provoked=True,
    ),
    KnownError(
        "cuda-checkpoint",
        Place.FILES,
        says(r"Attempting to deserialize object on a CUDA device but torch\.cuda\.is_available\(\) is False"),
        "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False.",
        "the file was saved from a GPU, and there is none here",
        'load it with map_location="cpu", as --weights FILE does; scripted models move there before they are saved',
        ("hkchengrex/Cutie#37", "kleinlee/DH_live#22"),
        provoked=True,
    ),
    KnownError(
        "checkpoint-keys",
        Place.FILES,
        says(r"(?:Missing|Unexpected) key\(s\) in state_dict: "),
        'Missing key(s) in state_dict: "conv1.weight", "conv1.bias".',
        "checkpoint and model name their layers differently: they are two models, or one was fused, quantized or "
        "wrapped "
        "before it was saved and the other was not",
        "load the checkpoint into the model as its authors wrote it, before fusing: fxconv convert MODEL --weights "
        "FILE "
        "does, and takes prefixes such as module. off; rewrites.rewrite(model).key_map gives the names after rewriting",
        ("pytorch/vision#2562", "pytorch/ao#1123"),
        provoked=True,
    ),
    KnownError(
        "checkpoint-sizes",
        Place.FILES,
        says(r"size mismatch for (?P<key>[\w.]{1,120}): copying a param with shape"),
        "size mismatch for fc.weight: copying a param with shape torch.Size([10, 512]) from checkpoint, the shape in "
        "current model is torch.Size([1000, 512]).",
        "{key} has another size in the checkpoint than in the model: another width, or another number of classes",
        "make the model with the checkpoint's sizes; fxconv convert MODEL --weights FILE sizes the head of a "
        "torchvision "
        "model to the checkpoint's classes",
        ("pytorch/vision#2562",),
        provoked=True,
    ),
)
