"""`junit`: a test suite for each spec and a test case for each property, so that what is proved shows too."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as etree

from mpcompile.diagnostics.core import Diagnostic
from mpcompile.diagnostics.render._text import printable, relative
from mpcompile.diagnostics.render.full import finding
from mpcompile.diagnostics.report import Checked, Report, counts

#: The case that every spec has: it can be read and has shapes. A spec without claims shows by it.
WELL_FORMED = "well-formed"


def junit(report: Report, colour: bool = False) -> str:
    """Render JUnit XML. Pure ASCII: other characters are references, so the declared encoding holds in any pipe."""
    suites = [_suite(spec, report) for spec in report.specs]
    if report.findings or not suites:
        suites.append(_suite(Checked("mpcompile", None, (), report.findings), report))
    root = etree.Element("testsuites", {"name": "mpcompile check"} | _sum(suites))
    root.extend(suites)
    etree.indent(root)
    written: bytes = etree.tostring(root, encoding="us-ascii", xml_declaration=True)
    return written.decode("ascii") + "\n"


def _suite(spec: Checked, report: Report) -> etree.Element:
    path = printable(relative(spec.path))
    whole = _case(path, WELL_FORMED, 1)
    if spec.crash:
        problem = etree.SubElement(whole, "error", message=printable(spec.crash), type="internal error")
        problem.text = printable(spec.crash)
    else:
        _fill(whole, not any(map(counts, spec.findings)), spec.findings, report)
    cases = [whole]
    for p in spec.properties:
        case = _case(path, printable(p.name), p.span.line)
        _fill(case, p.holds, p.diagnostics, report, p.answer)
        cases.append(case)
    suite = etree.Element(
        "testsuite",
        name=path,
        tests=str(len(cases)),
        failures=str(sum(c.find("failure") is not None for c in cases)),
        errors=str(sum(c.find("error") is not None for c in cases)),
        skipped="0",
    )
    suite.extend(cases)
    return suite


def _case(path: str, name: str, line: int) -> etree.Element:
    return etree.Element("testcase", classname=path, name=name, file=path, line=str(max(1, line)))


def _fill(
    case: etree.Element, holds: bool, found: Iterable[Diagnostic], report: Report, answer: str = ""
) -> None:
    """The failure with its whole text, and what there is to say of a pass."""
    found = list(found)
    text = "\n".join(finding(d, report.sources.get(d.span.path)) for d in found)
    if not holds:
        message = printable(found[0].message) if found else answer
        problem = etree.SubElement(
            case, "failure", message=message, type=found[0].code if found else "undecided"
        )
        problem.text = text or answer
        text = ""
    if said := "\n".join(part for part in (answer, text) if part):
        etree.SubElement(case, "system-out").text = said


def _sum(suites: list[etree.Element]) -> dict[str, str]:
    return {key: str(sum(int(s.get(key, "0")) for s in suites)) for key in ("tests", "failures", "errors")}


__all__ = ["WELL_FORMED", "junit"]
