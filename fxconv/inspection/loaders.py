"""Which calls load a file of which kind."""

from __future__ import annotations

from fxconv.inspection.found import Inspection, Kind, Loader

_LITE = (
    Loader("LiteModuleLoader.load(path)", "Android, org.pytorch:pytorch_android_lite"),
    Loader("LiteModuleLoader.loadModuleFromAsset(assets, name)", "Android, org.pytorch:pytorch_android_lite"),
    Loader("torch::jit::_load_for_mobile(path)", "iOS and C++, LibTorch-Lite"),
    Loader("torch.jit.mobile._load_for_lite_interpreter(path)", "Python"),
)
_FULL = (
    Loader("Module.load(path)", "Android, org.pytorch:pytorch_android"),
    Loader("torch::jit::load(path)", "C++, LibTorch"),
    Loader("torch.jit.load(path)", "Python"),
)
_FULL_IN_VAIN = (
    Loader("Module.load(path), torch.jit.load(path)", "the full runtime", "no TorchScript code is in the file"),
)
_LITE_IN_VAIN = (
    Loader(
        "LiteModuleLoader.load(path), _load_for_mobile(path)",
        "the lite interpreter",
        '"bytecode.pkl not found"; save it with _save_for_lite_interpreter, or fxconv convert the model',
    ),
)


def loaders(found: Inspection) -> tuple[Loader, ...]:
    """The calls that load the file, and those that people try in vain."""
    if found.kind in (Kind.LITE, Kind.LITE_FLATBUFFER):
        return (*_LITE, *(_FULL if found.has_code else _FULL_IN_VAIN))
    if found.kind is Kind.TORCHSCRIPT:
        return (*_FULL, *_LITE_IN_VAIN)
    return _OTHERS.get(found.kind, ())


_IN_VAIN = (
    Loader(
        "Module.load(path), LiteModuleLoader.load(path), torch.jit.load(path)",
        "any runtime",
        "it holds weights and no program; fxconv convert MODEL --weights FILE makes one of them",
    ),
)
_WEIGHTS = (
    Loader("torch.load(path, weights_only=True)", "Python"),
    Loader("fxconv convert MODEL --weights FILE", "this program"),
    *_IN_VAIN,
)
_OBJECTS = (
    Loader("torch.load(path, weights_only=False)", "Python, with the code it was saved from; runs what is in it"),
    Loader("fxconv convert MODEL --weights FILE --unsafe-load", "this program; runs what is in it"),
    *_IN_VAIN,
)
_OTHERS: dict[Kind, tuple[Loader, ...]] = {
    Kind.STATE_DICT: _WEIGHTS,
    Kind.CHECKPOINT: _WEIGHTS,
    Kind.CALIBRATION: (Loader("fxconv convert --calibration FILE", "this program"),),
    Kind.MODULE: _OBJECTS,
    Kind.SAFETENSORS: (
        Loader("safetensors.torch.load_file(path)", "Python"),
        Loader("fxconv convert MODEL --weights FILE", "this program"),
        *_IN_VAIN,
    ),
    Kind.EXPORTED: (Loader("torch.export.load(path)", "Python"),),
    Kind.PACKAGE: (Loader("torch.package.PackageImporter(path)", "Python; runs code in it"),),
    Kind.EXECUTORCH: (
        Loader("Module.load(path)", "Android, org.pytorch:executorch-android (org.pytorch.executorch.Module)"),
        Loader("Module(filePath: path)", "iOS, Swift package ExecuTorch"),
        Loader("executorch::extension::Module(path)", "iOS and C++, ExecuTorch"),
        Loader("Runtime.get().load_program(path)", "Python, executorch.runtime"),
        Loader(
            "LiteModuleLoader.load(path), torch.jit.load(path)",
            "PyTorch Mobile and torch",
            "it is a program for ExecuTorch; fxconv convert MODEL -o net.ptl makes one of them",
        ),
    ),
    Kind.ONNX: (Loader("onnxruntime.InferenceSession(path)", "ONNX Runtime, on phones too"),),
    Kind.TFLITE: (Loader("Interpreter(file)", "TensorFlow Lite (LiteRT), on phones too"),),
}
