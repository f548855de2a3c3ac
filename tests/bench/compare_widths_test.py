"""bench/compare_widths.py measures the bundled model and draws what it found. Standard library only."""

import pathlib
import subprocess
import sys
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "apps")]
from command import MODEL, SLUICE, STORY, Folder, sluice  # noqa: E402


class CompareWidths(Folder):
    def compare(self, *arguments):
        command = [sys.executable, "-B", ROOT / "bench" / "compare_widths.py", MODEL, self.folder / "a.slc", "--sluice", SLUICE, "-p", 4, "-n", 4, *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)

    def test_a_row_for_every_setting_and_a_drawing(self):
        self.assertEqual(sluice("pack", MODEL, "--nested", "--out", self.folder / "a.slc").returncode, 0)
        text = self.file("text.txt", pathlib.Path(STORY).read_text(encoding="utf-8")[:2000])
        drawing = self.folder / "curve.svg"
        done = self.compare("--ram", "64M,1G", "--rounds", 1, "--settings", "exact,auto:0.1", "--quality", self.folder / "a.slc", "--text", text, "--svg", drawing)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\| exact \| 8\.6\d \| [0-9.]+ \| \+0\.00 % \|")
        for budget in ("64M", "1G"):
            rows = done.stdout.split(f"### --ram {budget}")[1].splitlines()[4:7]
            self.assertEqual([row.split(" | ")[0] for row in rows], ["| source", "| exact", "| auto:0.1"])
            self.assertIn("| 1.00 (1.00 to 1.00) |", rows[0])
        circles = xml.etree.ElementTree.parse(drawing).findall("{http://www.w3.org/2000/svg}circle")
        self.assertEqual(len(circles), 6)
        self.assertEqual({circle.find("{*}title").text.split(":")[0] for circle in circles}, {"source", "exact", "auto"})

    def test_says_what_fails(self):
        done = self.compare("--ram", "1G")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("a.slc", done.stderr)
        self.assertIn("go together", self.compare("--ram", "1G", "--svg", "x.svg").stderr)


if __name__ == "__main__":
    unittest.main()
