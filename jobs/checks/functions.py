"""A function under ``@job`` as the class that it stands for, so that one set of rules does."""

from __future__ import annotations

import ast

from queued.jobs.checks.source import Function


def as_class(node: Function) -> ast.ClassDef:
    """Return a class whose fields are the function's parameters and whose ``handle`` is its body.

    Every node keeps its place in the file.
    """
    body = [*_settings(node), *_fields(node), _handle(node)]
    made = ast.ClassDef(
        name=node.name, bases=[], keywords=[], body=body, decorator_list=node.decorator_list
    )
    return ast.copy_location(made, node)


def _settings(node: Function) -> list[ast.stmt]:
    """Return what ``@job(...)`` says as assignments."""
    calls = [one for one in node.decorator_list if isinstance(one, ast.Call)]
    return [
        ast.copy_location(
            ast.Assign(targets=[_name(keyword.arg, keyword.value)], value=keyword.value),
            keyword.value,
        )
        for call in calls
        for keyword in call.keywords
        if keyword.arg
    ]


def _fields(node: Function) -> list[ast.stmt]:
    arguments = node.args
    plain = arguments.args
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    pairs = [
        *zip(plain, [*defaults, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return [_field(one, default) for one, default in pairs]


def _field(argument: ast.arg, default: ast.expr | None) -> ast.stmt:
    annotation = argument.annotation or _name("object", argument)
    field = ast.AnnAssign(
        target=_name(argument.arg, argument), annotation=annotation, value=default, simple=1
    )
    return ast.copy_location(field, argument)


def _handle(node: Function) -> Function:
    made = type(node)(**{**{name: getattr(node, name) for name in node._fields}, "name": "handle"})
    return ast.copy_location(made, node)


def _name(name: str, place: ast.expr | ast.arg) -> ast.Name:
    return ast.copy_location(ast.Name(id=name, ctx=ast.Store()), place)
