"""What pyproject.toml can't say: the recipes of `configs/` become part of the package when it is built."""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Puts `configs/` where an installed program finds it; a checkout has it beside the package."""

    def run(self) -> None:
        """Build as usual, then copy the recipes."""
        super().run()
        for file in [] if self.editable_mode else Path("configs").rglob("*.toml"):
            copy = Path(self.build_lib, "bloodcell_batch", file)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(file, copy)


setup(cmdclass={"build_py": BuildWithRecipes})
