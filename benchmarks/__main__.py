"""List the benchmarks: `python -m benchmarks`."""

import ast
from pathlib import Path


def main() -> None:
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = ast.parse(path.read_text())
        is_script = any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in source.body)
        if is_script and path.name != "__main__.py":
            first = (ast.get_docstring(source) or "").partition("\n")[0]
            print(f"python -m benchmarks.{path.stem:<16} {first}")


if __name__ == "__main__":
    main()
