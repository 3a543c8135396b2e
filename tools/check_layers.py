"""Check that what each package imports is declared, and that no package imports its own layer or one above.

The layers are stated once, in [tool.importlinter] of the root pyproject.toml. Every import counts, also inside a
function, under TYPE_CHECKING, or as a literal name given to importlib.import_module. Left out are the programs in
tests/fixtures, which make data with other libraries, in environments of their own.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from workspace import ROOT, Package, WorkspaceError, fail, import_names, load_packages, select

TEST_TOOLS = ("pytest", "hypothesis", "_pytest")


@dataclass(frozen=True)
class Import:
    """One import: the top-level name, its line, and whether it runs only when something is called or type checked."""

    name: str
    line: int
    deferred: bool


@dataclass(frozen=True)
class Rules:
    """What the files of one folder may import.

    Attributes:
        package: the package that the files belong to.
        modules: every package of the workspace, by import name.
        always: names that may be imported anywhere.
        deferred: names of extras, which may be imported inside functions only.
        first_party: import names of the workspace's packages that are declared.
        where: the table of pyproject.toml in which a missing name belongs.
    """

    package: Package
    modules: dict[str, Package]
    always: frozenset[str]
    deferred: frozenset[str]
    first_party: frozenset[str]
    where: str


def find_imports(tree: ast.AST) -> Iterator[Import]:
    """Each absolute import of a module, in no particular order; relative ones stay inside the package."""
    yield from _visit(tree, deferred=False)


def _visit(node: ast.AST, *, deferred: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name.partition(".")[0], node.lineno, deferred)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
        yield Import(node.module.partition(".")[0], node.lineno, deferred)
    elif isinstance(node, ast.Call) and (literal := _dynamic_import(node)) is not None:
        yield Import(literal.partition(".")[0], node.lineno, deferred)
    later = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_guarded(node)
    for child in ast.iter_child_nodes(node):
        yield from _visit(child, deferred=later)


def _dynamic_import(call: ast.Call) -> str | None:
    """The literal that `importlib.import_module("x")`, `import_module("x")` or `__import__("x")` is given."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name not in ("import_module", "__import__") or not call.args:
        return None
    match call.args[0]:
        case ast.Constant(value=str(literal)) if not literal.startswith("."):
            return literal
        case _:
            return None


def _is_guarded(node: ast.AST) -> bool:
    """Whether what is under this node does not run, or may fail, at import."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    if isinstance(node, ast.Try):
        return any(h.type is not None and "ImportError" in ast.unparse(h.type) for h in node.handlers)
    return False


def source_rules(package: Package, packages: Sequence[Package]) -> Rules:
    """What the source of a package may import."""
    extras = [requirement for name, lines in package.extras.items() if name != "test" for requirement in lines]
    return _rules(package, packages, list(package.dependencies), extras, (), "[project] dependencies")


def test_rules(package: Package, packages: Sequence[Package]) -> Rules:
    """What the tests of a package may import: what the package declares, its `test` extra, pytest and hypothesis."""
    declared = [*package.dependencies, *package.test_requirements()]
    return _rules(package, packages, declared, [], (*TEST_TOOLS, package.module), "the test extra")


def _rules(
    package: Package,
    packages: Sequence[Package],
    declared: Sequence[Requirement],
    extras: Sequence[Requirement],
    also: Sequence[str],
    where: str,
) -> Rules:
    names = {canonicalize_name(requirement.name) for requirement in declared}
    return Rules(
        package=package,
        modules={other.module: other for other in packages},
        always=frozenset(name for requirement in declared for name in import_names(requirement)) | frozenset(also),
        deferred=frozenset(name for requirement in extras for name in import_names(requirement)),
        first_party=frozenset(other.module for other in packages if other.name in names),
        where=where,
    )


def problem(found: Import, rules: Rules) -> str | None:
    """What is wrong with one import, or None."""
    package, name = rules.package, found.name
    if name == package.module or name in sys.stdlib_module_names or name == "__future__":
        return None
    other = rules.modules.get(name)
    if other is not None and other.level >= package.level:
        relation = "the same layer" if other.level == package.level else "a layer above"
        return (
            f"{package.name} (layer {package.level}) imports {name} (layer {other.level}, {relation}). "
            "Move what both need to a lower layer, or take it as an argument described by a Protocol"
        )
    if name in rules.always:
        return None
    if name in rules.deferred:
        if found.deferred:
            return None
        return f"{name} comes with an extra of {package.name} only. Import it inside the function that needs it"
    listed = ", ".join(sorted(rules.always | rules.deferred))
    return (
        f"{name} is not declared by {package.name} (declared: {listed}); that another dependency brings it along "
        f"is not enough. Add it to {rules.where} in packages/{package.folder.name}/pyproject.toml"
    )


def check_folder(folder: Path, rules: Rules, root: Path) -> list[str]:
    """Each violation in the Python files under a folder, as `file:line: what is wrong`."""
    found: list[str] = []
    for path in sorted(folder.rglob("*.py")):
        if "fixtures" in path.relative_to(folder).parts:
            continue
        shown = path.relative_to(root)
        try:
            tree = ast.parse(path.read_text(), filename=str(path))
        except SyntaxError as error:
            found.append(f"{shown}:{error.lineno}: {error.msg}")
            continue
        imports = sorted(find_imports(tree), key=lambda each: (each.line, each.name))
        found += [f"{shown}:{each.line}: {text}." for each in imports if (text := problem(each, rules)) is not None]
    return found


def check_declared_layers(package: Package, packages: Sequence[Package]) -> list[str]:
    """Each dependency, in the base or an extra, on a package of the same layer or one above."""
    by_name = {other.name: other for other in packages}
    found: list[str] = []
    for requirement in (*package.dependencies, *(r for lines in package.extras.values() for r in lines)):
        other = by_name.get(canonicalize_name(requirement.name))
        if other is not None and other is not package and other.level >= package.level:
            found.append(
                f"packages/{package.folder.name}/pyproject.toml: {package.name} (layer {package.level}) "
                f"depends on {other.name} (layer {other.level})."
            )
    return found


def check(root: Path, names: Sequence[str] = ()) -> list[str]:
    """Each violation in the workspace.

    Args:
        root: root of the repository.
        names: the packages to check; none means all.
    Returns:
        One line for each violation, empty when there is none.
    Raises:
        WorkspaceError: the workspace itself is not as expected, or has no package of such a name.
    """
    packages = load_packages(root)
    found: list[str] = []
    for package in select(packages, names):
        found += check_declared_layers(package, packages)
        found += check_folder(package.source, source_rules(package, packages), root)
        found += check_folder(package.tests, test_rules(package, packages), root)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository (default: this one)")
    arguments = parser.parse_args(argv)
    try:
        found = check(arguments.root.resolve(), arguments.package)
    except WorkspaceError as error:
        return fail(error)
    for line in found:
        print(line)
    print(f"layers: {len(found)} violations" if found else "layers: every import is declared and points downwards")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
