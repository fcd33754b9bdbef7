"""Hints for options and commands that do not exist: what other tools call ours."""

from difflib import get_close_matches

import click

OPTIONS = {
    **dict.fromkeys(("--fp16", "--half"), "--precision fp16"),
    **dict.fromkeys(("--int8", "--quantize"), "--precision int8"),
    "--best": "--precision best",
    **dict.fromkeys(("--fp32", "--no-half"), "--precision fp32"),
    **dict.fromkeys(("--dtype", "--type", "--precisions"), "--precision"),
    **dict.fromkeys(("--batch-size", "--batchsize", "--bs", "-b", "--max-batch", "--maxbatch"), "--batch"),
    **dict.fromkeys(
        ("--minshapes", "--optshapes", "--maxshapes", "--dynamic"), "--batch min:opt:max, or --input-shape"
    ),
    **dict.fromkeys(("--shape", "--shapes", "--input", "--input-size", "--inputs"), "--input-shape"),
    **dict.fromkeys(("--img-size", "--imgsz", "--resolution", "--size"), "--image-size"),
    **dict.fromkeys(("--checkpoint", "--ckpt", "--state-dict", "--pretrained", "--resume"), "--weights"),
    **dict.fromkeys(("--calib", "--calibration-data", "--calib-data", "--dataset", "--images", "--data-dir"), "--data"),
    **dict.fromkeys(("--calib-images", "--num-calib", "--calibration-size"), "--calibration-images"),
    **dict.fromkeys(("--mean", "--std", "--normalize"), "--preprocess mean=...,std=..."),
    **dict.fromkeys(("--saveengine", "--out", "--save", "--export", "--output-file"), "-o"),
    **dict.fromkeys(("--iters", "--iterations", "--duration", "--time", "--runs", "--repeat"), "--max-seconds"),
    **dict.fromkeys(("--gpu", "--arch", "--sm", "--compute-capability"), "--target"),
    **dict.fromkeys(("--provider", "--runtime", "--engine"), "--backends"),
    **dict.fromkeys(("--workspace", "--memory"), "--workspace-mb"),
    **dict.fromkeys(("--cache", "--cache-dir", "--workdir"), "--store"),
    **dict.fromkeys(("--classes", "--nc", "--num-labels"), "--num-classes"),
    **dict.fromkeys(("--warmup", "--warm-up", "--warmup-steps"), "--burn-in"),
    **dict.fromkeys(("--exclude", "--exclude-nodes", "--nodes-to-exclude", "--skip-layers"), "--int8-exclude"),
    **dict.fromkeys(("--fusions", "--fusion", "--optimize", "--passes"), "--fuse"),
    **dict.fromkeys(("--format", "--output-format"), "--json"),
}
SENTENCES = {
    **dict.fromkeys(
        ("--device", "--cuda", "--cpu"), "the GPU is used where there is one; CUDA_VISIBLE_DEVICES= hides it"
    ),
    **dict.fromkeys(("--onnx", "--model", "--network", "--file"), "MODEL is an argument, not an option"),
    **dict.fromkeys(
        ("--verbose", "-v", "--debug", "--traceback"), "DEPLOYKIT_DEBUG=1 in the environment shows tracebacks"
    ),
    **dict.fromkeys(("--opset",), "a PyTorch network gets opset 20, an .onnx file keeps its own from 17 on"),
}
COMMANDS = {
    **dict.fromkeys(("convert", "to-onnx", "onnx"), "export makes the ONNX file, build the engine"),
    **dict.fromkeys(("compile", "trtexec", "engine"), "build makes the engine"),
    **dict.fromkeys(("infer", "inference", "classify"), "predict classifies images into a file"),
    **dict.fromkeys(("run", "benchmark", "perf", "profile", "time", "speed"), "bench times a network on every backend"),
    **dict.fromkeys(
        ("quantize", "quantise", "ptq"), "build --precision int8 quantizes; calibrate makes the table alone"
    ),
    **dict.fromkeys(("check", "test", "validate", "diff"), "verify compares every backend with float64"),
    **dict.fromkeys(("gate", "regression"), "compare judges two saved results; inspect --diff compares two plans"),
    **dict.fromkeys(("eval", "accuracy", "score"), "evaluate measures accuracy on labeled images"),
    **dict.fromkeys(("models", "ls", "zoo"), "list shows the zoo, `store ls` what was built"),
    **dict.fromkeys(
        ("prune", "clean", "clear", "gc", "cache"), "store ls, verify, prune and clear look after the store"
    ),
    **dict.fromkeys(("info", "show", "layers"), "summary shows a network layer by layer, inspect a compiled plan"),
    **dict.fromkeys(("help",), "deploykit --help"),
    **dict.fromkeys(("version",), "deploykit --version"),
}
MODEL = "a name from `deploykit list`, an .onnx file, or package.module:function"


def command_hint(name: str) -> str:
    """What to type in place of a command that does not exist; "" where only its nearest neighbors are known."""
    if name.lower() in COMMANDS:
        return COMMANDS[name.lower()]
    from deploykit.zoo.registry import cards

    if name in cards() or ":" in name or name.lower().endswith(".onnx"):
        return f"a command comes first: deploykit build {name}"
    return ""


def explain(error: click.UsageError) -> str:
    """click's message, with what was meant where that is known."""
    said = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        return f"No such option '{error.option_name}'" + _option_hint(error)
    if isinstance(error, click.MissingParameter) and error.param is not None and error.param.name == "model":
        return f"{said}: {MODEL}"
    if "unexpected extra argument" in said:
        return f"{said}: give one MODEL, and write lists with commas (--backends torch,ort)"
    return said


def _takes_best(context: click.Context | None) -> bool:
    params = context.command.params if context else []
    return any("--precision" in param.opts and "best" in param.make_metavar(context) for param in params if context)


def _option_hint(error: click.NoSuchOption) -> str:
    options = [text for parameter in error.ctx.command.params for text in parameter.opts] if error.ctx else []
    asked = error.option_name.lower()
    if asked in SENTENCES:
        return f"; {SENTENCES[asked]}"
    meant = OPTIONS.get(asked, "")
    if asked == "--best" and not _takes_best(error.ctx):
        meant = "--precision"
    if meant and meant.split()[0].rstrip(",") in options:
        return f"; write {meant}"
    near = get_close_matches(asked, options, n=2, cutoff=0.6) or [text for text in options if text.startswith(asked)]
    return f"; did you mean {' or '.join(near)}?" if near else ""
