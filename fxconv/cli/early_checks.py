"""What is refused before torch is imported, which takes seconds: names and files that the options alone tell wrong.

Whoever uses them checks again, and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fxconv.cli.options.model import LoadingOptions
from fxconv.config import Config
from fxconv.data.given_files import check_array, check_evaluation, check_images, check_labels
from fxconv.models import user_code
from fxconv.models.head_list import check_heads, parse_heads
from fxconv.models.input_size import parse_input_size
from fxconv.models.installed_packages import check_installed
from fxconv.models.model_arguments import parse
from fxconv.models.model_names import check_name
from fxconv.models.weights_path import check_checkpoint
from fxconv.pixel_options import is_function
from fxconv.quantization.pass_names import check_pass


def check_model(model: str) -> None:
    """Raise `UserError` for a MODEL that there is not, with the nearest names, where its name or file tells."""
    check_installed(model)
    check_name(model)
    if model.rpartition(":")[0].endswith(".py"):
        user_code.check_form(model, "model")


def check_loading(model: str, loading: LoadingOptions, example: Path | None = None) -> None:
    """Raise `UserError` for a MODEL that there is not, and options of its loading that cannot be met."""
    check_model(model)
    if loading.weights not in ("auto", "random"):
        check_checkpoint(Path(loading.weights))
    parse_input_size(loading.input_size)
    check_heads(model, loading.heads, parse(loading.model_arg or ()))
    parse_heads(loading.heads)
    check_array(example, "--example")


def check_choices(config: Config, only: str | None = None) -> None:
    """Raise `UserError` for passes that there are not: to leave out, to stop at, to show `only`, and the user's own.

    Of a function that preprocesses, and of a metric, too, the file has to be there.
    """
    if config.metric is not None:
        user_code.check_form(config.metric, "--metric")
    if is_function(config.preprocess):
        user_code.check_form(str(config.preprocess), "--preprocess")
    for spec in config.passes:
        user_code.check_form(spec, "--pass")
    if not config.passes:  # a pass of the user's own has a name that is known when it is loaded
        for name in filter(None, (*config.skip, config.until, only)):
            check_pass(name)


def check_given(
    calib: Path | None = None,
    evaluation: Path | None = None,
    labels: Sequence[Path] = (),
    train: Path | None = None,
    has_metric: bool = False,
) -> None:
    """Raise `UserError` for photographs, arrays and lists that are not there.

    `has_metric` says that --eval may name a file of arrays, too, which is known when it is read.
    """
    check_images(calib, "--calib")
    if not has_metric:
        check_evaluation(evaluation)
    for file in labels:
        check_labels(file)
    check_images(train, "--train")
