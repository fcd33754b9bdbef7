"""What `import deploykit as dk` offers: the names, their documentation, and what importing them costs."""

import inspect
import re
import subprocess
import sys

import pytest

import deploykit as dk
from deploykit import api

FUNCTIONS = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]
PUBLIC = ("deploykit.api", "deploykit.errors", "deploykit.results", "deploykit.spec")
HEAVY = {"torch", "onnx", "onnx_ir", "onnxruntime", "tensorrt", "tensorrt_rtx", "rich", "click"}


def test_the_names_are_sorted_and_those_of_the_api():
    assert dk.__all__ == sorted(dk.__all__)
    assert set(dk.__all__) == {*api.__all__, "__version__"}
    assert set(dk.__all__) <= set(dir(dk))
    assert all(getattr(dk, name) is getattr(api, name) for name in api.__all__)


def test_the_version_is_that_of_the_distribution():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", dk.__version__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dk.nonsense  # noqa: B018


def test_functions_stay_functions_though_parts_of_the_package_have_their_names():
    import deploykit.bench.settings
    import deploykit.doctor
    import deploykit.export
    import deploykit.zoo.registry

    assert [name for name in ("bench", "doctor", "export", "zoo") if not inspect.isfunction(getattr(dk, name))] == []
    assert deploykit.zoo is api.zoo
    from deploykit.zoo import registry

    assert registry is sys.modules["deploykit.zoo.registry"]


def test_every_error_and_specification_is_exported():
    from deploykit import errors, spec

    def classes(module):
        found = inspect.getmembers(module, inspect.isclass)
        return {name for name, kind in found if kind.__module__.startswith("deploykit.")}

    assert classes(errors) <= set(dk.__all__)
    assert classes(spec) - {"Placement", "Signature", "ImageAxes"} <= set(dk.__all__)


def test_every_answer_of_a_command_is_exported():
    from deploykit.results import schema  # imports every answer
    from deploykit.results.document import Document

    answers = {kind.__name__ for kind in (*Document.__subclasses__(), *schema.DOCUMENTS.values())}
    in_json = {"InspectionDocument", "NetworkDocument"}  # the JSON forms of Inspection and NetworkSummary
    assert answers - in_json <= set(dk.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keyword_only_and_documented_in_the_order_of_the_signature(name):
    function = getattr(api, name)
    parameters = list(inspect.signature(function).parameters.values())
    first = 2 if name == "compare" else 1  # its two results
    kinds = {each.kind for each in parameters[first:]}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}
    text = inspect.getdoc(function)
    section = re.search(r"^Args:\n((?: .*\n|\n)+)", text, re.MULTILINE)
    documented = re.findall(r"^    (\w+): \S", section[1], re.MULTILINE) if section else []
    assert documented == [each.name for each in parameters]
    assert re.search(r"^(Returns|Raises):$", text, re.MULTILINE)


@pytest.mark.parametrize("name", dk.__all__)
def test_every_public_name_is_documented(name):
    found = getattr(dk, name)
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return  # a type alias
    own = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    assert own
    assert not own.startswith(f"{name}(")  # what dataclass writes by itself
    if inspect.isclass(found) and found.__module__.startswith(PUBLIC):
        members = [
            (key, value)
            for key, value in vars(found).items()
            if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
        ]
        assert [key for key, value in members if not value.__doc__] == []


def test_importing_the_api_loads_no_framework():
    code = f"import deploykit as dk, sys; dk.build, dk.__version__; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
