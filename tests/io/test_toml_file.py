"""TOML from elsewhere: parsed as Python does, unless it would take more than its text is worth."""

import tomllib

import pytest

from deploykit.errors import UntrustedArtifact
from deploykit.io.toml_file import read_toml

SOUND = (
    """
# a comment with "quotes """
    + "[" * 100
    + '''
text = "brackets [[[[{{{{ and dots a.b.c.d.e.f \\" and # no comment"
literal = 'C:\\dir\\'
long = """
[[[[ "" \\""" { #
"""
plain = \'\'\'
{{{{ ' \'\' \\
\'\'\'
"quoted.key".b = 1.5
a-b . c = [[1, 2], [3.25, -4e5]]
date = 1979-05-27T07:32:00.5Z
[[image]]
file = "a.png"
'''
)


def read(tmp_path, text):
    (tmp_path / "list.toml").write_text(text)
    return read_toml(tmp_path / "list.toml", "list")


def test_a_sound_file_is_what_python_s_parser_says(tmp_path):
    assert read(tmp_path, SOUND) == tomllib.loads(SOUND)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 65, "nested deeper than 64 levels"),
        ("a = " + "{b = " * 65, "nested deeper than 64 levels"),
        ("a." * 70 + "b = 1", "nested deeper than 64 levels"),
        ("[" + "a . " * 70 + "b]", "nested deeper than 64 levels"),
        ("[" + '"a".' * 70 + "b]", "nested deeper than 64 levels"),
        ("x = '''a'''\n" + "a." * 70 + "b = 1", "nested deeper than 64 levels"),
        ('x = "\\""\n' + "a." * 70 + "b = 1", "nested deeper than 64 levels"),
        ("a = " + "9" * 5000, "is not valid TOML: Exceeds the limit"),
        ("a = 0x" + "f" * 5000, "more than 64 bits"),
        ("a = [{b = [0x" + "f" * 17 + "]}]", "more than 64 bits"),
        ("a = ", "is not valid TOML"),
        ("a = 1\na = 2", "is not valid TOML"),
    ],
)
def test_what_goes_too_far_is_refused(tmp_path, text, said):
    with pytest.raises(UntrustedArtifact, match=said):
        read(tmp_path, text)


@pytest.mark.parametrize("part", ['"\\"', '"', "'", '"""', "a", "a.", "[", "#\n[", "\\", '""" "'])
def test_no_text_makes_the_check_slow(tmp_path, part):
    """Two million characters, which a search that goes back would never end with."""
    text = part * (2_000_000 // len(part))
    with pytest.raises(UntrustedArtifact):
        read(tmp_path, text)


def test_a_list_of_more_tables_than_rows_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYKIT_MAX_ROWS", "100")
    assert len(read(tmp_path, "[[a]]\n" * 100)["a"]) == 100
    with pytest.raises(UntrustedArtifact, match="202 tables, lists"):
        read(tmp_path, "[[a]]\n" * 101)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "list.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UntrustedArtifact, match=r"list .*list\.toml is not valid TOML"):
        read_toml(tmp_path / "list.toml", "list")


def test_quotes_at_the_end_of_a_long_text_hide_nothing(tmp_path):
    for quote in ('"', "'"):
        for more in range(3):
            sound = f"a = [{quote * 3}x{quote * (3 + more)}, 1]"
            assert read(tmp_path, sound) == tomllib.loads(sound)
            with pytest.raises(UntrustedArtifact, match="nested deeper"):
                read(tmp_path, f"a = [{quote * 3}x{quote * (3 + more)}, {'[' * 70}")
