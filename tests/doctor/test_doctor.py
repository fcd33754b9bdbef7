"""Findings are plain text, one for each thing that this machine may lack, and each lack has its fix."""

from dataclasses import asdict

from deploykit import host
from deploykit.doctor import examine


def test_findings_are_text_and_what_is_missing_has_a_fix(tmp_path):
    findings = examine(tmp_path / "engines")
    assert all(type(value) is str for finding in findings for value in asdict(finding).values())
    assert {"python", "torch", "gpu", "backend torch", "demo images", "store"} <= {item.subject for item in findings}
    assert all(finding.fix for finding in findings if finding.state != "ok")
    assert all(finding.detail for finding in findings)


def test_cores_are_those_that_this_process_may_use(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("flags\t\t: avx2 avx512_vnni\n")
    found = {finding.subject: finding for finding in examine(tmp_path / "engines")}
    assert found["int8 on the cpu"].detail == f"avx512_vnni, {host.usable_cores()} cores"
    (tmp_path / "cpuinfo").write_text("flags\t\t: avx2\n")
    found = {finding.subject: finding for finding in examine(tmp_path / "engines")}
    assert found["int8 on the cpu"].state == "missing"


def test_a_store_that_cannot_be_used_is_a_finding(tmp_path):
    (tmp_path / "engines").write_text("")
    found = {finding.subject: finding for finding in examine(tmp_path / "engines")}
    assert (found["store"].state, found["store"].fix[:20]) == ("broken", "choose another store")
