"""The flow is the architecture: checked by reading the source, so that a cycle fails as a wrong arrow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "regaudit"

# Left to right; a stage imports only itself and what is to its left.
STAGES = [
    "errors",
    "plugins",
    "records",
    "config",
    "globs",
    "networks",
    "penalties",
    "checkpoints",
    "layers",
    "measures",
    "probes",
    "trials",
    "effects",
    "rules",
    "recommend",
    "policy",
    "settings",
    "compare",
    "pipeline",
    "reports",
    "demo",
    "cli",
    "__main__",
]
# Only what opens model files may know how they are stored, and only the edges may print.
HEAVY = {
    "torch",
    "keras",
    "scipy",
    "pandas",
    "sklearn",
    "jax",
    "tensorflow",
    "transformers",
    "onnx",
    "onnxruntime",
    "pydantic",
}
RUNS_MODELS = {"networks", "penalties", "probes", "trials", "demo"}
MODULES = sorted(ROOT.rglob("*.py"))


def stage_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(tree: ast.AST) -> list[tuple[str, ast.stmt]]:
    found: list[tuple[str, ast.stmt]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.append((node.module or "", node))
            if node.module == "regaudit":
                found += [(f"regaudit.{alias.name}", node) for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_data_goes_one_way(path):
    stage = stage_of(path)
    if stage == "__init__":
        return
    allowed = set(STAGES[: STAGES.index(stage) + 1]) | {"__version__"}
    for name, node in imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "regaudit" and len(parts) > 1:
            assert parts[1] in allowed, f"{path.name}:{node.lineno} imports {name}, which is to its right"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_framework_is_imported(path):
    """Frameworks run models: only in probes, trials and the penalties for training, and only inside functions."""
    tree = ast.parse(path.read_text())
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for name, node in imports(tree):
        if stage_of(path) in RUNS_MODELS and id(node) in inner | typing_only(tree):
            continue
        assert name.split(".")[0] not in HEAVY, f"{path.name}:{node.lineno} imports {name}"


def typing_only(tree: ast.AST) -> set[int]:
    """Return what stands under `if TYPE_CHECKING:`."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {id(n) for block in blocks for n in ast.walk(block)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_code_from_files_cannot_run(path):
    """No unpickling, no eval, no exec, anywhere."""
    tree = ast.parse(path.read_text())
    for name, _ in imports(tree):
        assert name.split(".")[0] not in {"pickle", "marshal", "shelve", "dill", "joblib", "runpy"}, path.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_prints(path):
    if stage_of(path) in {"cli", "__main__"}:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{path.name}:{node.lineno} prints"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_bugs_keep_their_traceback(path):
    """`except Exception` hides bugs; only `__main__` may turn one into exit code 4."""
    if path.name == "__main__.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno} catches everything"
            names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
                continue  # cleans up and lets the error go on
            assert not names & {"Exception", "BaseException"}, f"{path.name}:{node.lineno} catches everything"


@pytest.mark.parametrize(("folder", "entry"), [("rules", "RULE"), ("reports", "REPORTER")])
def test_every_plugin_is_listed(folder, entry):
    """A file that defines a plugin but is missing from its folder's tuple would never run."""
    listed = (ROOT / folder / "__init__.py").read_text()
    for path in (ROOT / folder).glob("*.py"):
        names = {
            t.id
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for t in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(t, ast.Name)
        }
        if entry in names:
            assert f"{path.stem}.{entry}" in listed, f"{folder}/{path.name} is not listed"


def test_every_reader_is_listed():
    from regaudit.checkpoints import READERS, formats

    defining = {p.stem for p in (ROOT / "checkpoints").glob("*.py") if "\nFORMAT" in p.read_text()}
    assert defining == set(READERS)
    assert all(each.name for each in formats())
