"""The runs of a comparison: kept in a file after each one, so that an interrupted comparison goes on where it was. Standard library only."""

import json
import os
import pathlib

FORMAT = "sluice comparison 1"


class RecordError(Exception):
    """The file cannot be gone on with; the message says why and what helps."""


class RunRecord:
    """A run is a dictionary with at least round, case and kind; a block is a round of a case: one run of every kind, pairs among each other.

    `path`: None keeps nothing. A file that is there must hold runs with the same settings, and what is something else is never overwritten. Of a block
    that was interrupted the runs are dropped: those that came hours later would be no pairs of theirs."""

    def __init__(self, path, settings, kinds):
        self._path, self._kinds = path and pathlib.Path(path), set(kinds)
        self._settings = json.loads(json.dumps(settings))  # as they read after writing
        self.runs, self.dropped = [], 0
        if self._path is not None and self._path.exists():
            self._read()
            self.save()
        elif self._path is not None:
            self.save()

    def add(self, run):
        self.runs.append(run)
        self.save()

    def has_block(self, case, round_number):
        """Whether all its runs are there."""
        return {run["kind"] for run in self._block(case, round_number)} >= self._kinds

    def of(self, case, kind):
        """{round: run}"""
        return {run["round"]: run for run in self.runs if (run["case"], run["kind"]) == (case, kind)}

    def save(self, **more):
        """`more` is written beside the runs. The file is whole at any time."""
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".part")
        try:
            beside.write_text(json.dumps({"format": FORMAT, "settings": self._settings, "runs": self.runs, **more}, indent=1) + "\n")
            os.replace(beside, self._path)
        except OSError as error:
            raise RecordError(f"{self._path}: cannot be written: {error.strerror}") from error

    def _block(self, case, round_number):
        return [run for run in self.runs if (run["case"], run["round"]) == (case, round_number)]

    def _read(self):
        try:
            with open(self._path, "rb") as file:
                if file.read(1) != b"{":  # a model, perhaps: too large to be read for nothing
                    raise ValueError
            kept = json.loads(self._path.read_text())
            if kept["format"] != FORMAT:
                raise ValueError
            settings, runs = kept["settings"], kept["runs"]
        except OSError as error:
            raise RecordError(f"{self._path}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self._path} is no record of such a comparison and is left as it is: name another file") from error
        for name in dict.fromkeys([*self._settings, *settings]):
            there, here = settings.get(name), self._settings.get(name)
            if there != here:
                raise RecordError(f"{self._path} holds runs with another setting, {name}: {there} there, {here} here; name another file")
        self.runs = runs
        self.runs = [run for run in runs if self.has_block(run["case"], run["round"])]
        self.dropped = len(runs) - len(self.runs)
