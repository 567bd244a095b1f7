"""Checks the graph of a network that torch.export wrote for text that torch would run as Python.

torch evaluates the expressions of sizes with sympy and the guards with `exec`, and calls whatever
function of torch, operator or math a node names. Loads no torch.
"""

import ast
import json
import re
from typing import Any, Final

_MOST_CHARS: Final = 10_000
# Operators of torch: no module of it, whose other attributes are functions like `torch.os.system`.
_OPERATOR: Final = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|quantized|quantized_decomposed|torchvision)"
    r"\.[A-Za-z0-9]\w*(\.[A-Za-z0-9]\w*)?"
)
_OPERATORS_ON_FILES: Final = re.compile(r"torch\.ops\.aten\.(from_file|load|save)\b")
# What exported graphs compute with sizes.
_FUNCTION_OF_SIZES: Final = re.compile(
    r"_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|le|lshift|lt|mod|mul|ne|neg|not_|or_|pos"
    r"|pow|rshift|sub|truediv)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.(sym_[a-z]+|_sym_[a-z0-9]+)"
)
_NAME: Final = re.compile(r"[A-Za-z]\w{0,63}")
# sympy's names and those of torch.utils._sympy.functions, as torch writes them.
_FUNCTIONS: Final = frozenset(
    {
        "Abs", "Add", "And", "BooleanFalse", "BooleanTrue", "CeilDiv", "CeilToInt", "CleanDiv",
        "Eq", "Equality", "FloatPow", "FloatTrueDiv", "Float", "FloorDiv", "FloorToInt", "Ge",
        "GreaterThan", "Gt", "Identity", "IntTrueDiv", "Integer", "LShift", "Le", "LessThan", "Lt",
        "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "Pow", "PowByNatural",
        "PythonMod", "RShift", "Rational", "RoundDecimal", "RoundToInt", "StrictGreaterThan",
        "StrictLessThan", "Symbol", "ToFloat", "TruncToFloat", "TruncToInt", "Unequality", "Where",
        "ceiling", "floor", "sqrt",
    }
)  # fmt: skip
_SIZES_OF_TENSOR: Final = frozenset({"size", "stride", "storage_offset"})
_HARMLESS: Final = (
    ast.Expression, ast.BoolOp, ast.boolop, ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop,
    ast.Compare, ast.cmpop, ast.Subscript, ast.List, ast.Tuple, ast.keyword, ast.expr_context,
)  # fmt: skip


def check_graph(document: bytes) -> None:
    """Raise ValueError if loading or running the graph in this JSON could run other code."""
    waiting: list[Any] = [json.loads(document)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        if isinstance(value, dict):
            _check_object(value)
            waiting.extend(value.values())


def _check_object(value: dict[str, Any]) -> None:
    if "expr_str" in value:
        _check_expression(value["expr_str"])
    for guard in value.get("guards_code") or ():
        _check_expression(guard)
    for symbol in value.get("range_constraints") or ():
        _check_expression(symbol)
    if "target" in value and "inputs" in value:
        _check_target(value["target"])


def _check_target(target: object) -> None:
    is_known = isinstance(target, str) and (
        _OPERATOR.fullmatch(target) or _FUNCTION_OF_SIZES.fullmatch(target)
    )
    if not is_known or _OPERATORS_ON_FILES.match(str(target)):
        raise ValueError(
            f"its graph calls {str(target)[:100]!r}, which is no operator that computes; "
            "export it again with torch's own operators"
        )


def _check_expression(text: object) -> None:
    """Raise ValueError unless the text is arithmetic on named sizes and numbers."""
    if not isinstance(text, str) or len(text) > _MOST_CHARS:
        raise _suspicious(text)
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _suspicious(text) from None
    if not all(_is_harmless(node) for node in nodes):
        raise _suspicious(text)


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return _is_harmless_function(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr in _SIZES_OF_TENSOR
    if isinstance(node, ast.Name):
        return _NAME.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _NAME.fullmatch(node.value) is not None
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or node.value is None
    return isinstance(node, _HARMLESS)


def _is_harmless_function(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in _FUNCTIONS
    return isinstance(function, ast.Attribute) and function.attr in _SIZES_OF_TENSOR


def _suspicious(text: object) -> ValueError:
    return ValueError(
        f"the expression {str(text)[:100]!r} in its graph is more than arithmetic on sizes; "
        "export it again with torch.export"
    )
