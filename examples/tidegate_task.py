"""What a Python program needs to be a Tidegate task. One file, no dependency, Python 3.9 or newer: copy it beside yours.

Outside Tidegate everything works from defaults and prints, so a program stays runnable and testable by hand.
"""

import json
import os
import sys
import traceback
from pathlib import Path


def _path(name, default=None):
    value = os.environ.get("TIDEGATE_" + name)
    return Path(value) if value else default


INSIDE = _path("CONTEXT") is not None


class Context:
    """Params, inputs and run of this attempt."""

    def __init__(self):
        found = json.loads(_path("CONTEXT").read_text()) if INSIDE else {}
        self.params = found.get("params", {})
        self.inputs = found.get("inputs", {})
        self.run = found.get("run", {})
        self._outputs = {}
        self._artifacts = []

    def input(self, name, default=None):
        """An input; of a dataset or file its path on this machine."""
        value = self.inputs.get(name, default)
        return value["path"] if isinstance(value, dict) and "path" in value else value

    @property
    def artifact_dir(self):
        """Where files that outlive the task go."""
        return _path("ARTIFACTS", Path("."))

    @property
    def checkpoint_dir(self):
        """Survives the retries of the task run."""
        return _path("CHECKPOINTS", Path("."))

    def progress(self, done, total):
        """Says that `done` of `total` are done."""
        self._event({"t": "progress", "done": done, "total": total})

    def metric(self, name, value, step):
        """Records a number over steps."""
        self._event({"t": "metric", "k": name, "v": value, "step": step})

    def artifact(self, name, path):
        """Records a file below `artifact_dir`."""
        self._artifacts.append({"name": name, "path": str(path)})
        self._write()

    def output(self, **values):
        """Hands values on to the tasks that come after."""
        self._outputs.update(values)
        self._write()

    def _write(self):
        text = json.dumps({"v": 1, "outputs": self._outputs, "artifacts": self._artifacts}, allow_nan=False)
        if not INSIDE:
            print(text)
            return
        target = _path("OUTPUT")
        half = target.with_suffix(".half")
        half.write_text(text)
        os.replace(half, target)

    def _event(self, event):
        line = json.dumps(event, allow_nan=False)
        if not INSIDE:
            print(line)
            return
        with open(_path("EVENTS"), "a", encoding="utf-8") as events:
            events.write(line + "\n")


def _leave_failure(kind, error, trace):
    text = "".join(traceback.format_exception(kind, error, trace))
    if INSIDE:
        failure = {"type": kind.__name__, "message": f"{kind.__name__}: {error}", "traceback": text[-16000:]}
        _path("FAILURE").write_text(json.dumps(failure))
    sys.stderr.write(text)


def context():
    """The context of this attempt; from now on an uncaught exception names itself to Tidegate."""
    sys.excepthook = _leave_failure
    return Context()
