"""The report in a real browser: it opens without a network, shows its figures, and complains of nothing."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.conftest import guest_path
from tests.study.conftest import Bench, cell, known

from limes.study import report
from limes.study.folder import FORMAT, StudyFolder, write_json
from limes.study.journal import Journal
from limes.study.plan import FORMS, Plan, every_cell
from limes.study.runner import Runner
from limes.study.study import summarised

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

NASTY = 'no </script><img src=x onerror="alert(1)"> & no "KVM"'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two functions in every kind of sandbox, with delays that are known."""
    folder = StudyFolder(tmp_path_factory.mktemp("page"))
    cells = every_cell(["noop", "image"])
    plan = Plan(cells, FORMS["ci"], 1)
    cold = {"process": 900, "wasm": 400, "microvm": 2000, "unikernel": 1500}
    targets = {
        one: known(
            cold[one.sandbox] * (1 + index % 7),
            1000 + index,
            caveat="under emulation (TCG)" if one.vmm == "qemu" else "",
            broken=NASTY if one.vmm == "firecracker" else "",
        )
        for index, one in enumerate(cells)
    }
    with Journal(folder.records) as journal:
        runner = Runner(plan, journal, targets.__getitem__)
        runner.run()
    workloads = {name: {"paper": name, "component": name, "args": ""} for name in ("noop", "image")}
    machine = {
        "cpu": "<b>test</b>", "cores": 2, "hypervisor": True, "memory_bytes": 1 << 30, "system": "Linux",
        "kernel": "6",
        "kvm": "works", "versions": {"limes": "1"}, "load_average_at_start": 0.1,
    }  # fmt: skip
    study = {
        "format": FORMAT,
        "plan": plan.to_json(),
        "workloads": workloads,
        "machine": machine,
        "command": "limes study 'a <b>'",
        "caveats": {str(one): text for one, text in runner.caveats.items() if text},
    }
    write_json(folder.study, study)
    series = [{"series": name, "x": x, "y": x * 2} for name in ("a", "b") for x in (1, 10)]
    told = {
        "title": "Load", "question": "How?", "finding": "So.", "rows": series,
        "figure": {
            "x": "x", "x_label": "x", "x_log": True, "panels": [{"y": ["y"], "label": "y", "log": True}],
        },
    }  # fmt: skip
    folder.keep_experiment("load", told)
    folder.keep_experiment("soak", {"title": "Soak", "question": "Long?", "reason": "no node", "rows": []})
    report.write(folder, summarised(folder))
    return folder.report


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    outline = Outline(page.read_text())
    assert outline.of("script") == []
    for name, attribute in (("img", "src"), ("link", "href"), ("a", "href")):
        for attributes in outline.of(name):
            assert (attributes[attribute] or "").startswith(("data:", "#"))
    assert len(outline.of("img")) == 2 * 4 + 2


def test_every_figure_says_what_it_shows(page: Path) -> None:
    for attributes in Outline(page.read_text()).of("img"):
        assert len(attributes["alt"] or "") > 2
    assert "Medians: a native process" in page.read_text()


def test_text_from_elsewhere_cannot_be_markup(page: Path) -> None:
    text = page.read_text()
    assert "<b>test</b>" not in text
    assert "&lt;img src=x onerror=" in text


def test_every_cell_is_on_the_page_filled_or_with_its_reason(page: Path) -> None:
    text = page.read_text()
    for one in every_cell(["noop", "image"]):
        assert f"<td>{one}</td>" in text
    assert text.count("&amp; no &quot;KVM&quot;") == 2 * 2 * 5
    assert "20 of 72 planned cells have no figures" in text


def test_emulation_stands_beside_figures_and_tables(page: Path) -> None:
    text = page.read_text()
    assert 'class="caveat">' in text
    # Beside each of the three kinds of figure of each function, and in each row of the table.
    assert text.count("qemu warm: under emulation (TCG).") == 2 * 3
    assert text.count('<span class="caveat">under emulation (TCG)</span>') >= 2 * 2 * 5


def test_the_papers_figures_are_said_to_be_of_another_machine(page: Path) -> None:
    text = page.read_text()
    assert "arXiv 2509.09400" in text
    assert "not this one: only ratios within one machine carry over" in text


def test_an_experiment_without_figures_says_why(page: Path) -> None:
    assert "Not measured here: no node" in page.read_text()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_a_browser_shows_the_page_without_a_network(page: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    checking = tmp_path / "page.html"
    # The page forbids scripts; this copy allows one that looks at what was shown.
    probe = (
        "<script>addEventListener('load', () => { document.title = JSON.stringify([...document.images].map("
        "i => [i.complete, i.naturalWidth, i.clientWidth, i.clientHeight])); });</script></body>"
    )
    text = page.read_text()
    assert "default-src 'none'" in text
    checking.write_text(
        text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'").replace(
            "</body>", probe
        )
    )
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,900",
    ]  # fmt: skip
    shown = subprocess.run(
        [BROWSER, *options, checking.as_uri()], capture_output=True, text=True, timeout=110
    )
    assert shown.returncode == 0, shown.stderr
    complaints = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title is not None
    images = re.findall(r"\[(true|false),(\d+),(\d+),(\d+)\]", title[1])
    assert len(images) == text.count("<img ")
    for complete, natural, width, height in images:
        assert complete == "true"
        assert int(natural) > 0
        assert int(width) > 500
        assert int(height) > 50


def test_figures_are_drawn_the_same_each_time(page: Path) -> None:
    from limes.study import figures
    from limes.study.summary import Measured

    assert guest_path("run_echo").is_file()
    entry = Measured(cell())
    bench = Bench(page.parent / "again.csv", {cell(): known(1, 1)})
    entry.records = bench.run(Plan((cell(),), FORMS["ci"], 1))
    first, second = (figures.svg(figures.distribution([entry], "cold", "x")) for _ in range(2))
    assert first == second
