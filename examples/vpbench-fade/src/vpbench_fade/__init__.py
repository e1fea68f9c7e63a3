"""An example of a stranger's package: names now, code when it is used."""

from vpbench import hookimpl


@hookimpl
def register_predictors(register):
    register("fade", "vpbench_fade.parts:Fade", summary="the last frame, fading to grey")


@hookimpl
def register_datasets(register):
    register("bars", "vpbench_fade.parts:Bars", summary="bars that move to the right")


@hookimpl
def register_metrics(register):
    register("brightness", "vpbench_fade.parts:Brightness", summary="difference of mean brightness")


@hookimpl
def register_protocols(register):
    register("bars-2to3", "vpbench_fade:bars-2to3.toml", summary="bars, 2 -> 3 frames")


@hookimpl
def register_commands(cli):
    @cli.command("hello")
    def hello() -> None:
        """Greet."""
        print("hello from vpbench-fade")
