"""Completion in real shells, by the scripts that docs/how-to/shell-completion.md installs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploykit.cli import COMMANDS

FEW = ("b", "build net", "verify lenet5 --precision fp32,f", "bench lenet5 --backends torch,o", "build lenet5 --int8-l")
WORDS = [
    ("b", {"build", "bench"}),
    ("build resnet15", {"resnet152"}),
    ("build net", {"net.onnx"}),
    ("build nets/", {"nets/a.onnx"}),
    ("build lenet5 --pre", {"--precision", "--preprocess"}),
    ("build lenet5 --precision ", {"fp32", "fp16", "int8", "best"}),
    ("verify lenet5 --precision fp32,f", {"fp32,fp16"}),
    ("bench lenet5 --backends torch,o", {"torch,ort"}),
    ("build lenet5 --int8-repair clip,e", {"clip,equalize"}),
    ("build lenet5 --calibration-method e", {"entropy"}),
    ("build lenet5 --target rtx409", {"rtx4090"}),
    ("build lenet5 --int8-l", set()),
    ("calibrate me", {"merge"}),
    ("calibrate lenet5_", {"lenet5_1998"}),
    ("calibrate lenet5 --min", {"--min-sqnr"}),
    ("calibrate merge --me", {"--method"}),
    ("nonsense ", set(COMMANDS)),
]
BASH = """
source <(_DEPLOYKIT_COMPLETE=bash_source deploykit) || exit 1
while IFS= read -r line; do
    IFS=' ' read -ra COMP_WORDS <<< "deploykit $line"
    [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _deploykit_completion deploykit 2>/dev/null
    echo "${COMPREPLY[@]}"
done
"""
FISH = """
_DEPLOYKIT_COMPLETE=fish_source deploykit | source
while read --line line
    echo (complete --do-complete "deploykit $line" | string split --fields 1 \\t)
end
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with networks in it, and `deploykit` on the path."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "nets").mkdir()
    for name in ("net.onnx", "nets/a.onnx", "nets/notes.txt"):
        (folder / name).touch()
    program = folder / "bin" / "deploykit"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom deploykit.__main__ import main\nmain()\n")
    program.chmod(0o755)
    return folder


def completed(place: Path, command: list[str], lines: list[str]) -> list[set[str]]:
    done = subprocess.run(
        command,
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        cwd=place,
        env=os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}"},
        check=True,
    )
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.full)])
@pytest.mark.parametrize(("shell", "script"), [("bash", BASH), ("fish", FISH)])
def test_a_shell_completes_what_a_command_takes(place, shell, script, few):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = {line: expected for line, expected in WORDS if line in FEW or not few}
    assert dict(zip(words, completed(place, [shell, "-c", script], list(words)), strict=True)) == words


def test_zsh_reads_the_script(place):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    load = 'autoload -Uz compinit; compinit -D; eval "$(_DEPLOYKIT_COMPLETE=zsh_source deploykit)"'
    script = f"{load}; print $_comps[deploykit]"
    assert completed(place, ["zsh", "-f", "-c", script], []) == [{"_deploykit_completion"}]


def test_completing_a_network_imports_no_framework():
    code = """
import os, sys
from deploykit.__main__ import main
os.environ |= {"_DEPLOYKIT_COMPLETE": "bash_complete", "COMP_WORDS": "deploykit build resnet1", "COMP_CWORD": "2"}
sys.argv = ["deploykit"]
try:
    main()
except SystemExit:
    print("loaded", *({"torch", "onnx", "onnx_ir", "onnxruntime", "tensorrt_rtx", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plain,resnet18", "plain,resnet101", "plain,resnet152", "loaded"]
