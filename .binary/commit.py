"""A wheel knows the commit that it was made of: `agentcontainer --version` shows it."""

import sys
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Commit(BuildHookInterface):
    def initialize(self, version: str, build_data: dict) -> None:
        root = Path(self.root)
        sys.path.insert(0, str(root))  # pip builds where only hatchling is installed
        from agentcontainer_local.process.build import commit_of

        sys.path.remove(str(root))
        self.written = Path(tempfile.mkdtemp(), "commit")
        self.written.write_text(commit_of(root) + "\n")
        build_data["force_include"][str(self.written)] = "agentcontainer_local/commit"

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        self.written.unlink()
        self.written.parent.rmdir()
