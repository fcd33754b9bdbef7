"""Completion by fish, which click's script cuts off at a comma: `--precision fp32,fp16` is one word."""

from click.shell_completion import FishComplete, add_completion_class


class CommaFishComplete(FishComplete):
    """Splits `plain,fp32,fp16` into its kind and the rest."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


def register() -> None:
    add_completion_class(CommaFishComplete, "fish")
