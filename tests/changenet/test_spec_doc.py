from pathlib import Path

from spec_page import spec_keys, spec_page

PAGE = Path(__file__).resolve().parents[2] / "docs/spec.md"


def test_the_page_is_made_from_the_code(request):
    if request.config.getoption("--update-docs"):
        PAGE.write_text(spec_page())
    assert PAGE.read_text() == spec_page(), "pytest tests/changenet/test_spec_doc.py --update-docs"


def test_keys_that_everyone_uses_are_there():
    keys = {row.name: row for row in spec_keys()}
    assert keys["train.optim.lr"].default == 1e-4
    assert keys["dataset.classify.image_width"].rule.unit == "px"
    assert keys["export.opset_version"].rule.source == "TAO 6.25.10"
    assert "model" not in keys
