"""One module a call site, unless it has weights or a memory of its own."""

import pytest
from passcheck import check, conv, model, text
from torch import nn

from rewrites.passes import UnshareModules

RULE = UnshareModules()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda self, x: self.act(self.conv(x)), id="each module is called once"),
        pytest.param(lambda self, x: self.conv(x).relu().relu(), id="methods are no modules"),
    ],
)
def test_left_as_it_is(forward):
    checked = check(RULE, model(forward, conv=conv(), act=nn.ReLU()))
    assert checked.result.edits == () and checked.skips == {}


def test_a_relu_called_three_times():
    def forward(self, x):
        return self.act(self.conv3(self.act(self.conv2(self.act(self.conv1(x))))))

    checked = check(RULE, model(forward, conv1=conv(), conv2=conv(), conv3=conv(), act=nn.ReLU()))
    assert checked.changes == text("""
        -act_1 = self.act(conv2)  # ReLU()
        +act_1 = self.act_1(conv2)  # ReLU()
        -act_2 = self.act(conv3)  # ReLU()
        +act_2 = self.act_2(conv3)  # ReLU()
    """)


def test_one_module_under_two_names():
    act = nn.ReLU()
    original = model(lambda self, x: self.second(self.conv(self.first(x))), conv=conv(), first=act, second=act)
    checked = check(RULE, original)
    assert checked.changes[-1] == "+first_1 = self.first_1(conv)  # ReLU()"


def test_the_copy_takes_a_free_name():
    original = model(lambda self, x: self.act_1(self.act(self.act(x))), act=nn.ReLU(), act_1=conv())
    checked = check(RULE, original)
    assert checked.lines[2] == "act_1 = self.act_2(act)  # ReLU()"


def test_weights_stay_shared():
    original = model(lambda self, x: self.conv(self.conv(x)), conv=conv())
    checked = check(RULE, original)
    assert checked.skips == {"conv_1": "conv has weights, which stay shared by all its calls"}
    assert [key for key in checked.whole.graph_module.state_dict() if key.endswith("weight")] == ["conv.weight"]
    assert sum("self.conv(" in line for line in checked.lines) == 2


def test_what_a_module_that_did_not_trace_remembers_stays_shared():
    class Previous(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = None

        def forward(self, x):
            if x.sum() > 1e9:
                return x
            result = x if self.last is None else x + self.last
            self.last = x
            return result

    checked = check(RULE, model(lambda self, x: self.memory(self.memory(x) * 2), memory=Previous()))
    reason = "memory did not trace; what it keeps from call to call is its own affair"
    assert checked.skips == {"memory_1": reason}
