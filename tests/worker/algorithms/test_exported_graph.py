"""Texts in an exported graph that torch would run: which are arithmetic, and which are code."""

import json

import pytest

from worker.algorithms.networks.exported_graph import check_graph

HARMLESS = [
    "Symbol('s31', positive=True, integer=True)",
    "Mul(Integer(2), Min(Integer(4), Mul(Integer(8), Symbol('s77', integer=True))))",
    "FloorDiv(Add(s0, Integer(-1)), Integer(2)) + 1",
    "2*s0 <= 1024",
    "L['pixels'].size()[0] >= 1",
    "True",
]
CODE = [
    "__import__('os').system('id')",
    "().__class__.__base__.__subclasses__()",
    "Symbol('s0').__init__.__globals__",
    "eval('1')",
    "Symbol('os.system(1)')",
    "Symbol('__import__')",
    "(lambda: 1)()",
    "[x for x in (1,)]",
    "f'{s0}'",
    "s0; import os",
    "Integer(1) if open('a') else 2",
    "9" * 20_000,
]


@pytest.mark.parametrize("text", HARMLESS)
def test_arithmetic_on_sizes_is_harmless(text: str) -> None:
    """As torch writes sizes and guards."""
    check_graph(json.dumps({"a": [{"expr_str": text}], "guards_code": [text]}).encode())


@pytest.mark.parametrize("text", CODE)
@pytest.mark.parametrize("key", ["expr_str", "guards_code"])
def test_everything_else_is_refused(text: str, key: str) -> None:
    """Wherever it stands in the graph."""
    value = text if key == "expr_str" else [text]
    with pytest.raises(ValueError, match="more than arithmetic on sizes"):
        check_graph(json.dumps({"a": [[{"b": {key: value}}]]}).encode())


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.__class__",
        "torch.ops.mine.run",
        "torch.load",
        "_operator.methodcaller",
        "_operator.attrgetter",
        "math.os",
        7,
    ],
)
def test_only_operators_that_compute_may_be_called(target: object) -> None:
    """torch takes any function that it can reach from its own name."""
    with pytest.raises(ValueError, match="no operator that computes"):
        check_graph(json.dumps({"nodes": [{"target": target, "inputs": []}]}).encode())


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.conv2d.default",
        "_operator.mul",
        "torch.sym_min",
        "torch.ops.higher_order.cond",
    ],
)
def test_operators_may_be_called(target: str) -> None:
    """Those that exported graphs hold."""
    check_graph(json.dumps({"nodes": [{"target": target, "inputs": []}]}).encode())
