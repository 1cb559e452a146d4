"""Writes a report as JUnit XML, which continuous integration reads: one test case for each law."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from swin_properties.judging.report import LawResult, Report, describe, printable


def text(report: Report) -> str:
    """Returns the report as JUnit XML.

    Known failures are skipped tests.  Known failures that no longer fail, and required callables that are
    not offered, are failed tests.
    """
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", name=printable(f"swin-oracle {report.implementation}"))
    properties = ET.SubElement(suite, "properties")
    for name in ("implementation", "precision", "convention", "effort", "seed", "catalogue"):
        value = printable(str(getattr(report, name)))
        ET.SubElement(properties, "property", name=name, value=value)
    for result in report.results:
        _law(suite, result)
    for name in report.required:
        _failure(_case(suite, "required", name), "required but not offered", name)
    for fault in report.faults:
        _failure(_case(suite, "file", fault), "the file has a fault", fault)
    if report.unoptimised is not None:
        _law(suite, report.unoptimised, "graph optimisation off: ")
    if report.quantised:
        case = _case(suite, "file", "quantised")
        ET.SubElement(case, "skipped", message="the file is quantised: measured, not judged")
    for entry in report.stale:
        case = _case(suite, "known failures", entry.law)
        _failure(case, "stale: no law of it is broken any more", str(entry))
    for element in (suite, suites):
        element.set("tests", str(len(suite.findall("testcase"))))
        element.set("failures", str(len(suite.findall("testcase/failure"))))
        element.set("skipped", str(len(suite.findall("testcase/skipped"))))
        element.set("errors", "0")
    ET.indent(suites)
    xml: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return xml.decode() + "\n"


def _law(suite: ET.Element, result: LawResult, before: str = "") -> None:
    case = _case(suite, result.law.partition("/")[0], before + result.law)
    if result.status == "not offered":
        ET.SubElement(case, "skipped", message=printable(result.absence))
    elif result.known:
        skipped = ET.SubElement(case, "skipped", message=printable(f"known failure: {result.known}"))
        skipped.text = printable(describe(result))
    elif result.counterexample:
        _failure(case, result.counterexample.seen, describe(result))
    elif result.planned is not None:
        ET.SubElement(case, "system-out").text = f"asked on {result.counted} cases"


def _case(suite: ET.Element, component: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=component, name=printable(name))


def _failure(case: ET.Element, message: str, text: str) -> None:
    ET.SubElement(case, "failure", message=message).text = printable(text)
