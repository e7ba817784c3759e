"""Closes a test run with what it could not compare, for want of data outside the project."""


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--update-docs", action="store_true", help="rewrite the tables in docs/ that tests make"
    )


def pytest_terminal_summary(terminalreporter) -> None:
    reports = (r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, []))
    if any("conformance/" in report.nodeid for report in reports):
        import tao_reference

        terminalreporter.write_line(tao_reference.compared())
