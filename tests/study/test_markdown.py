"""The page of the documentation that a study makes."""

from tests.study.conftest import Bench, cell, known
from tests.study.test_summary import AOT, NATIVE, SNAPSHOT, study_of

from limes.study.markdown import page

MACHINE = {
    "cpu": "test", "cores": 2, "hypervisor": True, "memory_bytes": 1 << 30, "kernel": "6.1", "kvm": "works",
}  # fmt: skip


def test_every_figure_and_every_reason_is_on_the_page(bench: Bench) -> None:
    qemu = cell("unikernel", "end-to-end", "qemu")
    targets = {
        NATIVE: known(1000, 1000),
        AOT: known(300, 1070),
        SNAPSHOT: known(1, 1, broken="no KVM"),
        qemu: known(9346, 1000, caveat="under emulation (TCG)"),
    }
    summary = {**study_of(bench, targets)["summary"], "machine": MACHINE}
    summary["experiments"] = {
        "soak": {"title": "A long run", "question": "Drift?", "reason": "no node", "rows": []},
        "load": {"title": "Load", "question": "How much?", "finding": "So much.", "rows": []},
    }
    text = page(summary, "bench/study/summary.json")
    assert summary["verdicts"]["noop"]["text"] in text
    assert (
        "| `noop/wasm/aot` | 18 | 0.3 ms (0.3 ms to 0.3 ms) | 0.3 ms | 1.07 ms (1.07 ms to 1.07 ms) | 1.07x |"
        in text
    )
    assert f"- unavailable: no KVM: `{SNAPSHOT}`" in text
    cells = "| `noop/unikernel-firecracker/end-to-end` | `noop/unikernel-qemu/end-to-end` |"
    assert f"{cells} 9.35 ms | 93.5 ms | 0.1 |" in text
    assert text.count("under emulation (TCG) |") == 2
    assert "Drift? Not measured: no node" in text
    assert "How much? So much." in text
    assert "itself a virtual machine" in text
