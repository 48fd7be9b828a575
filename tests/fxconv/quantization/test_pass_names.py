"""The list of passes that is read from their source is that of the passes themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fxconv.errors import UserError
from fxconv.quantization.pass_names import NamedPass, check_pass, named_passes
from rewrites import ALTERNATIVES, DEFAULT_PASSES


def test_the_names_and_summaries_are_those_of_the_passes_in_their_order():
    of_passes = [NamedPass(rule.name, rule.summary(), False) for rule in DEFAULT_PASSES]
    assert list(named_passes()) == of_passes + [NamedPass(rule.name, rule.summary(), True) for rule in ALTERNATIVES]


def test_to_list_them_does_not_import_torch():
    program = "import sys; from fxconv.quantization.pass_names import named_passes; named_passes()"
    program += "; print({'torch', 'rewrites'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_pass_that_there_is_not_gets_the_nearest():
    check_pass("fold-relu6")
    check_pass("wrap-arithmetic")
    with pytest.raises(UserError, match=r"unknown pass 'fold-relu'; did you mean fold-relu6, .*\(fxconv passes lists"):
        check_pass("fold-relu")
    with pytest.raises(UserError, match=r"unknown pass 'xyzzy' \(fxconv passes lists all\)"):
        check_pass("xyzzy")
